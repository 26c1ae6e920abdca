-- Taking messages in: five statements for a whole batch, each completed with its rows.

-- name: ways_out
-- Where new mail can go, and how long each mailbox could send until now: from there the message grows old.
SELECT mail_server_id, mailboxes.mailbox_id, name, host, is_default,
       ready_total_us + max(0, :now_us - coalesce(ready_since_us, :now_us)) AS ready_us
FROM mail_servers JOIN mailboxes USING (mailbox_id)

-- name: routing_rules
SELECT * FROM routing_rules ORDER BY position

-- name: insert_messages
INSERT INTO messages (message_id, app_id, envelope_sender, header_from, subject, internet_message_id, lane,
                      received_at_us, stored_at_us, size_bytes, is_eight_bit, needs_smtputf8, reception, repairs,
                      recipient_count, first_recipients, state, send_at_us, expires_at_us, tags, metadata, dsn,
                      lifetime_us, names_only_recipients, is_notice)
VALUES

-- name: insert_bodies
INSERT INTO bodies (message_id, size_bytes, content, file_name) VALUES

-- name: insert_search_texts
INSERT INTO search_texts (message_id, senders, recipients, subject) VALUES

-- name: insert_deliveries
INSERT INTO deliveries (delivery_id, message_id, mail_server_id, mailbox_id, lane, is_pinned, stage, due_at_us, open_recipients,
                        ready_us_at_intake, turn)
VALUES

-- name: insert_recipients
INSERT INTO recipients (recipient_id, message_id, delivery_id, address, state, changed_at_us,
                        next_attempt_at_us)
VALUES

-- name: used_idempotency_keys
-- Of the given keys those that are in use.
SELECT idempotency_keys.*
FROM json_each(:keys) AS given
CROSS JOIN idempotency_keys ON idempotency_keys.app_id = given.value ->> 'app_id'
                           AND idempotency_keys.key = given.value ->> 'key'
                           AND idempotency_keys.item = given.value ->> 'item'
WHERE idempotency_keys.kept_at_us > :oldest_us

-- name: keep_idempotency_keys
INSERT OR REPLACE INTO idempotency_keys (app_id, key, item, request_hash, message_id, kept_at_us) VALUES

-- name: idempotency_key
SELECT * FROM idempotency_keys
WHERE app_id = :app_id AND key = :key AND item = :item AND kept_at_us > :oldest_us
