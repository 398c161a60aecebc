-- Migration 1. Times are milliseconds since 1970, UTC; fingerprints are SHA-256 in lower-case hex.

-- The last leaf that was seen served for each site.
CREATE TABLE site (
    site          TEXT PRIMARY KEY,     -- the certificate's path, with @SERVER where several servers use it
    name          TEXT NOT NULL,        -- as people call it: the portal's name, else the host names
    leaf          TEXT NOT NULL,
    chain_set     TEXT NOT NULL,        -- over leaf and chain
    intermediates INTEGER NOT NULL,
    recorded_at   INTEGER NOT NULL
) STRICT;

-- What the portal is to know, or knows. Only a 2xx that echoes the certificate makes one 'delivered'.
-- 'unasked': it was there at the first start; the portal's list tells whether it is to be reported ('pending')
-- or known to the portal already ('known').
CREATE TABLE report (
    id                 INTEGER PRIMARY KEY,
    site               TEXT NOT NULL,
    fingerprint        TEXT NOT NULL,
    hosts              TEXT NOT NULL,   -- joined by commas
    remote_create_date TEXT NOT NULL,   -- as it is sent
    not_after          INTEGER NOT NULL,
    state              TEXT NOT NULL CHECK (state IN ('unasked', 'pending', 'delivered', 'held', 'known', 'superseded')),
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_attempt_at    INTEGER NOT NULL,
    postponed_at       INTEGER NOT NULL, -- when that was set: a clock set back makes no pause longer
    error_code         TEXT,
    error              TEXT,
    created_at         INTEGER NOT NULL,
    released_at        INTEGER,         -- when an operator last said to send it again
    ended_at           INTEGER,
    UNIQUE (site, fingerprint)
) STRICT;
CREATE INDEX report_by_fingerprint ON report (fingerprint);
CREATE INDEX report_undelivered ON report (next_attempt_at) WHERE state IN ('unasked', 'pending');

-- Requests spent on the portal, noted before they are sent.
CREATE TABLE request (
    at   INTEGER NOT NULL,
    what TEXT NOT NULL
) STRICT;
CREATE INDEX request_at ON request (at);

-- The portal's certificates, as its last list told.
CREATE TABLE portal_certificate (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL,
    expires   INTEGER,                  -- NULL where the portal does not say
    installed INTEGER NOT NULL          -- whether the portal has a remoteCreateDate
) STRICT;
CREATE TABLE portal_list (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    listed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE history (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    site        TEXT NOT NULL,
    name        TEXT NOT NULL,          -- as the site was called then
    event       TEXT NOT NULL,
    fingerprint TEXT,
    detail      TEXT
) STRICT;
CREATE INDEX history_at ON history (at);
CREATE TRIGGER history_is_append_only BEFORE UPDATE ON history BEGIN
    SELECT RAISE(ABORT, 'the history is append-only');
END;
