-- What the disk holds goes by rule, in small batches.

-- name: prune_content
-- The content of messages whose last recipient ended long enough ago.
SELECT message_id, bodies.file_name
FROM (
    SELECT message_id FROM messages
    WHERE finished_at_us IS NOT NULL AND pruned_at_us IS NULL AND finished_at_us <= :until_us
    ORDER BY finished_at_us LIMIT :batch
)
LEFT JOIN bodies USING (message_id)

-- name: delete_bodies
DELETE FROM bodies WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: mark_pruned
UPDATE messages SET pruned_at_us = :now_us WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: prune_metadata
SELECT message_id, bodies.file_name
FROM (
    SELECT message_id FROM messages
    WHERE finished_at_us IS NOT NULL AND finished_at_us <= :until_us
    ORDER BY finished_at_us LIMIT :batch
)
LEFT JOIN bodies USING (message_id)

-- name: delete_search_texts
DELETE FROM search_texts WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: delete_timeline
DELETE FROM timeline WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: delete_attempts
DELETE FROM attempts WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: delete_recipients
DELETE FROM recipients WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: delete_messages
DELETE FROM messages WHERE message_id IN (SELECT value FROM json_each(:messages))

-- name: delete_recipient_minutes
DELETE FROM recipient_minutes WHERE minute < :minute

-- name: delete_tallies
DELETE FROM tallies WHERE quarter < :quarter

-- name: delete_ended_sessions
DELETE FROM sessions WHERE expires_at_us <= :now_us

-- name: delete_idempotency_keys
DELETE FROM idempotency_keys WHERE kept_at_us <= :until_us
