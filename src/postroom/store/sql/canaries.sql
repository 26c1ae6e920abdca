-- Our own messages that prove the whole path. The table holds a few dozen rows.

-- name: insert_canaries
INSERT INTO canaries (message_id, handed_in_us) VALUES

-- name: forget_old_canaries
-- All but the newest, and the newest that arrived.
DELETE FROM canaries
WHERE message_id NOT IN (SELECT message_id FROM canaries ORDER BY message_id DESC LIMIT :kept)
  AND message_id <> coalesce((SELECT max(message_id) FROM canaries WHERE sent_at_us IS NOT NULL), 0)

-- name: canary_settings
SELECT canary_is_on, canary_every_us, canary_since_us,
       coalesce(nullif(canary_recipient, ''), test_address) AS recipient, mail_servers.sender
FROM sending_settings LEFT JOIN mail_servers ON is_default = 1

-- name: newest_canary
-- Its message may be gone already.
SELECT canaries.*, messages.state
FROM (SELECT * FROM canaries ORDER BY message_id DESC LIMIT 1) AS canaries
LEFT JOIN messages ON messages.message_id = canaries.message_id

-- name: newest_arrived_canary
SELECT canaries.*, messages.state
FROM (SELECT * FROM canaries WHERE sent_at_us IS NOT NULL ORDER BY message_id DESC LIMIT 1) AS canaries
LEFT JOIN messages ON messages.message_id = canaries.message_id
