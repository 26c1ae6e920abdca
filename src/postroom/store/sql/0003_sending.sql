-- Several ways out with rules and failover, turns of apps, limits that are learnt, notices, the canary.
-- Foreign keys are off while migrations run, and checked before they are committed: tables may be made anew.

-- Where the limit on external recipients a day belongs. `own_domains` are those that do not count.
CREATE TABLE tenants (
    tenant TEXT PRIMARY KEY,
    external_limit_a_day INTEGER NOT NULL DEFAULT 10000 CHECK (external_limit_a_day > 0),
    own_domains TEXT NOT NULL DEFAULT '[]',
    external_until_us INTEGER,
    external_failure TEXT
) STRICT;

-- External recipients handed over in each minute, by tenant.
CREATE TABLE external_minutes (
    tenant TEXT NOT NULL REFERENCES tenants,
    minute INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    PRIMARY KEY (tenant, minute)
) STRICT, WITHOUT ROWID;

-- As before, and: no sign-in at all (`none`), recipients a message, what was learnt of the limits, the tenant.
CREATE TABLE new_mailboxes (
    mailbox_id INTEGER PRIMARY KEY,
    username TEXT NOT NULL DEFAULT '',
    address TEXT NOT NULL DEFAULT '',
    authentication TEXT NOT NULL DEFAULT 'oauth' CHECK (authentication IN ('oauth', 'basic', 'none')),
    state TEXT NOT NULL DEFAULT 'disconnected' CHECK (state IN ('ready', 'slowed', 'stopped', 'disconnected')),
    cause TEXT,
    until_us INTEGER,
    since_us INTEGER NOT NULL DEFAULT 0,
    failure TEXT,
    signed_in_user TEXT,
    message_limit_a_minute INTEGER NOT NULL DEFAULT 25 CHECK (message_limit_a_minute > 0),
    connection_limit INTEGER NOT NULL DEFAULT 2 CHECK (connection_limit > 0),
    recipient_limit_a_day INTEGER NOT NULL DEFAULT 10000 CHECK (recipient_limit_a_day > 0),
    recipient_limit_a_message INTEGER NOT NULL DEFAULT 500 CHECK (recipient_limit_a_message > 0),
    learnt_message_limit INTEGER CHECK (learnt_message_limit > 0),
    learnt_connection_limit INTEGER CHECK (learnt_connection_limit > 0),
    learnt_at_us INTEGER,
    tenant TEXT REFERENCES tenants,
    revision INTEGER NOT NULL DEFAULT 0,
    ready_total_us INTEGER NOT NULL DEFAULT 0,
    ready_since_us INTEGER,
    CHECK ((ready_since_us IS NOT NULL) = (state IN ('ready', 'slowed'))),
    CHECK ((cause IS NOT NULL) = (state = 'stopped')),
    CHECK ((learnt_at_us IS NOT NULL) = (learnt_message_limit IS NOT NULL OR learnt_connection_limit IS NOT NULL))
) STRICT;

INSERT INTO new_mailboxes (mailbox_id, username, address, authentication, state, cause, until_us, since_us, failure,
                           signed_in_user, message_limit_a_minute, connection_limit, recipient_limit_a_day, revision,
                           ready_total_us, ready_since_us)
SELECT mailbox_id, username, address, authentication, state, cause, until_us, since_us, failure,
       signed_in_user, message_limit_a_minute, connection_limit, recipient_limit_a_day, revision,
       ready_total_us, ready_since_us
FROM mailboxes;
DROP TABLE mailboxes;
ALTER TABLE new_mailboxes RENAME TO mailboxes;

