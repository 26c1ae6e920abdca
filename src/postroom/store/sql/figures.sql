-- What monitors read at each scrape: a few rows from an index each.

-- name: open_messages_by_state
SELECT state, count(*) AS messages FROM messages
WHERE state IN ('scheduled', 'queued', 'sending', 'deferred', 'held') GROUP BY state

-- name: finished_totals
SELECT status, class, messages FROM finished_totals

-- name: last_sent
-- The newest that was sent; an older one may have been sent a little later.
SELECT finished_at_us FROM messages WHERE state = 'sent' ORDER BY message_id DESC LIMIT 1

-- name: mailbox_figures
SELECT mailboxes.*, grants.secret_ends_on, grants.certificate_ends_on, grants.grant_type,
       grants.granted_at_us, grants.renewed_at_us,
       (SELECT count(*) FROM pace_slots WHERE mailbox_id = mailboxes.mailbox_id AND used_at_us > :minute_ago_us)
           AS messages_last_minute,
       (SELECT count(*) FROM deliveries AS leased
        WHERE leased.stage = 'leased' AND leased.mailbox_id = mailboxes.mailbox_id) AS conversations,
       (SELECT coalesce(sum(recipients), 0) FROM recipient_minutes
        WHERE mailbox_id = mailboxes.mailbox_id AND minute >= :first_minute) AS recipients_last_day
FROM mailboxes LEFT JOIN grants USING (mailbox_id)
