-- name: insert_api_key
INSERT INTO api_keys (api_key_id, app_id, name, shown_start, key_hash, scopes, created_at_us, expires_at_us)
VALUES (:api_key_id, :app_id, :name, :shown_start, :key_hash, :scopes, :now_us, :expires_at_us)

-- name: api_key
SELECT * FROM api_keys WHERE api_key_id = :api_key_id

-- name: api_key_to_sign_in
SELECT api_keys.* FROM api_keys JOIN apps USING (app_id)
WHERE key_hash = :key_hash AND is_enabled = 1 AND is_internal = 0

-- name: api_keys_of_app
SELECT * FROM api_keys WHERE app_id = :app_id ORDER BY api_key_id DESC

-- name: delete_api_key
DELETE FROM api_keys WHERE api_key_id = :api_key_id

-- name: note_api_key_use
UPDATE api_keys SET last_used_at_us = :now_us, last_used_from = :address WHERE api_key_id = :api_key_id
