-- name: anybody
SELECT 1 FROM people LIMIT 1

-- name: keep_setup_link
INSERT INTO setup_links (setup_link_id, token_hash, expires_at_us) VALUES (1, :token_hash, :expires_at_us)
ON CONFLICT (setup_link_id) DO UPDATE SET token_hash = excluded.token_hash, expires_at_us = excluded.expires_at_us

-- name: setup_link
SELECT token_hash, expires_at_us FROM setup_links

-- name: discard_setup_link
DELETE FROM setup_links

-- name: insert_person
INSERT INTO people (person_id, name, email, passphrase_hash, created_at_us)
VALUES (:person_id, :name, :email, :passphrase_hash, :now_us)

-- name: person_by_email
SELECT * FROM people WHERE email = :email

-- name: insert_session
INSERT INTO sessions (session_id, token_hash, person_id, created_at_us, expires_at_us)
VALUES (:session_id, :token_hash, :person_id, :now_us, :expires_at_us)

-- name: session
SELECT sessions.session_id, sessions.expires_at_us, people.*
FROM sessions JOIN people USING (person_id)
WHERE token_hash = :token_hash AND expires_at_us > :now_us

-- name: delete_session
DELETE FROM sessions WHERE token_hash = :token_hash
