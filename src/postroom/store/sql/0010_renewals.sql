-- One renewal of a mailbox's sign-in at a time, whoever does it: the lease, and what the last one yielded.
-- The row outlives the grant, so that a fence never comes twice.
CREATE TABLE renewals (
    mailbox_id INTEGER PRIMARY KEY REFERENCES mailboxes ON DELETE CASCADE,
    -- Grows with every lease.
    fence INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    until_us INTEGER,
    -- Of the lease under which was kept what is kept now: who holds an older one comes too late.
    kept_fence INTEGER NOT NULL DEFAULT 0,
    -- Sealed: those that still live, for everybody who sends.
    access_tokens BLOB,
    CHECK ((owner IS NULL) = (until_us IS NULL))
) STRICT;
