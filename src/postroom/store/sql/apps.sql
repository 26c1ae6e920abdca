-- name: app
SELECT * FROM apps WHERE app_id = :app_id

-- name: apps
SELECT * FROM apps WHERE is_internal = 0 ORDER BY name COLLATE NOCASE, app_id

-- name: app_by_name
SELECT * FROM apps WHERE is_internal = 0 AND (login = :login OR name = :name COLLATE NOCASE)
ORDER BY login = :login DESC, app_id LIMIT 1

-- name: internal_app
SELECT * FROM apps WHERE is_internal = 1 ORDER BY app_id LIMIT 1

-- name: login_is_taken
SELECT 1 FROM apps WHERE login = :login

-- name: insert_app
INSERT INTO apps (app_id, name, login, created_at_us) VALUES (:app_id, :name, :login, :now_us)

-- name: change_app
UPDATE apps
SET name = :name, kind = :kind, owner = :owner, senders = :senders, sender_policy = :sender_policy,
    recipient_domains = :recipient_domains, message_limit_a_minute = :message_limit_a_minute,
    message_limit_a_day = :message_limit_a_day, size_limit_bytes = :size_limit_bytes, addresses = :addresses,
    needs_sign_in = :needs_sign_in, local_users = :local_users, fixes_lines = :fixes_lines,
    allows_plain_text = :allows_plain_text, allows_old_tls = :allows_old_tls, allows_cram_md5 = :allows_cram_md5,
    after_unknown = :after_unknown, notices_to = :notices_to
WHERE app_id = :app_id

-- name: change_login
UPDATE apps SET login = :login WHERE app_id = :app_id

-- name: insert_credential
INSERT INTO credentials (credential_id, app_id, password_hash, is_chosen_by_a_person, sealed_password, created_at_us)
VALUES (:credential_id, :app_id, :password_hash, :is_chosen_by_a_person, :sealed_password, :now_us)

-- name: credentials_of_app
SELECT * FROM credentials WHERE app_id = :app_id ORDER BY credential_id DESC

-- name: delete_credential
DELETE FROM credentials WHERE app_id = :app_id AND credential_id = :credential_id

-- name: delete_older_credentials
-- The newest of an app stays.
DELETE FROM credentials
WHERE app_id = :app_id AND credential_id < (SELECT max(credential_id) FROM credentials WHERE app_id = :app_id)

-- name: forget_sealed_passwords
UPDATE credentials SET sealed_password = NULL WHERE app_id = :app_id

-- name: note_credential_use
UPDATE credentials SET last_used_at_us = :now_us WHERE credential_id = :credential_id

-- name: app_to_sign_in
SELECT apps.*, credentials.credential_id, credentials.password_hash, credentials.is_chosen_by_a_person,
       credentials.sealed_password
FROM apps JOIN credentials USING (app_id)
WHERE login = :login AND is_enabled = 1 AND is_internal = 0

-- name: any_chosen_password
SELECT 1 FROM credentials WHERE is_chosen_by_a_person = 1 LIMIT 1

-- name: set_app_enabled
UPDATE apps SET is_enabled = :is_enabled WHERE app_id = :app_id

-- name: note_app_use
UPDATE apps
SET last_used_at_us = :now_us, last_used_from = :address, last_used_tls = :tls, last_used_mechanism = :mechanism
WHERE app_id = :app_id

-- name: app_use_by_minute
-- Messages of an app by the minute in which they came: their ids are time-ordered, so that an index alone tells.
SELECT ((message_id >> 22) + :epoch_ms) / 60000 AS minute, count(*) AS messages
FROM messages WHERE app_id = :app_id AND message_id >= :first_id
GROUP BY minute

-- name: app_figures
SELECT app_id,
       (SELECT count(*) FROM messages WHERE messages.app_id = apps.app_id AND message_id >= :first_id) AS messages,
       (SELECT count(*) FROM messages WHERE state = 'failed' AND message_id >= :first_id
                                        AND messages.app_id = apps.app_id) AS failed
FROM apps WHERE is_internal = 0
