-- After a long stop: what was set aside, and what a person chose of it.

-- name: ways_of_mailbox
SELECT mail_server_id, since_us FROM mail_servers WHERE mailbox_id = :mailbox_id

-- name: old_waiting
-- What has waited for a mail server since before a time. Nobody is asked about the high lane, nor about a message whose
-- sender said itself until when it is of use: it ends by that.
SELECT deliveries.delivery_id FROM deliveries CROSS JOIN messages USING (message_id)
WHERE deliveries.mail_server_id = :mail_server_id AND deliveries.stage = :stage AND deliveries.lane > 0
  AND messages.expires_at_us IS NULL
  AND coalesce(messages.send_at_us, messages.stored_at_us) <= :before_us
LIMIT :limit

-- name: open_choice_of_mailbox
SELECT choice_id FROM choices WHERE mailbox_id = :mailbox_id AND answered_at_us IS NULL

-- name: ask_choice
-- The mailbox's clock of the first asking holds for what is added later: nothing gets older by it.
INSERT INTO choices (choice_id, mailbox_id, asked_at_us, ready_us_at_asking)
VALUES (:choice_id, :mailbox_id, :now_us, :ready_us)

-- name: set_aside
UPDATE deliveries SET stage = 'held', choice_id = :choice_id
WHERE delivery_id IN (SELECT value FROM json_each(:deliveries)) AND stage IN ('due', 'waiting')

-- name: open_choices
-- Those of which something still waits, with how many messages.
SELECT * FROM (
    SELECT choices.*, mailboxes.username,
           (SELECT count(*) FROM deliveries WHERE deliveries.choice_id = choices.choice_id) AS messages
    FROM mailboxes
    CROSS JOIN choices ON choices.mailbox_id = mailboxes.mailbox_id AND choices.answered_at_us IS NULL
)
WHERE messages > 0 ORDER BY choice_id

-- name: choice
SELECT choices.*, mailboxes.username FROM choices JOIN mailboxes USING (mailbox_id) WHERE choice_id = :choice_id

-- name: set_aside_by_app
SELECT messages.app_id, apps.name, count(*) AS messages, min(messages.received_at_us) AS oldest_us,
       max(messages.received_at_us) AS newest_us
FROM deliveries
CROSS JOIN messages USING (message_id)
CROSS JOIN apps USING (app_id)
WHERE deliveries.choice_id = :choice_id
GROUP BY messages.app_id ORDER BY messages DESC

-- name: answer_choice
UPDATE choices
SET answer = :answer, newer_than_us = :newer_than_us, apps = :apps, who = :who, answered_at_us = :now_us
WHERE choice_id = :choice_id AND answered_at_us IS NULL

-- name: choice_to_carry_out
SELECT choices.*, ready_total_us, ready_since_us FROM choices JOIN mailboxes USING (mailbox_id)
WHERE carried_out_at_us IS NULL AND answered_at_us > 0 ORDER BY answered_at_us LIMIT 1

-- name: next_set_aside
SELECT deliveries.delivery_id, deliveries.message_id, messages.app_id, messages.received_at_us
FROM deliveries CROSS JOIN messages USING (message_id)
WHERE deliveries.choice_id = :choice_id ORDER BY deliveries.delivery_id LIMIT :limit

-- name: hold_set_aside
UPDATE recipients SET state = 'held', changed_at_us = :now_us, next_attempt_at_us = NULL
WHERE message_id IN (SELECT value FROM json_each(:messages)) AND state IN ('scheduled', 'queued', 'deferred')

-- name: end_set_aside
UPDATE deliveries SET choice_id = NULL, ready_us_at_intake = ready_us_at_intake + :waited_us
WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))

-- name: end_choice
UPDATE choices SET carried_out_at_us = :now_us WHERE choice_id = :choice_id

-- name: delete_choices_of_mailbox
DELETE FROM choices WHERE mailbox_id = :mailbox_id