-- As before, and: Microsoft Graph, authorities of its own (PEM), other ways in order, whether it takes `<>`. What stops
-- this way alone, while its mailbox may still send by another, stands here: `cause` to `failure`.
CREATE TABLE new_mail_servers (
    mail_server_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    port INTEGER NOT NULL DEFAULT 587,
    email_type TEXT NOT NULL DEFAULT 'smtp' CHECK (email_type IN ('smtp', 'smtps', 'graph')),
    use_tls INTEGER NOT NULL DEFAULT 1 CHECK (use_tls IN (0, 1)),
    authorities TEXT NOT NULL DEFAULT '',
    sender TEXT NOT NULL DEFAULT '',
    sender_name TEXT NOT NULL DEFAULT '',
    sender_is_own_mailbox INTEGER NOT NULL DEFAULT 1 CHECK (sender_is_own_mailbox IN (0, 1)),
    test_address TEXT NOT NULL DEFAULT '',
    send_right TEXT NOT NULL DEFAULT 'own' CHECK (send_right IN ('own', 'send_on_behalf', 'send_as')),
    send_right_is_granted INTEGER NOT NULL DEFAULT 0 CHECK (send_right_is_granted IN (0, 1)),
    takes_null_sender INTEGER NOT NULL DEFAULT 0 CHECK (takes_null_sender IN (0, 1)),
    ehlo_name TEXT NOT NULL DEFAULT '',
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    is_default INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
    alternatives TEXT NOT NULL DEFAULT '[]',
    cause TEXT,
    until_us INTEGER,
    since_us INTEGER,
    failure TEXT,
    verified_at_us INTEGER,
    proved_at_us INTEGER,
    CHECK ((cause IS NOT NULL) = (since_us IS NOT NULL))
) STRICT;

INSERT INTO new_mail_servers (mail_server_id, name, host, port, email_type, use_tls, sender, sender_name,
                              sender_is_own_mailbox, test_address, send_right, send_right_is_granted, ehlo_name,
                              mailbox_id, is_default, verified_at_us, proved_at_us)
SELECT mail_server_id, '', host, port, email_type, use_tls, sender, sender_name,
       sender_is_own_mailbox, test_address, send_right, send_right_is_granted, ehlo_name,
       mailbox_id, is_default, verified_at_us, proved_at_us
FROM mail_servers;
DROP TABLE mail_servers;
ALTER TABLE new_mail_servers RENAME TO mail_servers;

CREATE INDEX mail_servers_of_mailbox ON mail_servers (mailbox_id);
CREATE UNIQUE INDEX mail_servers_default ON mail_servers (is_default) WHERE is_default = 1;

-- Which mail goes which way: the first rule that fits, by position; else the default mail server.
CREATE TABLE routing_rules (
    rule_id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('sender', 'sender_domain', 'app', 'size')),
    value TEXT NOT NULL,
    mail_server_id INTEGER NOT NULL REFERENCES mail_servers
) STRICT;

-- Senders that a mail server refused lately: another way is preferred for them, none of their mail is failed for it.
CREATE TABLE refused_senders (
    mail_server_id INTEGER NOT NULL REFERENCES mail_servers,
    sender TEXT NOT NULL,
    failure TEXT NOT NULL,
    refused_at_us INTEGER NOT NULL,
    PRIMARY KEY (mail_server_id, sender)
) STRICT, WITHOUT ROWID;

-- `turn` is the virtual finish time by which apps take turns within a lane. `home_mail_server_id` is the way that was
-- chosen at intake, while another one is used. `crashes`: how often we went down while it was being sent. `slot` is that
-- of its mailbox's pace which it occupies while it is leased.
ALTER TABLE deliveries ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN home_mail_server_id INTEGER REFERENCES mail_servers;
ALTER TABLE deliveries ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN slot INTEGER;

DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (mail_server_id, lane, turn, delivery_id) WHERE stage = 'due';
DROP INDEX deliveries_waits;
CREATE INDEX deliveries_waits ON deliveries (mail_server_id, stage, open_recipients);
CREATE INDEX deliveries_away_from_home ON deliveries (home_mail_server_id) WHERE home_mail_server_id IS NOT NULL;
CREATE INDEX deliveries_suspected ON deliveries (crashes) WHERE crashes > 0;

-- The turn that was claimed last, by mailbox and lane; and that which each app was given last, while it is ahead.
CREATE TABLE lane_turns (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    lane INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE app_turns (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    lane INTEGER NOT NULL,
    app_id INTEGER NOT NULL REFERENCES apps,
    turn INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, lane, app_id)
) STRICT, WITHOUT ROWID;

-- `lifetime_us`: of this message alone. `names_only_recipients`: all addresses of its To and Cc are in the envelope.
ALTER TABLE messages ADD COLUMN lifetime_us INTEGER CHECK (lifetime_us > 0);
ALTER TABLE messages ADD COLUMN names_only_recipients INTEGER NOT NULL DEFAULT 0
    CHECK (names_only_recipients IN (0, 1));
