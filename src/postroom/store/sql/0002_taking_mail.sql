-- Apps with their own rules, keys of the HTTP API, clients that were turned away, and what the sender of a message
-- may ask for.

ALTER TABLE apps ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN sender_policy TEXT NOT NULL DEFAULT 'refuse'
    CHECK (sender_policy IN ('refuse', 'rewrite', 'keep'));
ALTER TABLE apps ADD COLUMN recipient_domains TEXT NOT NULL DEFAULT '[]';
ALTER TABLE apps ADD COLUMN message_limit_a_minute INTEGER CHECK (message_limit_a_minute > 0);
ALTER TABLE apps ADD COLUMN message_limit_a_day INTEGER CHECK (message_limit_a_day > 0);
ALTER TABLE apps ADD COLUMN size_limit_bytes INTEGER CHECK (size_limit_bytes > 0);
ALTER TABLE apps ADD COLUMN addresses TEXT NOT NULL DEFAULT '[]';
ALTER TABLE apps ADD COLUMN needs_sign_in INTEGER NOT NULL DEFAULT 1 CHECK (needs_sign_in IN (0, 1));
ALTER TABLE apps ADD COLUMN local_users TEXT NOT NULL DEFAULT '[]';
ALTER TABLE apps ADD COLUMN fixes_lines INTEGER NOT NULL DEFAULT 0 CHECK (fixes_lines IN (0, 1));
ALTER TABLE apps ADD COLUMN allows_plain_text INTEGER NOT NULL DEFAULT 0 CHECK (allows_plain_text IN (0, 1));
ALTER TABLE apps ADD COLUMN allows_old_tls INTEGER NOT NULL DEFAULT 0 CHECK (allows_old_tls IN (0, 1));
ALTER TABLE apps ADD COLUMN allows_cram_md5 INTEGER NOT NULL DEFAULT 0 CHECK (allows_cram_md5 IN (0, 1));
ALTER TABLE apps ADD COLUMN last_used_mechanism TEXT;

-- A password that a person chose is hashed slowly (Argon2id, PHC form). `sealed_password` is there only for CRAM-MD5.
ALTER TABLE credentials ADD COLUMN is_chosen_by_a_person INTEGER NOT NULL DEFAULT 0
    CHECK (is_chosen_by_a_person IN (0, 1));
ALTER TABLE credentials ADD COLUMN sealed_password BLOB;
ALTER TABLE credentials ADD COLUMN last_used_at_us INTEGER;

-- SHA-256 of a key that a machine made.
CREATE TABLE api_keys (
    api_key_id INTEGER PRIMARY KEY,
    app_id INTEGER NOT NULL REFERENCES apps,
    name TEXT NOT NULL,
    shown_start TEXT NOT NULL,
    key_hash BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    last_used_at_us INTEGER,
    last_used_from TEXT
) STRICT;

CREATE INDEX api_keys_of_app ON api_keys (app_id);

-- Who was turned away, by address, so that one click makes an app of it. The oldest go.
CREATE TABLE refused_clients (
    address TEXT PRIMARY KEY,
    listener TEXT NOT NULL,
    helo TEXT NOT NULL,
    login TEXT NOT NULL,
    code TEXT NOT NULL,
    text TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    first_at_us INTEGER NOT NULL,
    last_at_us INTEGER NOT NULL,
    is_ignored INTEGER NOT NULL DEFAULT 0 CHECK (is_ignored IN (0, 1))
) STRICT;

CREATE INDEX refused_clients_by_time ON refused_clients (last_at_us);

ALTER TABLE messages ADD COLUMN send_at_us INTEGER;
ALTER TABLE messages ADD COLUMN expires_at_us INTEGER;
ALTER TABLE messages ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE messages ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
ALTER TABLE messages ADD COLUMN dsn TEXT;

CREATE INDEX recipients_scheduled ON recipients (next_attempt_at_us) WHERE state = 'scheduled';

-- A request that is repeated is known again; written in the transaction that keeps its message.
CREATE TABLE idempotency_keys (
    app_id INTEGER NOT NULL REFERENCES apps,
    key TEXT NOT NULL,
    item INTEGER NOT NULL,
    request_hash BLOB NOT NULL,
    message_id INTEGER NOT NULL,
    kept_at_us INTEGER NOT NULL,
    PRIMARY KEY (app_id, key, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_time ON idempotency_keys (kept_at_us);
