-- name: app
SELECT * FROM apps WHERE app_id = :app_id

-- name: apps
SELECT * FROM apps WHERE is_internal = 0 ORDER BY name COLLATE NOCASE, app_id

-- name: internal_app
SELECT * FROM apps WHERE is_internal = 1 ORDER BY app_id LIMIT 1

-- name: login_is_taken
SELECT 1 FROM apps WHERE login = :login

-- name: insert_app
INSERT INTO apps (app_id, name, login, kind, senders, created_at_us)
VALUES (:app_id, :name, :login, :kind, :senders, :now_us)

-- name: insert_credential
INSERT INTO credentials (credential_id, app_id, password_hash, created_at_us)
VALUES (:credential_id, :app_id, :password_hash, :now_us)

-- name: delete_credentials
DELETE FROM credentials WHERE app_id = :app_id

-- name: app_to_sign_in
SELECT apps.*, credentials.password_hash
FROM apps JOIN credentials USING (app_id)
WHERE login = :login AND is_enabled = 1 AND is_internal = 0

-- name: set_app_enabled
UPDATE apps SET is_enabled = :is_enabled WHERE app_id = :app_id

-- name: change_app_senders
UPDATE apps SET senders = :senders WHERE app_id = :app_id

-- name: note_app_use
UPDATE apps SET last_used_at_us = :now_us, last_used_from = :address, last_used_tls = :tls WHERE app_id = :app_id