ALTER TABLE messages ADD COLUMN is_notice INTEGER NOT NULL DEFAULT 0 CHECK (is_notice IN (0, 1));
ALTER TABLE messages ADD COLUMN delay_told_at_us INTEGER;

-- Notices that are still to be made, written where their reason is settled. `recipients` are ids.
CREATE TABLE notices_due (
    notice_id INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL REFERENCES messages,
    kind TEXT NOT NULL CHECK (kind IN ('failure', 'delay')),
    recipients TEXT NOT NULL,
    made_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX notices_due_of_message ON notices_due (message_id);

-- To whom the failure of an app's mail is told; empty: by its kind, the administrator for devices, else the sender.
ALTER TABLE apps ADD COLUMN notices_to TEXT NOT NULL DEFAULT ''
    CHECK (notices_to IN ('', 'sender', 'administrator', 'nobody'));

-- What people decide about sending as a whole. `canary_since_us`: when the canary was switched on.
CREATE TABLE sending_settings (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    lifetime_us INTEGER NOT NULL DEFAULT 432000000000 CHECK (lifetime_us > 0),
    delay_notice_after_us INTEGER DEFAULT 14400000000 CHECK (delay_notice_after_us > 0),
    administrator TEXT NOT NULL DEFAULT '',
    canary_is_on INTEGER NOT NULL DEFAULT 0 CHECK (canary_is_on IN (0, 1)),
    canary_every_us INTEGER NOT NULL DEFAULT 3600000000 CHECK (canary_every_us > 0),
    canary_recipient TEXT NOT NULL DEFAULT '',
    canary_since_us INTEGER,
    CHECK ((canary_since_us IS NOT NULL) = canary_is_on)
) STRICT;

INSERT INTO sending_settings (only_row) VALUES (1);

-- The canaries of late: our own messages that prove the whole path. They outlive their messages.
CREATE TABLE canaries (
    message_id INTEGER PRIMARY KEY,
    handed_in_us INTEGER NOT NULL,
    sent_at_us INTEGER
) STRICT;

-- However it came to be settled.
CREATE TRIGGER canaries_arrive AFTER UPDATE OF state ON messages
WHEN NEW.state = 'sent'
BEGIN
    UPDATE canaries SET sent_at_us = NEW.finished_at_us WHERE message_id = NEW.message_id;
END;

-- Nobody waits to be told about a canary: the overview and the metrics do.
CREATE TRIGGER canaries_get_no_notice BEFORE INSERT ON notices_due
WHEN EXISTS (SELECT 1 FROM canaries WHERE canaries.message_id = NEW.message_id)
BEGIN
    SELECT RAISE(IGNORE);
END;

-- How many messages ended, by state and by the class of the failure where a recipient failed: for monitors, so it only
-- ever grows, over restarts and pruning. A failure's JSON begins with its class, which is cut out here because triggers
-- may call no JSON function while the schema is not trusted.
CREATE TABLE finished_totals (
    status TEXT NOT NULL,
    class TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (status, class)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER messages_finish AFTER UPDATE OF finished_at_us ON messages
WHEN NEW.finished_at_us IS NOT NULL AND OLD.finished_at_us IS NULL
BEGIN
    INSERT INTO finished_totals (status, class, messages)
    VALUES (CASE WHEN NEW.is_partly_failed THEN 'partly failed' ELSE NEW.state END,
            CASE WHEN NEW.state <> 'failed' THEN ''
                 ELSE coalesce((SELECT substr(failure, 19, instr(substr(failure, 19), '"') - 1) FROM recipients
                                WHERE message_id = NEW.message_id AND state = 'failed' LIMIT 1), '') END,
            1)
    ON CONFLICT (status, class) DO UPDATE SET messages = messages + 1;
END;

-- `stopped_at_us`: we stopped by ourselves, nothing went down. `waits_for_choice_since_us`: after so long an absence a
-- person chooses what of the old mail is still sent.
ALTER TABLE instance ADD COLUMN stopped_at_us INTEGER;
ALTER TABLE instance ADD COLUMN waits_for_choice_since_us INTEGER;
