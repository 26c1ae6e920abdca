-- What was in flight when we went down.

-- name: count_crashes
UPDATE deliveries SET crashes = crashes + 1 WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))

-- name: crashed_too_often
SELECT delivery_id FROM deliveries
WHERE delivery_id IN (SELECT value FROM json_each(:deliveries)) AND crashes >= :held_at

-- name: next_suspect
-- One at a time in the whole server. The plus signs keep the planner from walking through a backlog that is due.
SELECT delivery_id FROM deliveries
WHERE crashes > 0 AND +stage = 'due' AND +mail_server_id IN (SELECT value FROM json_each(:mail_servers))
  AND NOT EXISTS (SELECT 1 FROM deliveries AS tried WHERE tried.crashes > 0 AND tried.stage = 'leased')
ORDER BY crashes, delivery_id LIMIT 1

-- name: clear_suspects
UPDATE deliveries SET crashes = 0 WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))
