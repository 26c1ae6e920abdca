-- Leasing what is due. Time and pace are decided here, in the transaction that writes the attempt.

-- name: expired_leases
SELECT leased.delivery_id, leased.message_id, leased.owner, leased.attempt_id
FROM mailboxes
CROSS JOIN deliveries AS leased ON leased.mailbox_id = mailboxes.mailbox_id
WHERE leased.stage = 'leased' AND leased.expires_at_us <= :now_us

-- name: leases_of_earlier_boots
SELECT leased.delivery_id, leased.message_id, leased.owner, leased.attempt_id
FROM mailboxes
CROSS JOIN deliveries AS leased ON leased.mailbox_id = mailboxes.mailbox_id
WHERE leased.stage = 'leased' AND leased.owner LIKE :node || '.%' AND leased.owner <> :owner

-- name: mailboxes_that_may_send
-- Those that sign in, or whose stop is over and that may be probed; the one that has waited longest is first.
SELECT * FROM mailboxes
WHERE (state IN ('ready', 'slowed') OR (state = 'stopped' AND cause <> 'paused' AND until_us <= :now_us))
ORDER BY (SELECT max(used_at_us) FROM pace_slots WHERE mailbox_id = mailboxes.mailbox_id), mailbox_id

-- name: leased_by_way
SELECT leased.mailbox_id, leased.mail_server_id, count(*) AS leased
FROM mailboxes
CROSS JOIN deliveries AS leased ON leased.mailbox_id = mailboxes.mailbox_id
WHERE leased.stage = 'leased'
GROUP BY leased.mailbox_id, leased.mail_server_id

-- name: scheduled_that_are_due
SELECT DISTINCT message_id, delivery_id FROM (
    SELECT message_id, delivery_id FROM recipients
    WHERE state = 'scheduled' AND next_attempt_at_us <= :now_us
    ORDER BY next_attempt_at_us LIMIT :limit
)

-- name: queue_scheduled
UPDATE recipients SET state = 'queued', changed_at_us = :now_us, next_attempt_at_us = NULL
WHERE state = 'scheduled' AND message_id IN (SELECT value FROM json_each(:messages))

-- name: next_scheduled
SELECT min(next_attempt_at_us) AS at_us FROM recipients WHERE state = 'scheduled'

-- name: waiting_that_are_due
SELECT delivery_id, crashes FROM deliveries
WHERE stage = 'waiting' AND mailbox_id = :mailbox_id AND due_at_us <= :now_us
ORDER BY due_at_us LIMIT :limit

-- name: wake_waiting
UPDATE deliveries SET stage = 'due' WHERE delivery_id IN (SELECT value FROM json_each(:deliveries)) AND stage = 'waiting'

-- name: any_due_delivery
-- The first in order, of a mail server.
SELECT delivery_id, message_id, lane, turn FROM deliveries
WHERE stage = 'due' AND mail_server_id = :mail_server_id
ORDER BY lane, turn, delivery_id LIMIT 1

-- name: due_deliveries
-- Of a mail server: by lane, then by the turns of apps, then by age; or the one suspect that is tried.
SELECT deliveries.delivery_id, deliveries.lane, deliveries.turn, deliveries.message_id,
       deliveries.mail_server_id, deliveries.ready_us_at_intake,
       messages.attempts, messages.envelope_sender, messages.header_from, messages.is_eight_bit,
       messages.needs_smtputf8, messages.dsn, messages.expires_at_us AS message_expires_at_us,
       messages.is_notice, coalesce(messages.lifetime_us, (SELECT lifetime_us FROM sending_settings WHERE only_row = 1)) AS lifetime_us,
       apps.after_unknown, bodies.size_bytes, bodies.content, bodies.file_name
FROM (
    SELECT * FROM (
        SELECT * FROM deliveries
        WHERE :suspect_id IS NULL AND stage = 'due' AND mail_server_id = :mail_server_id AND crashes = 0
        ORDER BY lane, turn, delivery_id LIMIT :limit
    )
    UNION ALL
    SELECT * FROM deliveries
    WHERE delivery_id = :suspect_id AND +stage = 'due' AND +mail_server_id = :mail_server_id
) AS deliveries
CROSS JOIN messages ON messages.message_id = deliveries.message_id
CROSS JOIN apps ON apps.app_id = messages.app_id
LEFT JOIN bodies ON bodies.message_id = deliveries.message_id
ORDER BY deliveries.lane, deliveries.turn, deliveries.delivery_id

