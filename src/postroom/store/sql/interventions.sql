-- What people do with a message.

-- name: message_for_people
SELECT messages.message_id, messages.state, messages.lane, messages.pruned_at_us, messages.app_id,
       messages.header_from, messages.size_bytes,
       messages.send_at_us, messages.expires_at_us, messages.finished_at_us,
       EXISTS (SELECT 1 FROM bodies WHERE bodies.message_id = messages.message_id) AS has_content
FROM messages WHERE message_id = :message_id

-- name: move_by_person
UPDATE recipients SET state = :state, changed_at_us = :now_us, next_attempt_at_us = NULL
WHERE message_id = :message_id AND state IN (SELECT value FROM json_each(:from_states))

-- name: forget_expiry
-- Whoever sends it again wants it sent.
UPDATE messages SET expires_at_us = NULL WHERE message_id = :message_id

-- name: change_times
UPDATE messages SET send_at_us = :send_at_us, expires_at_us = :expires_at_us, lane = :lane
WHERE message_id = :message_id

-- name: change_lane
UPDATE deliveries SET lane = :lane, turn = :turn WHERE delivery_id = :delivery_id

-- name: reschedule_recipients
UPDATE recipients SET next_attempt_at_us = :send_at_us WHERE message_id = :message_id AND state = 'scheduled'

-- name: deliveries_of_message
SELECT delivery_id, stage, mailbox_id FROM deliveries WHERE message_id = :message_id

-- name: join_delivery
-- Recipients that go again do so with this delivery.
UPDATE recipients SET delivery_id = :delivery_id
WHERE message_id = :message_id AND state = 'queued' AND delivery_id <> :delivery_id

-- name: begin_lifetime_anew
UPDATE deliveries
SET ready_us_at_intake = (
    SELECT ready_total_us + max(0, :now_us - coalesce(ready_since_us, :now_us))
    FROM mailboxes WHERE mailboxes.mailbox_id = deliveries.mailbox_id
)
WHERE delivery_id = :delivery_id
