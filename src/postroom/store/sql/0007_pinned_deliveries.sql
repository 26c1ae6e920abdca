-- Whether it goes the way that was named for it and no other: a test mail proves its own way, and failover leaves it.
ALTER TABLE deliveries ADD COLUMN is_pinned INTEGER NOT NULL DEFAULT 0 CHECK (is_pinned IN (0, 1));
