-- Migration 2. One row for each time the portal was asked to schedule renewals; the last one counts.

-- 'asked': noted before the request is sent; if no answer was noted either, nobody knows what was scheduled.
-- 'refused': the portal did not schedule anything. 'waiting': for the portal to renew what it scheduled.
-- 'fetching': what was renewed is being downloaded.
CREATE TABLE renewal (
    id         INTEGER PRIMARY KEY,
    asked_at   INTEGER NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('asked', 'refused', 'waiting', 'fetching', 'done')),
    looks      INTEGER NOT NULL DEFAULT 0,  -- how often the portal's list was asked whether it is done
    next_at    INTEGER NOT NULL,            -- of its next step, or of the next one after it
    failures   INTEGER NOT NULL DEFAULT 0,  -- in a row, of whatever step
    error_code TEXT,
    error      TEXT
) STRICT;

CREATE TABLE renewal_certificate (
    renewal INTEGER NOT NULL REFERENCES renewal (id) ON DELETE CASCADE,
    id      INTEGER NOT NULL,               -- the portal's
    name    TEXT NOT NULL,
    expires INTEGER,                        -- when it was scheduled
    issued  TEXT,                           -- as the portal writes it
    state   TEXT NOT NULL CHECK (state IN ('scheduled', 'renewed', 'fetched', 'failed')),
    error   TEXT,
    PRIMARY KEY (renewal, id)
) STRICT;

-- What a superseded report was before its site was there no more: 'unasked' it is again when the site comes back.
ALTER TABLE report ADD COLUMN put_aside TEXT;
