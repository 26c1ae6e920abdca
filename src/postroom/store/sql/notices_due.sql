-- Notices about messages that failed or are late.

-- name: messages_to_tell_about
-- Those of the given messages about which anybody may be told.
SELECT messages.message_id, messages.dsn
FROM json_each(:messages) AS given
CROSS JOIN messages ON messages.message_id = given.value
CROSS JOIN apps ON apps.app_id = messages.app_id
WHERE messages.envelope_sender <> '' AND NOT messages.is_notice AND NOT apps.is_internal

-- name: insert_notices_due
INSERT INTO notices_due (notice_id, message_id, kind, recipients, made_at_us) VALUES

-- name: delayed_recipients
-- Of messages that wait for a later try through a mailbox that sends: through one that does not, a notice would wait
-- beside its message.
SELECT recipients.recipient_id, recipients.message_id, recipients.address
FROM (
    SELECT waits.message_id, waits.delivery_id FROM mailboxes
    CROSS JOIN deliveries AS waits ON waits.mailbox_id = mailboxes.mailbox_id
    CROSS JOIN messages ON messages.message_id = waits.message_id
    WHERE waits.stage = 'waiting' AND mailboxes.state IN ('ready', 'slowed')
      AND messages.delay_told_at_us IS NULL AND messages.received_at_us <= :until_us
    LIMIT :limit
) AS given
CROSS JOIN recipients ON recipients.message_id = given.message_id AND recipients.delivery_id = given.delivery_id
WHERE recipients.state = 'deferred'

-- name: note_delay_told
UPDATE messages SET delay_told_at_us = :now_us WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: notices_due
SELECT due.*, messages.envelope_sender, messages.header_from, messages.subject, messages.internet_message_id,
       messages.received_at_us, messages.dsn, messages.app_id, messages.lifetime_us,
       (SELECT server FROM attempts WHERE attempts.message_id = messages.message_id
        ORDER BY attempt_id DESC LIMIT 1) AS mail_server
FROM (SELECT * FROM notices_due ORDER BY notice_id LIMIT :limit) AS due
CROSS JOIN messages ON messages.message_id = due.message_id
ORDER BY due.notice_id

-- name: recipients_of_notice
SELECT * FROM recipients
WHERE message_id = :message_id AND recipient_id IN (SELECT value FROM json_each(:recipients))
ORDER BY recipient_id

-- name: delete_notice_due
DELETE FROM notices_due WHERE notice_id = :notice_id

-- name: delete_notices_due
DELETE FROM notices_due WHERE message_id IN (SELECT value FROM json_each(:messages))
