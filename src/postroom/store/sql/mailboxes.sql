-- Mailboxes and their grants. Whoever changes `state` keeps the clock of readiness with it.

-- name: mailbox
SELECT * FROM mailboxes WHERE mailbox_id = :mailbox_id

-- name: mailboxes
SELECT * FROM mailboxes ORDER BY mailbox_id

-- name: stop_mailbox
-- A pause by a person is not overwritten; a stop that is reported again keeps its beginning. What is known of an
-- earlier revision, or of a grant that was replaced, does not count.
UPDATE mailboxes
SET state = 'stopped', cause = :cause, until_us = :until_us, failure = :failure,
    since_us = CASE WHEN state = 'stopped' AND cause = :cause THEN since_us ELSE :now_us END,
    silent_since_us = CASE WHEN ready_since_us IS NULL THEN silent_since_us ELSE :now_us END,
    ready_total_us = ready_total_us + max(0, :now_us - coalesce(ready_since_us, :now_us)), ready_since_us = NULL
WHERE mailbox_id = :mailbox_id AND state <> 'disconnected' AND (cause IS NULL OR cause <> 'paused')
  AND revision = coalesce(:revision, revision)
  AND (:granted_at_us IS NULL
       OR EXISTS (SELECT 1 FROM grants
                  WHERE grants.mailbox_id = mailboxes.mailbox_id AND grants.granted_at_us = :granted_at_us))

-- name: set_limits
UPDATE mailboxes
SET message_limit_a_minute = :messages_a_minute, connection_limit = :connections,
    recipient_limit_a_day = :recipients_a_day, recipient_limit_a_message = :recipients_a_message
WHERE mailbox_id = :mailbox_id

-- name: microsoft_way_of_mailbox
SELECT 1 FROM mail_servers
WHERE mailbox_id = :mailbox_id
  AND (host LIKE '%.office365.com' OR host LIKE '%.office365.us' OR host LIKE '%.outlook.com'
       OR host LIKE '%.partner.outlook.cn' OR host LIKE '%graph.microsoft.%')
LIMIT 1

-- name: slow_mailbox
-- Told to slow down: what was learnt, from which it recovers.
UPDATE mailboxes
SET state = CASE state WHEN 'ready' THEN 'slowed' ELSE state END,
    since_us = CASE state WHEN 'ready' THEN :now_us ELSE since_us END,
    learnt_message_limit = :message_limit, learnt_connection_limit = :connection_limit, learnt_at_us = :now_us
WHERE mailbox_id = :mailbox_id AND state <> 'disconnected' AND revision = :revision

-- name: end_slowness
-- All limits have recovered.
UPDATE mailboxes
SET state = 'ready', since_us = :now_us, learnt_message_limit = NULL, learnt_connection_limit = NULL,
    learnt_at_us = NULL
WHERE mailbox_id = :mailbox_id AND state = 'slowed'

-- name: prove_mailbox
-- The probe of a stopped mailbox came through; what was learnt of its limits still holds.
UPDATE mailboxes
SET state = CASE WHEN learnt_at_us IS NULL THEN 'ready' ELSE 'slowed' END, cause = NULL, until_us = NULL, failure = NULL, since_us = :now_us, ready_since_us = :now_us
WHERE mailbox_id = :mailbox_id AND state = 'stopped' AND revision = :revision

-- name: resume_mailbox
-- Also when only a way to it is stopped.
UPDATE mailboxes
SET ready_total_us = ready_total_us + max(0, :now_us - coalesce(ready_since_us, :now_us)),
    learnt_message_limit = NULL, learnt_connection_limit = NULL, learnt_at_us = NULL,
    state = 'ready', cause = NULL, until_us = NULL, failure = NULL, since_us = :now_us, ready_since_us = :now_us,
    revision = revision + 1
WHERE mailbox_id = :mailbox_id
  AND (state = 'stopped' OR EXISTS (SELECT 1 FROM mail_servers
                                    WHERE mail_servers.mailbox_id = mailboxes.mailbox_id AND cause IS NOT NULL))

-- name: pause_mailbox
UPDATE mailboxes
SET state = 'stopped', cause = 'paused', until_us = NULL, failure = NULL, since_us = :now_us,
    silent_since_us = CASE WHEN ready_since_us IS NULL THEN silent_since_us ELSE :now_us END,
    ready_total_us = ready_total_us + max(0, :now_us - coalesce(ready_since_us, :now_us)), ready_since_us = NULL,
    revision = revision + 1
WHERE mailbox_id = :mailbox_id AND state <> 'disconnected'

