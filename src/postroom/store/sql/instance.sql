-- What the installation knows of itself.

-- name: instance
-- Read before the schema is brought up to date, too.
SELECT * FROM instance

-- name: begin_boot
-- One more start: the epoch is part of every lease's owner.
UPDATE instance
SET boot_epoch = boot_epoch + 1, started_at_us = :now_us, heartbeat_at_us = :now_us, stopped_at_us = NULL,
    vault_check = coalesce(vault_check, :vault_check)

-- name: note_stop
-- We end by ourselves: what is still in flight has brought nobody down.
UPDATE instance SET stopped_at_us = :now_us

-- name: beat
UPDATE instance SET heartbeat_at_us = :now_us

-- name: greatest_id
SELECT max(coalesce((SELECT max(message_id) FROM messages), 0), coalesce((SELECT max(recipient_id) FROM recipients), 0),
           coalesce((SELECT max(attempt_id) FROM attempts), 0), coalesce((SELECT max(delivery_id) FROM deliveries), 0),
           coalesce((SELECT max(app_id) FROM apps), 0), coalesce((SELECT max(person_id) FROM people), 0),
           coalesce((SELECT max(audit_id) FROM audit), 0), coalesce((SELECT max(session_id) FROM sessions), 0),
           coalesce((SELECT max(credential_id) FROM credentials), 0)) AS id

-- name: file_names_without_row
SELECT name.value AS name
FROM json_each(:names) AS name
WHERE NOT EXISTS (SELECT 1 FROM bodies WHERE bodies.file_name = name.value)
