-- How many lines of the history were pruned, by their event: what is counted from the history stays right.
CREATE TABLE history_pruned (
    event TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    last  INTEGER NOT NULL      -- the largest id among them
) STRICT;
