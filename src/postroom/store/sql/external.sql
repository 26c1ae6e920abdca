-- What a tenant sends to recipients outside of it.

-- name: tenant
SELECT * FROM tenants WHERE tenant = :tenant

-- name: keep_tenant
-- Domains that a person added stay.
INSERT INTO tenants (tenant, own_domains) VALUES (:tenant, :own_domains)
ON CONFLICT (tenant) DO UPDATE
SET own_domains = (
    SELECT json_group_array(value) FROM (
        SELECT value FROM json_each(tenants.own_domains) UNION SELECT value FROM json_each(excluded.own_domains)
    )
)

-- name: close_external
UPDATE tenants SET external_until_us = :until_us, external_failure = :failure
WHERE tenant = :tenant AND coalesce(external_until_us, 0) < :until_us

-- name: set_external_day
UPDATE tenants SET external_limit_a_day = :limit, own_domains = :own_domains WHERE tenant = :tenant

-- name: reopen_external
-- What was closed by our own count; what Microsoft closed stays closed until its time.
UPDATE tenants SET external_until_us = NULL
WHERE tenant = :tenant AND external_failure IS NULL AND external_until_us > :now_us

-- name: wake_external_recipients
-- They were put off until the day would have had room.
UPDATE recipients SET next_attempt_at_us = NULL
WHERE state = 'queued' AND next_attempt_at_us IS NOT NULL
  AND message_id IN (SELECT message_id FROM deliveries
                     WHERE stage = 'waiting' AND mailbox_id IN (SELECT mailbox_id FROM mailboxes WHERE tenant = :tenant)
                       AND due_at_us = :until_us)

-- name: wake_external
UPDATE deliveries SET stage = 'due', due_at_us = :now_us
WHERE stage = 'waiting' AND due_at_us = :until_us
  AND mailbox_id IN (SELECT mailbox_id FROM mailboxes WHERE tenant = :tenant)

-- name: count_external
INSERT INTO external_minutes (tenant, minute, recipients) VALUES (:tenant, :minute, :recipients)
ON CONFLICT (tenant, minute) DO UPDATE SET recipients = recipients + excluded.recipients

-- name: external_since
SELECT coalesce(sum(recipients), 0) AS recipients, min(minute) AS oldest_minute
FROM external_minutes WHERE tenant = :tenant AND minute >= :minute

-- name: put_off
UPDATE recipients SET next_attempt_at_us = :until_us
WHERE recipient_id IN (SELECT value FROM json_each(:recipients)) AND state IN ('queued', 'deferred')

-- name: count_no_age
UPDATE deliveries SET ready_us_at_intake = ready_us_at_intake + :wait_us
WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))

-- name: delete_external_minutes
DELETE FROM external_minutes WHERE minute < :minute
