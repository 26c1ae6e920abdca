-- What people decide about sending as a whole: one row.

-- name: sending_settings
SELECT * FROM sending_settings

-- name: save_sending_settings
UPDATE sending_settings
SET lifetime_us = :lifetime_us, delay_notice_after_us = :delay_notice_after_us, administrator = :administrator,
    canary_is_on = :canary_is_on, canary_every_us = :canary_every_us, canary_recipient = :canary_recipient,
    canary_since_us = CASE WHEN :canary_is_on THEN coalesce(canary_since_us, :now_us) END
