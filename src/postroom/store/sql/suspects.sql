-- What was in flight when we went down.

-- name: suspect_all
-- Nobody knows which of them it was.
UPDATE deliveries SET crashes = max(crashes, 1) WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))

-- name: count_crash_alone
UPDATE deliveries SET crashes = crashes + 1 WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))

-- name: crashed_too_often
SELECT delivery_id FROM deliveries
WHERE delivery_id IN (SELECT value FROM json_each(:deliveries)) AND crashes >= :held_at

-- name: suspects
-- Those that are in flight, due, or wait for a time that has come. The plus signs keep the planner from walking through
-- a backlog.
SELECT delivery_id, mailbox_id, mail_server_id, stage FROM deliveries
WHERE crashes > 0 AND (+stage IN ('due', 'leased') OR (+stage = 'waiting' AND +due_at_us <= :now_us))
ORDER BY crashes, delivery_id

-- name: trial_in_flight
SELECT attempts.number, attempts.started_at_us
FROM deliveries AS tried
CROSS JOIN attempts ON attempts.attempt_id = tried.attempt_id
WHERE tried.crashes > 0 AND +tried.stage = 'leased'
ORDER BY attempts.attempt_id DESC LIMIT 1

-- name: last_begun
-- When the youngest of what is in flight began.
SELECT max(attempts.started_at_us) AS at_us
FROM mailboxes
CROSS JOIN deliveries AS leased ON leased.mailbox_id = mailboxes.mailbox_id
CROSS JOIN attempts ON attempts.attempt_id = leased.attempt_id
WHERE leased.stage = 'leased'

-- name: clear_suspects
UPDATE deliveries SET crashes = 0 WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))
