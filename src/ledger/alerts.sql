-- Migration 3. What is wrong at this time, and what somebody was told of it: the alerts' memory over a restart.

CREATE TABLE alert (
    subject   TEXT PRIMARY KEY,     -- 'site', 'report', 'server' or 'agent', and which
    site      TEXT NOT NULL,        -- as people call it; empty where it is about none
    server    TEXT NOT NULL,
    code      TEXT NOT NULL,
    message   TEXT NOT NULL,
    remedy    TEXT NOT NULL,
    begun     INTEGER NOT NULL,     -- when it was last well, whatever the code was since
    since     INTEGER NOT NULL,     -- when this code came
    told      TEXT,                 -- the code that was told last
    recovered INTEGER NOT NULL      -- whether it was well since: what comes now is another
) STRICT;
