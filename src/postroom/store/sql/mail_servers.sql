-- name: default_mail_server
SELECT * FROM mail_servers WHERE is_default = 1

-- name: save_mail_server
-- What was proved stays proved only while the server, the sender and who signs in are the same.
UPDATE mail_servers
SET host = :host, port = :port, email_type = :email_type, use_tls = :use_tls, sender = :sender,
    sender_name = :sender_name, sender_is_own_mailbox = :sender_is_own_mailbox, test_address = :test_address,
    send_right = :send_right, send_right_is_granted = :send_right_is_granted, ehlo_name = :ehlo_name,
    verified_at_us = :verified_at_us,
    proved_at_us = CASE WHEN :is_same_way THEN proved_at_us END
WHERE mail_server_id = :mail_server_id

-- name: draft
SELECT draft FROM mail_server_drafts WHERE draft_id = 1

-- name: keep_draft
INSERT INTO mail_server_drafts (draft_id, draft, changed_at_us) VALUES (1, :draft, :now_us)
ON CONFLICT (draft_id) DO UPDATE SET draft = excluded.draft, changed_at_us = excluded.changed_at_us

-- name: discard_draft
DELETE FROM mail_server_drafts
