-- Reading messages, for pages.

-- name: message_rows
SELECT messages.*, apps.name AS app_name,
       (SELECT mailbox_id FROM deliveries WHERE deliveries.message_id = messages.message_id LIMIT 1) AS mailbox_id
FROM json_each(:messages) AS given
CROSS JOIN messages ON messages.message_id = given.value
CROSS JOIN apps ON apps.app_id = messages.app_id
ORDER BY messages.message_id DESC

-- name: state_of_message
SELECT app_id, state, finished_at_us FROM messages WHERE message_id = :message_id

-- name: open_messages
-- What waits, oldest first: of everybody, or what one user of this machine handed in.
SELECT messages.*, deliveries.mailbox_id FROM deliveries CROSS JOIN messages USING (message_id)
WHERE :local_user IS NULL OR messages.reception ->> 'local_user' = :local_user
ORDER BY messages.message_id LIMIT :limit

-- name: recipients_of_message
SELECT * FROM recipients WHERE message_id = :message_id ORDER BY recipient_id

-- name: attempts_of_message
SELECT * FROM attempts WHERE message_id = :message_id ORDER BY attempt_id

-- name: timeline_of_message
SELECT * FROM timeline WHERE message_id = :message_id ORDER BY entry_id

-- name: body_of_message
SELECT * FROM bodies WHERE message_id = :message_id

-- name: mailbox_waits
-- Why mail of each mailbox waits, if it does.
SELECT mailbox_id, state, cause, recipient_limit_a_day,
       (SELECT count(*) FROM pace_slots WHERE mailbox_id = mailboxes.mailbox_id AND used_at_us > :minute_ago_us)
           >= message_limit_a_minute AS is_paced,
       (SELECT coalesce(sum(recipients), 0) FROM recipient_minutes
        WHERE mailbox_id = mailboxes.mailbox_id AND minute >= :first_minute) >= recipient_limit_a_day AS is_day_over
FROM mailboxes

-- name: recipient_counts
SELECT state, recipients FROM recipient_counts

-- name: tallies_since
SELECT what, sum(amount) AS amount FROM tallies WHERE quarter >= :quarter GROUP BY what

-- name: oldest_waiting
SELECT received_at_us FROM messages WHERE message_id = (SELECT min(message_id) FROM deliveries)

-- name: waiting_by_mailbox
-- Over the live table only, which the index deliveries_waits covers.
SELECT mailbox_id, stage, sum(open_recipients) AS recipients FROM deliveries GROUP BY mailbox_id, stage

-- name: window_floor
-- How far one look goes: the oldest of so many messages.
SELECT message_id FROM messages WHERE message_id < :below_id ORDER BY message_id DESC LIMIT 1 OFFSET :messages

-- name: search_page
-- Message ids, newest first, below the cursor and above the floor of one look. The search adds its conditions.
SELECT messages.message_id FROM messages
