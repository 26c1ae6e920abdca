-- The first schema. Ids are time-ordered 63-bit integers, times are integer microseconds since 1970 (UTC),
-- booleans are 0 or 1, lists and structures are JSON. Secrets are sealed by the vault before they come here.

PRAGMA application_id = 1349481332; -- "Post": another program's database is recognised

-- What this installation knows of itself. `vault_check` is a known text, sealed: it proves the key at every start.
CREATE TABLE instance (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    boot_epoch INTEGER NOT NULL DEFAULT 0,
    started_at_us INTEGER,
    heartbeat_at_us INTEGER,
    vault_check BLOB
) STRICT;

INSERT INTO instance (only_row) VALUES (1);


-- WAYS OUT ---------------------------------------------------------------------------------------------------------

-- What we sign in to. `ready_total_us` and `ready_since_us` measure how long it could send: the clock by which
-- messages grow old. `revision` grows when a person saves, resumes, pauses or disconnects it: what an attempt that
-- began before reports about the mailbox does not count any more.
CREATE TABLE mailboxes (
    mailbox_id INTEGER PRIMARY KEY,
    username TEXT NOT NULL DEFAULT '',
    address TEXT NOT NULL DEFAULT '',
    authentication TEXT NOT NULL DEFAULT 'oauth' CHECK (authentication IN ('oauth', 'basic')),
    state TEXT NOT NULL DEFAULT 'disconnected' CHECK (state IN ('ready', 'slowed', 'stopped', 'disconnected')),
    cause TEXT,
    until_us INTEGER,
    since_us INTEGER NOT NULL DEFAULT 0,
    failure TEXT,
    signed_in_user TEXT,
    message_limit_a_minute INTEGER NOT NULL DEFAULT 25 CHECK (message_limit_a_minute > 0),
    connection_limit INTEGER NOT NULL DEFAULT 2 CHECK (connection_limit > 0),
    recipient_limit_a_day INTEGER NOT NULL DEFAULT 10000 CHECK (recipient_limit_a_day > 0),
    revision INTEGER NOT NULL DEFAULT 0,
    ready_total_us INTEGER NOT NULL DEFAULT 0,
    ready_since_us INTEGER,
    CHECK ((ready_since_us IS NOT NULL) = (state IN ('ready', 'slowed'))),
    CHECK ((cause IS NOT NULL) = (state = 'stopped'))
) STRICT;

-- How a mailbox signs in; the row goes when it is disconnected. The three secrets are sealed.
CREATE TABLE grants (
    mailbox_id INTEGER PRIMARY KEY REFERENCES mailboxes,
    tenant TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret BLOB,
    password BLOB,
    refresh_token BLOB,
    scopes TEXT NOT NULL,
    secret_ends_on TEXT,
    granted_at_us INTEGER,
    renewed_at_us INTEGER
) STRICT;

CREATE TABLE mail_servers (
    mail_server_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    port INTEGER NOT NULL DEFAULT 587,
    email_type TEXT NOT NULL DEFAULT 'smtp' CHECK (email_type IN ('smtp', 'smtps')),
    use_tls INTEGER NOT NULL DEFAULT 1 CHECK (use_tls IN (0, 1)),
    sender TEXT NOT NULL DEFAULT '',
    sender_name TEXT NOT NULL DEFAULT '',
    sender_is_own_mailbox INTEGER NOT NULL DEFAULT 1 CHECK (sender_is_own_mailbox IN (0, 1)),
    test_address TEXT NOT NULL DEFAULT '',
    send_right TEXT NOT NULL DEFAULT 'own' CHECK (send_right IN ('own', 'send_on_behalf', 'send_as')),
    send_right_is_granted INTEGER NOT NULL DEFAULT 0 CHECK (send_right_is_granted IN (0, 1)),
    ehlo_name TEXT NOT NULL DEFAULT '',
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    is_default INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
    verified_at_us INTEGER,
    proved_at_us INTEGER
) STRICT;

