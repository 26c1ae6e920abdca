-- The link of a colleague; there is one row, or none.

-- name: sign_in_link
SELECT * FROM sign_in_links

-- name: discard_sign_in_links
DELETE FROM sign_in_links

-- name: insert_sign_in_link
INSERT INTO sign_in_links (link_id, token_hash, username, tenant, client_id, made_by, made_at_us, expires_at_us)
VALUES (:link_id, :token_hash, :username, :tenant, :client_id, :made_by, :now_us, :expires_at_us)

-- name: note_sign_in_link_opened
UPDATE sign_in_links SET opened_at_us = coalesce(opened_at_us, :now_us) WHERE link_id = :link_id

-- name: revoke_sign_in_link
UPDATE sign_in_links SET revoked_at_us = :now_us
WHERE used_at_us IS NULL AND revoked_at_us IS NULL AND expires_at_us > :now_us

-- name: use_sign_in_link
-- Once: whoever comes second finds it used.
UPDATE sign_in_links SET used_at_us = :now_us
WHERE link_id = :link_id AND used_at_us IS NULL AND revoked_at_us IS NULL AND expires_at_us > :now_us
