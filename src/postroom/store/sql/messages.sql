-- Reading messages, for pages.

-- name: message_rows
SELECT messages.*, apps.name AS app_name, deliveries.mail_server_id, deliveries.stage, deliveries.delivery_id,
       deliveries.mailbox_id, deliveries.turn, deliveries.choice_id
FROM json_each(:messages) AS given
CROSS JOIN messages ON messages.message_id = given.value
CROSS JOIN apps ON apps.app_id = messages.app_id
LEFT JOIN deliveries ON deliveries.delivery_id = (
    SELECT delivery_id FROM deliveries WHERE deliveries.message_id = messages.message_id LIMIT 1
)
ORDER BY messages.message_id DESC

-- name: state_of_message
SELECT app_id, state, finished_at_us FROM messages WHERE message_id = :message_id

-- name: open_messages
-- What waits, oldest first: of everybody, or what one user of this machine handed in.
SELECT messages.*, deliveries.mail_server_id, deliveries.stage, deliveries.choice_id FROM deliveries CROSS JOIN messages USING (message_id)
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

-- name: way_waits
-- Why mail for each mail server waits, if it does.
SELECT mail_server_id, mailboxes.*, coalesce(mailboxes.cause, mail_servers.cause) AS any_cause,
       (SELECT count(*) FROM pace_slots
        WHERE pace_slots.mailbox_id = mailboxes.mailbox_id AND used_at_us > :minute_ago_us) AS slots_used,
       (SELECT coalesce(sum(recipients), 0) FROM recipient_minutes
        WHERE recipient_minutes.mailbox_id = mailboxes.mailbox_id AND minute >= :first_minute)
           >= recipient_limit_a_day AS is_day_over,
       coalesce((SELECT external_until_us FROM tenants WHERE tenants.tenant = mailboxes.tenant), 0) > :now_us
           AS is_external_over
FROM mail_servers JOIN mailboxes USING (mailbox_id)

-- name: recipient_counts
SELECT state, recipients FROM recipient_counts

-- name: tallies_since
SELECT what, sum(amount) AS amount FROM tallies WHERE quarter >= :quarter GROUP BY what

-- name: oldest_waiting
SELECT received_at_us FROM messages WHERE message_id = (SELECT min(message_id) FROM deliveries)

-- name: waiting_by_way
-- Over the live table only, which the index deliveries_waits covers.
SELECT mail_server_id, CASE WHEN choice_id IS NULL THEN stage ELSE 'choice' END AS stage, sum(open_recipients) AS recipients
FROM deliveries GROUP BY mail_server_id, deliveries.stage, choice_id

-- name: due_by_way
-- In the index deliveries_waits.
SELECT mail_server_id, CASE WHEN choice_id IS NULL THEN stage ELSE 'choice' END AS stage, count(*) AS messages,
       sum(open_recipients) AS recipients
FROM deliveries WHERE stage IN ('due', 'held') GROUP BY mail_server_id, deliveries.stage, choice_id

-- name: due_before
-- How many of the same mailbox go before one.
SELECT sum((SELECT count(*) FROM deliveries
            WHERE stage = 'due' AND deliveries.mail_server_id = mail_servers.mail_server_id
              AND (lane, turn, delivery_id) < (:lane, :turn, :delivery_id))) AS messages
FROM mail_servers WHERE mailbox_id = :mailbox_id

-- name: window_floor
-- How far one look goes: the oldest of so many messages.
SELECT message_id FROM messages WHERE message_id < :below_id ORDER BY message_id DESC LIMIT 1 OFFSET :messages

-- name: search_page
-- Message ids, newest first, below the cursor and above the floor of one look. The search adds its conditions.
SELECT messages.message_id FROM messages
