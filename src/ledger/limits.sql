-- Migration 4. For which report a request was made: no site uses up what all sites share.

ALTER TABLE request ADD COLUMN report INTEGER;  -- NULL where it was made for none
ALTER TABLE request ADD COLUMN site TEXT;       -- the report's
ALTER TABLE request ADD COLUMN record INTEGER;  -- the portal's record that was told; NULL while that is not known
