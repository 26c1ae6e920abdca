-- name: note_refused_client
INSERT INTO refused_clients (address, listener, helo, login, code, text, attempts, first_at_us, last_at_us)
VALUES (:address, :listener, :helo, :login, :code, :text, :attempts, :at_us, :at_us)
ON CONFLICT (address) DO UPDATE
SET listener = excluded.listener, helo = excluded.helo, login = excluded.login, code = excluded.code,
    text = excluded.text, attempts = attempts + excluded.attempts, last_at_us = max(last_at_us, excluded.last_at_us)

-- name: refused_clients
SELECT * FROM refused_clients WHERE is_ignored = 0 ORDER BY last_at_us DESC, address LIMIT :limit

-- name: ignore_refused_client
UPDATE refused_clients SET is_ignored = 1 WHERE address = :address

-- name: forget_refused_client
DELETE FROM refused_clients WHERE address = :address

-- name: forget_oldest_refused_clients
DELETE FROM refused_clients
WHERE address IN (SELECT address FROM refused_clients ORDER BY last_at_us DESC LIMIT -1 OFFSET :kept)
