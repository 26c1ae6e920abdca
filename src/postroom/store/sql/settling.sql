-- What an attempt came to. Every change is fenced by the lease: its owner and its attempt.

-- name: held_leases
-- Of the given leases those that still stand, with what settling needs to know.
SELECT leased.delivery_id, leased.attempt_id, leased.message_id, leased.mailbox_id, leased.mail_server_id,
       leased.is_probe, leased.mailbox_revision, leased.crashes, leased.slot, apps.after_unknown, messages.header_from, mailboxes.tenant,
       EXISTS (SELECT 1 FROM mail_servers
               WHERE mail_servers.mailbox_id = leased.mailbox_id
                 AND mail_servers.mail_server_id <> leased.mail_server_id) AS has_another_way
FROM json_each(:leases) AS given
CROSS JOIN deliveries AS leased ON leased.delivery_id = given.value ->> 'delivery_id'
CROSS JOIN messages ON messages.message_id = leased.message_id
CROSS JOIN apps ON apps.app_id = messages.app_id
CROSS JOIN mailboxes ON mailboxes.mailbox_id = leased.mailbox_id
WHERE leased.stage = 'leased' AND leased.owner = given.value ->> 'owner'
  AND leased.attempt_id = given.value ->> 'attempt_id'

-- name: recipients_being_sent
SELECT recipients.recipient_id, recipients.attempt_id, recipients.address
FROM json_each(:leases) AS given
CROSS JOIN recipients ON recipients.message_id = given.value ->> 'message_id'
WHERE recipients.attempt_id = given.value ->> 'attempt_id' AND recipients.state = 'sending'
ORDER BY recipients.recipient_id

-- name: move_recipients
UPDATE recipients
SET state = move.value ->> 'state', changed_at_us = :now_us, next_attempt_at_us = move.value ->> 'next_attempt_at_us',
    failure = move.value ->> 'failure', reply = move.value ->> 'reply'
FROM json_each(:moves) AS move
WHERE recipients.recipient_id = move.value ->> 'recipient_id' AND recipients.state = 'sending'
  AND recipients.attempt_id = move.value ->> 'attempt_id'

-- name: end_attempts
UPDATE attempts
SET ended_at_us = :now_us, server = ended.value ->> 'server', outcomes = ended.value ->> 'outcomes',
    dialogue = ended.value ->> 'dialogue'
FROM json_each(:attempts) AS ended
WHERE attempts.attempt_id = ended.value ->> 'attempt_id' AND attempts.ended_at_us IS NULL

-- name: delivery_stages
-- Where each delivery belongs now that its recipients have moved: by its open recipients.
SELECT deliveries.delivery_id, count(recipients.recipient_id) AS open_recipients,
       min(CASE WHEN recipients.state IN ('queued', 'deferred', 'scheduled')
                THEN coalesce(recipients.next_attempt_at_us, 0) END)
           AS due_at_us
FROM json_each(:deliveries) AS given
CROSS JOIN deliveries ON deliveries.delivery_id = given.value
LEFT JOIN recipients ON recipients.message_id = deliveries.message_id
                    AND recipients.delivery_id = deliveries.delivery_id
                    AND recipients.state IN ('queued', 'deferred', 'sending', 'held', 'scheduled')
GROUP BY deliveries.delivery_id

-- name: stage_deliveries
UPDATE deliveries
SET stage = staged.value ->> 'stage', due_at_us = staged.value ->> 'due_at_us',
    open_recipients = staged.value ->> 'open_recipients', owner = NULL, expires_at_us = NULL, attempt_id = NULL,
    is_probe = 0, slot = NULL, choice_id = NULL
FROM json_each(:stages) AS staged
WHERE deliveries.delivery_id = staged.value ->> 'delivery_id'

-- name: end_deliveries
DELETE FROM deliveries WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))

-- name: summarise_messages
-- A message's state is that of its least finished recipient; the digit is how finished a state is.
UPDATE messages
SET state = substr(truth.least, 2),
    is_partly_failed = (truth.least = '5failed' AND truth.failed < truth.recipients),
    finished_at_us = CASE WHEN truth.least >= '5' THEN truth.changed_at_us END
FROM (
    SELECT recipients.message_id, count(*) AS recipients, sum(recipients.state = 'failed') AS failed,
           max(recipients.changed_at_us) AS changed_at_us,
           min(CASE recipients.state
               WHEN 'scheduled' THEN '0scheduled' WHEN 'queued' THEN '1queued' WHEN 'sending' THEN '2sending'
               WHEN 'deferred' THEN '3deferred' WHEN 'held' THEN '4held' WHEN 'failed' THEN '5failed'
               WHEN 'sent' THEN '6sent' ELSE '7cancelled' END) AS least
    FROM json_each(:messages) AS given
    CROSS JOIN recipients ON recipients.message_id = given.value
    GROUP BY recipients.message_id
) AS truth
WHERE messages.message_id = truth.message_id

-- name: tally
INSERT INTO tallies (quarter, what, amount) VALUES (:quarter, :what, :amount)
ON CONFLICT (quarter, what) DO UPDATE SET amount = amount + excluded.amount

-- name: add_timeline
INSERT INTO timeline (message_id, entry_id, at_us, kind, text, who) VALUES

-- name: prove_sender
-- A message from the sender itself was accepted after its data: that alone proves the right to send. Noted at most
-- once a minute.
UPDATE mail_servers SET proved_at_us = :now_us
WHERE mail_server_id = :mail_server_id AND lower(sender) = lower(:header_from)
  AND coalesce(proved_at_us, 0) < :now_us - 60000000
