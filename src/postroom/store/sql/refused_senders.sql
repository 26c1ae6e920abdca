-- Senders that a mail server refused lately, by the address in From, in lower case.

-- name: remember_refused_sender
INSERT INTO refused_senders (mail_server_id, sender, failure, refused_at_us)
VALUES (:mail_server_id, :sender, :failure, :now_us)
ON CONFLICT (mail_server_id, sender) DO UPDATE
SET failure = excluded.failure, refused_at_us = excluded.refused_at_us

-- name: any_refused_senders
SELECT 1 FROM refused_senders LIMIT 1

-- name: forget_accepted_senders
DELETE FROM refused_senders
WHERE (mail_server_id, sender) IN (
    SELECT given.value ->> 'mail_server_id', given.value ->> 'sender' FROM json_each(:places) AS given
)

-- name: forget_refused_senders
DELETE FROM refused_senders WHERE mail_server_id = :mail_server_id

-- name: delete_refused_senders
DELETE FROM refused_senders WHERE refused_at_us <= :until_us

-- name: refusals_of_sender
SELECT refused_senders.*, coalesce(nullif(mail_servers.name, ''), mail_servers.host) AS mail_server_name
FROM mail_servers
CROSS JOIN refused_senders ON refused_senders.mail_server_id = mail_servers.mail_server_id
WHERE refused_senders.sender = :sender AND refused_at_us > :since_us
ORDER BY refused_at_us DESC

-- name: refused_senders_of_app
SELECT refused_senders.*, coalesce(nullif(mail_servers.name, ''), mail_servers.host) AS mail_server_name
FROM (
    SELECT DISTINCT lower(header_from) AS sender FROM messages
    WHERE app_id = :app_id AND message_id >= :first_id
) AS given
CROSS JOIN mail_servers
CROSS JOIN refused_senders ON refused_senders.mail_server_id = mail_servers.mail_server_id
                          AND refused_senders.sender = given.sender
WHERE refused_at_us > :since_us
ORDER BY refused_at_us DESC, refused_senders.sender LIMIT 20
