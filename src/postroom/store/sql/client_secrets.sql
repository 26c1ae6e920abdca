-- The two slots of a mailbox's client secret: the one that is used, and the one before it.

-- name: change_client_secret
-- Only in the grant with which it was tested: a person may have signed in anew, or to another app, meanwhile.
UPDATE grants
SET spare_secret = :spare_secret, spare_secret_ends_on = :spare_ends_on, spare_secret_until_us = :spare_until_us,
    client_secret = :client_secret, secret_ends_on = :ends_on,
    refresh_token = coalesce(:refresh_token, refresh_token),
    renewed_at_us = CASE WHEN :refresh_token IS NULL THEN renewed_at_us ELSE :now_us END
WHERE mailbox_id = :mailbox_id AND granted_at_us IS :granted_at_us AND client_id = :client_id

-- name: forget_spare_secrets
UPDATE grants SET spare_secret = NULL, spare_secret_ends_on = NULL, spare_secret_until_us = NULL
WHERE spare_secret_until_us <= :now_us
