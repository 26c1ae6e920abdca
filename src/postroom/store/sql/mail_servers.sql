-- name: default_mail_server
SELECT * FROM mail_servers WHERE is_default = 1

-- name: mail_server
SELECT * FROM mail_servers WHERE mail_server_id = :mail_server_id

-- name: insert_mailbox
INSERT INTO mailboxes (mailbox_id) VALUES (:mailbox_id)

-- name: insert_mail_server
INSERT INTO mail_servers (mail_server_id, mailbox_id) VALUES (:mail_server_id, :mailbox_id)

-- name: save_mail_server
-- What was proved stays proved only while the server, the sender and who signs in are the same.
UPDATE mail_servers
SET name = :name, authorities = :authorities, takes_null_sender = :takes_null_sender, takes_large_mail = :takes_large_mail, host = :host, port = :port, email_type = :email_type, use_tls = :use_tls, sender = :sender,
    sender_name = :sender_name, sender_is_own_mailbox = :sender_is_own_mailbox, test_address = :test_address,
    send_right = :send_right, send_right_is_granted = :send_right_is_granted, ehlo_name = :ehlo_name,
    verified_at_us = :verified_at_us,
    proved_at_us = CASE WHEN :is_same_way THEN proved_at_us END,
    cause = NULL, until_us = NULL, failure = NULL, since_us = NULL
WHERE mail_server_id = :mail_server_id

-- name: stop_mail_server
-- This way alone. A stop that is reported again keeps its beginning.
UPDATE mail_servers
SET cause = :cause, until_us = :until_us, failure = :failure,
    since_us = CASE WHEN cause = :cause THEN since_us ELSE :now_us END
WHERE mail_server_id = :mail_server_id
  AND EXISTS (SELECT 1 FROM mailboxes WHERE mailboxes.mailbox_id = :mailbox_id AND revision = :revision)

-- name: forgive_waiting
-- What waited for a way that was stopped alone, while its mailbox's clock went on.
UPDATE deliveries SET ready_us_at_intake = ready_us_at_intake + :now_us - (
    SELECT max(since_us, 0) FROM mail_servers WHERE mail_servers.mail_server_id = deliveries.mail_server_id
)
WHERE mail_server_id = :mail_server_id
  AND (SELECT since_us FROM mail_servers WHERE mail_servers.mail_server_id = deliveries.mail_server_id) IS NOT NULL

-- name: open_mail_server
UPDATE mail_servers SET cause = NULL, until_us = NULL, failure = NULL, since_us = NULL
WHERE mail_server_id = :mail_server_id AND cause IS NOT NULL

-- name: stopped_mail_servers_of
SELECT mail_server_id, cause FROM mail_servers WHERE mailbox_id = :mailbox_id AND cause IS NOT NULL

-- name: draft
SELECT draft FROM mail_server_drafts WHERE draft_id = 1

-- name: keep_draft
INSERT INTO mail_server_drafts (draft_id, draft, changed_at_us) VALUES (1, :draft, :now_us)
ON CONFLICT (draft_id) DO UPDATE SET draft = excluded.draft, changed_at_us = excluded.changed_at_us

-- name: discard_draft
DELETE FROM mail_server_drafts