-- name: due_recipients
SELECT recipients.recipient_id, recipients.message_id, recipients.delivery_id, recipients.address
FROM json_each(:deliveries) AS claimed
CROSS JOIN recipients ON recipients.message_id = claimed.value ->> 'message_id'
                     AND recipients.delivery_id = claimed.value ->> 'delivery_id'
WHERE recipients.state IN ('queued', 'deferred') AND coalesce(recipients.next_attempt_at_us, 0) <= :now_us
ORDER BY recipients.recipient_id

-- name: recipients_since
SELECT coalesce(sum(recipients), 0) AS recipients FROM recipient_minutes
WHERE mailbox_id = :mailbox_id AND minute >= :minute

-- name: count_recipients
INSERT INTO recipient_minutes (mailbox_id, minute, recipients) VALUES (:mailbox_id, :minute, :recipients)
ON CONFLICT (mailbox_id, minute) DO UPDATE SET recipients = recipients + excluded.recipients

-- name: mail_servers_by_id
SELECT * FROM mail_servers ORDER BY mail_server_id

-- name: start_attempts
INSERT INTO attempts (attempt_id, message_id, mail_server_id, number, owner, started_at_us) VALUES

-- name: lease_deliveries
UPDATE deliveries
SET stage = 'leased', owner = :owner, expires_at_us = :expires_at_us, attempt_id = claimed.value ->> 'attempt_id',
    is_probe = claimed.value ->> 'is_probe', mailbox_revision = claimed.value ->> 'mailbox_revision',
    slot = claimed.value ->> 'slot'
FROM json_each(:claims) AS claimed
WHERE deliveries.delivery_id = claimed.value ->> 'delivery_id' AND deliveries.stage = 'due'

-- name: lease_recipients
UPDATE recipients
SET state = 'sending', attempt_id = claimed.value ->> 'attempt_id', changed_at_us = :now_us, next_attempt_at_us = NULL
FROM json_each(:recipients) AS claimed
WHERE recipients.recipient_id = claimed.value ->> 'recipient_id' AND recipients.state IN ('queued', 'deferred')

-- name: count_attempts
UPDATE messages SET attempts = attempts + 1, state = 'sending'
WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: renew_lease
UPDATE deliveries SET expires_at_us = :expires_at_us
WHERE delivery_id = :delivery_id AND owner = :owner AND attempt_id = :attempt_id AND stage = 'leased'

-- name: ways_with_mail
-- What each mail server has to do, for the worker's alarm clock.
SELECT mail_servers.mail_server_id,
       (SELECT count(*) FROM deliveries
        WHERE stage = 'leased' AND deliveries.mailbox_id = mail_servers.mailbox_id
          AND deliveries.mail_server_id = mail_servers.mail_server_id) AS in_flight,
       EXISTS (SELECT 1 FROM deliveries
               WHERE stage = 'due' AND deliveries.mail_server_id = mail_servers.mail_server_id
                 AND (crashes = 0 OR NOT EXISTS (SELECT 1 FROM deliveries AS tried
                                                 WHERE tried.crashes > 0 AND tried.stage = 'leased'))) AS has_due
FROM mail_servers

-- name: mailboxes_with_mail
SELECT mailboxes.*,
       (SELECT min(expires_at_us) FROM deliveries WHERE stage = 'leased' AND mailbox_id = mailboxes.mailbox_id)
           AS expires_at_us,
       (SELECT min(due_at_us) FROM deliveries WHERE stage = 'waiting' AND mailbox_id = mailboxes.mailbox_id)
           AS waits_until_us
FROM mailboxes

-- name: recipient_minutes_since
SELECT minute, recipients FROM recipient_minutes
WHERE mailbox_id = :mailbox_id AND minute >= :minute ORDER BY minute
