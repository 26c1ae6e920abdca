-- The link by which a colleague signs in as the mailbox of the draft: one at a time, and what became of the last one.
CREATE TABLE sign_in_links (
    link_id INTEGER PRIMARY KEY,
    token_hash BLOB NOT NULL,
    username TEXT NOT NULL,
    tenant TEXT NOT NULL,
    client_id TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL,
    opened_at_us INTEGER,
    used_at_us INTEGER,
    revoked_at_us INTEGER
) STRICT;
