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

-- name: count_external
INSERT INTO external_minutes (tenant, minute, recipients) VALUES (:tenant, :minute, :recipients)
ON CONFLICT (tenant, minute) DO UPDATE SET recipients = recipients + excluded.recipients

-- name: external_minutes_since
SELECT minute, recipients FROM external_minutes WHERE tenant = :tenant AND minute >= :minute ORDER BY minute

-- name: put_off
UPDATE recipients SET next_attempt_at_us = :until_us
WHERE recipient_id IN (SELECT value FROM json_each(:recipients)) AND state IN ('queued', 'deferred')

-- name: count_no_age
UPDATE deliveries SET ready_us_at_intake = ready_us_at_intake + :wait_us
WHERE delivery_id IN (SELECT value FROM json_each(:deliveries))

-- name: delete_external_minutes
DELETE FROM external_minutes WHERE minute < :minute