CREATE UNIQUE INDEX mail_servers_default ON mail_servers (is_default) WHERE is_default = 1;

-- The page while it is being filled in, sealed as a whole.
CREATE TABLE mail_server_drafts (
    draft_id INTEGER PRIMARY KEY,
    draft BLOB NOT NULL,
    changed_at_us INTEGER NOT NULL
) STRICT;

-- One row per message that a mailbox may send in a minute, stamped with its use: a slot is free again 60 seconds
-- later, which makes "at most N in any 60 seconds" exact.
CREATE TABLE pace_slots (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    slot INTEGER NOT NULL,
    used_at_us INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (mailbox_id, slot)
) STRICT, WITHOUT ROWID;

CREATE INDEX pace_slots_by_use ON pace_slots (mailbox_id, used_at_us);

-- Recipients handed to a mail server in each minute, for the limit of 24 hours.
CREATE TABLE recipient_minutes (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    minute INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, minute)
) STRICT, WITHOUT ROWID;


-- APPS AND PEOPLE --------------------------------------------------------------------------------------------------

CREATE TABLE apps (
    app_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    login TEXT UNIQUE,
    kind TEXT NOT NULL DEFAULT '',
    senders TEXT NOT NULL DEFAULT '[]',
    after_unknown TEXT NOT NULL DEFAULT 'send again' CHECK (after_unknown IN ('send again', 'hold')),
    is_enabled INTEGER NOT NULL DEFAULT 1 CHECK (is_enabled IN (0, 1)),
    is_internal INTEGER NOT NULL DEFAULT 0 CHECK (is_internal IN (0, 1)),
    created_at_us INTEGER NOT NULL DEFAULT 0,
    last_used_at_us INTEGER,
    last_used_from TEXT,
    last_used_tls TEXT,
    CHECK ((login IS NULL) = (is_internal = 1))
) STRICT;

