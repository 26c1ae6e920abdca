-- Moving deliveries to another way.

-- name: any_refused_sender
SELECT 1 FROM refused_senders WHERE mail_server_id = :mail_server_id AND refused_at_us > :since_us LIMIT 1

-- name: count_due
SELECT count(*) AS due FROM (
    SELECT 1 FROM deliveries WHERE mail_server_id = :mail_server_id AND stage = 'due' LIMIT 100
)

-- name: movable_deliveries
-- Of the first that are due at a mail server, those which the target may send. Graph has no envelope: it fits only while all
-- recipients are open, all that the header names are among them, and no other way may have sent it already.
SELECT given.delivery_id, given.message_id, given.lane, messages.app_id,
       coalesce(given.home_mail_server_id, given.mail_server_id) AS home
FROM (
    SELECT * FROM deliveries WHERE stage = 'due' AND mail_server_id = :mail_server_id
    ORDER BY lane, turn, delivery_id LIMIT 500
) AS given
CROSS JOIN messages ON messages.message_id = given.message_id
WHERE NOT given.is_pinned AND coalesce(given.home_mail_server_id, given.mail_server_id) IN (SELECT value FROM json_each(:homes))
  AND NOT EXISTS (SELECT 1 FROM refused_senders
                  WHERE refused_senders.mail_server_id = :target_id AND refused_at_us > :refused_since_us
                    AND refused_senders.sender = lower(messages.header_from))
  AND (NOT :needs_to_fit_graph
       OR (messages.names_only_recipients AND messages.size_bytes <= :graph_limit_bytes AND given.open_recipients = messages.recipient_count
           AND NOT given.is_unfit_for_graph
           AND NOT EXISTS (SELECT 1 FROM attempts
                           WHERE attempts.message_id = given.message_id AND attempts.mail_server_id <> :target_id
                             AND attempts.outcomes LIKE '%"type":"unknown"%')))
ORDER BY given.lane, given.turn, given.delivery_id LIMIT :limit

-- name: movable_of_refused_senders
-- The same, of senders that the mail server refused lately.
SELECT given.delivery_id, given.message_id, given.lane, messages.app_id,
       coalesce(given.home_mail_server_id, given.mail_server_id) AS home
FROM (
    SELECT * FROM deliveries WHERE stage = 'due' AND mail_server_id = :mail_server_id
    ORDER BY lane, turn, delivery_id LIMIT 500
) AS given
CROSS JOIN messages ON messages.message_id = given.message_id
WHERE NOT given.is_pinned AND coalesce(given.home_mail_server_id, given.mail_server_id) IN (SELECT value FROM json_each(:homes))
  AND EXISTS (SELECT 1 FROM refused_senders
              WHERE refused_senders.mail_server_id = :mail_server_id AND refused_at_us > :refused_since_us
                AND refused_senders.sender = lower(messages.header_from))
  AND NOT EXISTS (SELECT 1 FROM refused_senders
                  WHERE refused_senders.mail_server_id = :target_id AND refused_at_us > :refused_since_us
                    AND refused_senders.sender = lower(messages.header_from))
  AND (NOT :needs_to_fit_graph
       OR (messages.names_only_recipients AND messages.size_bytes <= :graph_limit_bytes AND given.open_recipients = messages.recipient_count
           AND NOT given.is_unfit_for_graph
           AND NOT EXISTS (SELECT 1 FROM attempts
                           WHERE attempts.message_id = given.message_id AND attempts.mail_server_id <> :target_id
                             AND attempts.outcomes LIKE '%"type":"unknown"%')))
ORDER BY given.lane, given.turn, given.delivery_id LIMIT :limit

-- name: movable_that_graph_cannot_send
-- Of the first that are due at a mail server of Graph's, those that do not fit it; to one of another kind.
SELECT given.delivery_id, given.message_id, given.lane, messages.app_id,
       coalesce(given.home_mail_server_id, given.mail_server_id) AS home
FROM (
    SELECT * FROM deliveries WHERE stage = 'due' AND mail_server_id = :mail_server_id
    ORDER BY lane, turn, delivery_id LIMIT 500
) AS given
CROSS JOIN messages ON messages.message_id = given.message_id
WHERE NOT given.is_pinned AND coalesce(given.home_mail_server_id, given.mail_server_id) IN (SELECT value FROM json_each(:homes))
  AND NOT :needs_to_fit_graph
  AND (NOT messages.names_only_recipients OR messages.size_bytes > :graph_limit_bytes OR given.is_unfit_for_graph
       OR given.open_recipients < messages.recipient_count)
ORDER BY given.lane, given.turn, given.delivery_id LIMIT :limit

-- name: home_of_delivery
SELECT coalesce(home_mail_server_id, mail_server_id) AS home FROM deliveries WHERE delivery_id = :delivery_id

-- name: unfit_delivery
SELECT deliveries.delivery_id, deliveries.message_id, deliveries.lane, messages.app_id,
       coalesce(deliveries.home_mail_server_id, deliveries.mail_server_id) AS home
FROM deliveries
CROSS JOIN messages ON messages.message_id = deliveries.message_id
WHERE deliveries.delivery_id = :delivery_id AND deliveries.stage = 'due'

-- name: note_unfit_for_graph
UPDATE deliveries SET is_unfit_for_graph = 1 WHERE delivery_id = :delivery_id

-- name: move_deliveries
UPDATE deliveries
SET mail_server_id = :mail_server_id, mailbox_id = :mailbox_id, turn = moved.value ->> 'turn',
    home_mail_server_id = moved.value ->> 'home', ready_us_at_intake = ready_us_at_intake + :shift_us
FROM json_each(:moved) AS moved
WHERE deliveries.delivery_id = moved.value ->> 'delivery_id' AND deliveries.stage = 'due'
