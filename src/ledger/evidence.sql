-- Migration 7. What proved that a leaf is served: 'handshake', or 'load' where no handshake can show it.

ALTER TABLE site ADD COLUMN evidence TEXT NOT NULL DEFAULT 'handshake' CHECK (evidence IN ('handshake', 'load'));
ALTER TABLE site ADD COLUMN reason TEXT;        -- why no handshake shows it; NULL where one did
