-- Migration 6. What to do about a report that was not taken, beside its code and words.

ALTER TABLE report ADD COLUMN remedy TEXT;