-- name: disconnect_mailbox
UPDATE mailboxes
SET state = 'disconnected', cause = NULL, until_us = NULL, failure = NULL, since_us = :now_us, signed_in_user = NULL,
    silent_since_us = CASE WHEN ready_since_us IS NULL THEN silent_since_us ELSE :now_us END,
    ready_total_us = ready_total_us + max(0, :now_us - coalesce(ready_since_us, :now_us)), ready_since_us = NULL,
    revision = revision + 1
WHERE mailbox_id = :mailbox_id

-- name: connect_mailbox
-- Saved by a person: ready, whatever it was before.
UPDATE mailboxes
SET username = :username, address = :address, authentication = :authentication, signed_in_user = :signed_in_user,
    tenant = :tenant, learnt_message_limit = NULL, learnt_connection_limit = NULL, learnt_at_us = NULL,
    state = 'ready', cause = NULL, until_us = NULL, failure = NULL, since_us = :now_us,
    ready_since_us = coalesce(ready_since_us, :now_us), revision = revision + 1
WHERE mailbox_id = :mailbox_id

-- name: count_readiness_until
-- While we were not running nothing could be sent: the time since the last heartbeat makes no message older.
UPDATE mailboxes
SET ready_total_us = ready_total_us + max(0, :heartbeat_at_us - ready_since_us), ready_since_us = :now_us
WHERE ready_since_us IS NOT NULL

-- name: grant
SELECT grants.*, mailboxes.username, mailboxes.address, mailboxes.authentication, mailboxes.signed_in_user,
       mailboxes.revision, renewals.access_tokens
FROM grants JOIN mailboxes USING (mailbox_id) LEFT JOIN renewals USING (mailbox_id)
WHERE mailbox_id = :mailbox_id

-- name: expiries
SELECT mailbox_id, mailboxes.username, mailboxes.authentication, grants.secret_ends_on, grants.granted_at_us,
       grants.renewed_at_us, grants.grant_type, grants.certificate_ends_on
FROM grants JOIN mailboxes USING (mailbox_id)
ORDER BY mailbox_id

-- name: keep_grant
INSERT INTO grants (mailbox_id, tenant, client_id, client_secret, password, refresh_token, scopes, secret_ends_on,
                    granted_at_us, renewed_at_us, grant_type, cloud, certificate, certificate_ends_on, private_key)
VALUES (:mailbox_id, :tenant, :client_id, :client_secret, :password, :refresh_token, :scopes, :secret_ends_on,
        :granted_at_us, :renewed_at_us, :grant_type, :cloud, :certificate, :certificate_ends_on, :private_key)
ON CONFLICT (mailbox_id) DO UPDATE
SET tenant = excluded.tenant, client_id = excluded.client_id, client_secret = excluded.client_secret,
    password = excluded.password, refresh_token = excluded.refresh_token, scopes = excluded.scopes,
    secret_ends_on = excluded.secret_ends_on, granted_at_us = excluded.granted_at_us,
    renewed_at_us = excluded.renewed_at_us, grant_type = excluded.grant_type, cloud = excluded.cloud,
    certificate = excluded.certificate, certificate_ends_on = excluded.certificate_ends_on,
    private_key = excluded.private_key,
    -- Another app's secret is no spare of this one's.
    spare_secret = CASE WHEN client_id = excluded.client_id THEN spare_secret END,
    spare_secret_ends_on = CASE WHEN client_id = excluded.client_id THEN spare_secret_ends_on END,
    spare_secret_until_us = CASE WHEN client_id = excluded.client_id THEN spare_secret_until_us END

-- name: keep_refresh_token
-- Only into the grant from which it came: a person may have signed in anew meanwhile.
UPDATE grants SET refresh_token = coalesce(:refresh_token, refresh_token), scopes = :scopes, renewed_at_us = :now_us
WHERE mailbox_id = :mailbox_id AND granted_at_us IS :granted_at_us

-- name: take_sign_in
-- Only for the account and the app for which somebody signed in.
UPDATE grants
SET refresh_token = :refresh_token, scopes = :scopes, granted_at_us = :granted_at_us, renewed_at_us = :now_us
WHERE mailbox_id = :mailbox_id AND tenant = :tenant AND client_id = :client_id
  AND EXISTS (SELECT 1 FROM mailboxes
              WHERE mailboxes.mailbox_id = grants.mailbox_id AND username = :username
                AND authentication = :authentication)

-- name: keep_signed_in_user
UPDATE mailboxes SET signed_in_user = :signed_in_user WHERE mailbox_id = :mailbox_id

-- name: erase_grant
DELETE FROM grants WHERE mailbox_id = :mailbox_id