-- SHA-256 of a password that a machine made: more than 128 random bits need no slow hash.
CREATE TABLE credentials (
    credential_id INTEGER PRIMARY KEY,
    app_id INTEGER NOT NULL REFERENCES apps,
    password_hash BLOB NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX credentials_of_app ON credentials (app_id);

CREATE TABLE people (
    person_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    passphrase_hash TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

-- Signed in at the console. The cookie's token is stored as SHA-256 only.
CREATE TABLE sessions (
    session_id INTEGER PRIMARY KEY,
    token_hash BLOB NOT NULL UNIQUE,
    person_id INTEGER NOT NULL REFERENCES people,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_by_end ON sessions (expires_at_us);

-- The one-time link behind which the first administrator is made; a newer one replaces it.
CREATE TABLE setup_links (
    setup_link_id INTEGER PRIMARY KEY CHECK (setup_link_id = 1),
    token_hash BLOB NOT NULL,
    expires_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    audit_id INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    who TEXT NOT NULL,
    from_address TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
) STRICT;


-- MESSAGES ---------------------------------------------------------------------------------------------------------

-- `state` is that of the least finished recipient; `finished_at_us` is when the last recipient ended.
CREATE TABLE messages (
    message_id INTEGER PRIMARY KEY,
    app_id INTEGER NOT NULL REFERENCES apps,
    envelope_sender TEXT NOT NULL,
    header_from TEXT NOT NULL,
    subject TEXT NOT NULL,
    internet_message_id TEXT NOT NULL,
    lane INTEGER NOT NULL CHECK (lane IN (0, 1, 2)),
    received_at_us INTEGER NOT NULL,
    stored_at_us INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    is_eight_bit INTEGER NOT NULL CHECK (is_eight_bit IN (0, 1)),
    needs_smtputf8 INTEGER NOT NULL CHECK (needs_smtputf8 IN (0, 1)),
    reception TEXT NOT NULL,
    repairs TEXT NOT NULL,
    recipient_count INTEGER NOT NULL,
    first_recipients TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    is_partly_failed INTEGER NOT NULL DEFAULT 0 CHECK (is_partly_failed IN (0, 1)),
    attempts INTEGER NOT NULL DEFAULT 0,
    finished_at_us INTEGER,
    pruned_at_us INTEGER
) STRICT;

CREATE INDEX messages_by_state ON messages (state, message_id);
CREATE INDEX messages_by_app ON messages (app_id, message_id);
CREATE INDEX messages_finished ON messages (finished_at_us) WHERE finished_at_us IS NOT NULL;
CREATE INDEX messages_to_prune ON messages (finished_at_us) WHERE finished_at_us IS NOT NULL AND pruned_at_us IS NULL;

-- Up to 64 KiB the bytes are here, beyond they are in a file that was synced before this row was committed.
CREATE TABLE bodies (
    message_id INTEGER PRIMARY KEY REFERENCES messages,
    size_bytes INTEGER NOT NULL,
    content BLOB,
    file_name TEXT,
    CHECK ((content IS NULL) <> (file_name IS NULL))
) STRICT;

CREATE UNIQUE INDEX bodies_in_files ON bodies (file_name) WHERE file_name IS NOT NULL;

-- What people search in, in lower case, apart from the wide rows so that a scan reads little.
CREATE TABLE search_texts (
    message_id INTEGER PRIMARY KEY REFERENCES messages,
    senders TEXT NOT NULL,
    recipients TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;

-- The truth about each recipient. `attempt_id` is its last attempt, and while `sending` the fence of its lease.
CREATE TABLE recipients (
    recipient_id INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL REFERENCES messages,
    delivery_id INTEGER NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('scheduled', 'queued', 'sending', 'deferred', 'held', 'sent', 'failed', 'cancelled')),
    changed_at_us INTEGER NOT NULL,
    next_attempt_at_us INTEGER,
    attempt_id INTEGER,
    failure TEXT,
    reply TEXT,
    CHECK (state <> 'sending' OR attempt_id IS NOT NULL),
    CHECK (state <> 'deferred' OR next_attempt_at_us IS NOT NULL)
) STRICT;

CREATE INDEX recipients_of_message ON recipients (message_id);

-- The table of states, held by the database itself. A test proves it equal to message.TRANSITIONS.
CREATE TRIGGER recipients_may_move BEFORE UPDATE OF state ON recipients
WHEN NOT (
    (OLD.state = 'scheduled' AND NEW.state IN ('queued', 'held', 'cancelled'))
    OR (OLD.state = 'queued' AND NEW.state IN ('sending', 'held', 'cancelled'))
    OR (OLD.state = 'sending' AND NEW.state IN ('sent', 'deferred', 'queued', 'failed', 'held'))
    OR (OLD.state = 'deferred' AND NEW.state IN ('sending', 'queued', 'held', 'cancelled'))
    OR (OLD.state = 'held' AND NEW.state IN ('queued', 'cancelled'))
    OR (OLD.state = 'failed' AND NEW.state = 'queued')
)
BEGIN
    SELECT RAISE(ABORT, 'a recipient cannot change its state like this');
END;

-- The live unit of work; the row goes when no recipient is open. `stage` says in which index it stands:
-- `due` may be claimed, `waiting` until due_at_us, `leased` is being worked on, `held` waits for a person.
CREATE TABLE deliveries (
    delivery_id INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL REFERENCES messages,
    mail_server_id INTEGER NOT NULL REFERENCES mail_servers,
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    lane INTEGER NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('due', 'waiting', 'leased', 'held')),
    due_at_us INTEGER NOT NULL,
    open_recipients INTEGER NOT NULL,
    ready_us_at_intake INTEGER NOT NULL,
    owner TEXT,
    expires_at_us INTEGER,
    attempt_id INTEGER,
    is_probe INTEGER NOT NULL DEFAULT 0 CHECK (is_probe IN (0, 1)),
    mailbox_revision INTEGER NOT NULL DEFAULT 0,
    CHECK ((owner IS NOT NULL) = (stage = 'leased')),
    CHECK ((expires_at_us IS NOT NULL) = (stage = 'leased')),
    CHECK ((attempt_id IS NOT NULL) = (stage = 'leased'))
) STRICT;

CREATE INDEX deliveries_of_message ON deliveries (message_id);
CREATE INDEX deliveries_waits ON deliveries (mailbox_id, stage, open_recipients);
CREATE INDEX deliveries_due ON deliveries (mailbox_id, lane, delivery_id) WHERE stage = 'due';
CREATE INDEX deliveries_waiting ON deliveries (mailbox_id, due_at_us) WHERE stage = 'waiting';
CREATE INDEX deliveries_leased ON deliveries (mailbox_id, expires_at_us) WHERE stage = 'leased';

-- One conversation with a mail server, written before we speak. `outcomes` is a list of address and outcome.
CREATE TABLE attempts (
    attempt_id INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL REFERENCES messages,
    mail_server_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    owner TEXT NOT NULL,
    started_at_us INTEGER NOT NULL,
    ended_at_us INTEGER,
    server TEXT NOT NULL DEFAULT '',
    outcomes TEXT NOT NULL DEFAULT '[]',
    dialogue TEXT NOT NULL DEFAULT '[]'
) STRICT;

CREATE INDEX attempts_of_message ON attempts (message_id);

-- What happened to a message besides: what can be told from its own row (received, stored) is not repeated here.
CREATE TABLE timeline (
    message_id INTEGER NOT NULL REFERENCES messages,
    entry_id INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    who TEXT NOT NULL,
    PRIMARY KEY (message_id, entry_id)
) STRICT, WITHOUT ROWID;


-- COUNTERS ---------------------------------------------------------------------------------------------------------

-- How many recipients are in each state, kept by triggers, so that no page counts history.
CREATE TABLE recipient_counts (
    state TEXT PRIMARY KEY,
    recipients INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO recipient_counts (state, recipients)
VALUES ('scheduled', 0), ('queued', 0), ('sending', 0), ('deferred', 0), ('held', 0), ('sent', 0), ('failed', 0),
       ('cancelled', 0);

-- What happened in each quarter of an hour (the finest step between the world's time zones): recipients that were
-- sent, failed, or whose attempt ended unknown.
CREATE TABLE tallies (
    quarter INTEGER NOT NULL,
    what TEXT NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (quarter, what)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER recipients_come AFTER INSERT ON recipients
BEGIN
    UPDATE recipient_counts SET recipients = recipients + 1 WHERE state = NEW.state;
END;

CREATE TRIGGER recipients_move AFTER UPDATE OF state ON recipients
BEGIN
    UPDATE recipient_counts SET recipients = recipients - 1 WHERE state = OLD.state;
    UPDATE recipient_counts SET recipients = recipients + 1 WHERE state = NEW.state;
END;

CREATE TRIGGER recipients_end AFTER UPDATE OF state ON recipients
WHEN NEW.state IN ('sent', 'failed')
BEGIN
    INSERT INTO tallies (quarter, what, amount) VALUES (NEW.changed_at_us / 900000000, NEW.state, 1)
    ON CONFLICT (quarter, what) DO UPDATE SET amount = amount + 1;
END;

CREATE TRIGGER recipients_go AFTER DELETE ON recipients
BEGIN
    UPDATE recipient_counts SET recipients = recipients - 1 WHERE state = OLD.state;
END;


-- WHAT IS ALWAYS THERE ---------------------------------------------------------------------------------------------

INSERT INTO mailboxes (mailbox_id) VALUES (1);
INSERT INTO mail_servers (mail_server_id, name, mailbox_id, is_default) VALUES (1, 'Mail server', 1, 1);
INSERT INTO apps (app_id, name, kind, is_internal) VALUES (1, 'Postroom', 'internal', 1);
