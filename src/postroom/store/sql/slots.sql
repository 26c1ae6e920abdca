-- Slots of a mailbox's pace: one for each message that it may send in a minute.

-- name: pace_slot_count
SELECT count(*) AS slots, coalesce(max(slot), 0) AS greatest, coalesce(max(used_at_us), 0) AS last_used_at_us
FROM pace_slots WHERE mailbox_id = :mailbox_id

-- name: add_pace_slots
INSERT INTO pace_slots (mailbox_id, slot) VALUES

-- name: drop_pace_slots
-- Only such as are free: what was used under the higher limit still counts against the lower one.
DELETE FROM pace_slots
WHERE mailbox_id = :mailbox_id
  AND slot IN (SELECT slot FROM pace_slots
               WHERE mailbox_id = :mailbox_id AND used_at_us <= :minute_ago_us
                 AND slot NOT IN (SELECT leased.slot FROM deliveries AS leased
                                  WHERE leased.stage = 'leased' AND leased.mailbox_id = :mailbox_id
                                    AND leased.slot IS NOT NULL)
               ORDER BY used_at_us LIMIT :surplus)

-- name: pull_pace_slots_back
-- The clock was set back: a use in the future counts as one of now, or the mailbox would stand still until then.
UPDATE pace_slots SET used_at_us = :now_us WHERE mailbox_id = :mailbox_id AND used_at_us > :now_us

-- name: free_pace_slots
SELECT slot FROM pace_slots
WHERE mailbox_id = :mailbox_id AND used_at_us <= :minute_ago_us
  AND slot NOT IN (SELECT leased.slot FROM deliveries AS leased
                   WHERE leased.stage = 'leased' AND leased.mailbox_id = :mailbox_id AND leased.slot IS NOT NULL)
ORDER BY used_at_us LIMIT :limit

-- name: use_pace_slots
UPDATE pace_slots SET used_at_us = :now_us
WHERE mailbox_id = :mailbox_id AND slot IN (SELECT value FROM json_each(:slots))

-- name: pace_slots_used
-- Within the last 60 seconds, and by what is on its way.
SELECT (SELECT count(*) FROM pace_slots
        WHERE mailbox_id = :mailbox_id AND used_at_us > :minute_ago_us
          AND slot NOT IN (SELECT leased.slot FROM deliveries AS leased
                           WHERE leased.stage = 'leased' AND leased.mailbox_id = :mailbox_id
                             AND leased.slot IS NOT NULL)) AS resting,
       (SELECT count(*) FROM deliveries AS leased
        WHERE leased.stage = 'leased' AND leased.mailbox_id = :mailbox_id) AS in_flight

-- name: pace_slot_use
-- When the slot was used before which so many others rest.
SELECT used_at_us FROM pace_slots
WHERE mailbox_id = :mailbox_id AND used_at_us > :minute_ago_us
  AND slot NOT IN (SELECT leased.slot FROM deliveries AS leased
                   WHERE leased.stage = 'leased' AND leased.mailbox_id = :mailbox_id AND leased.slot IS NOT NULL)
ORDER BY used_at_us LIMIT 1 OFFSET :others

-- name: rest_pace_slots
-- It may have arrived only now: from here its 60 seconds count, so that no minute of the mail server's sees too many.
UPDATE pace_slots SET used_at_us = :now_us
FROM json_each(:ended) AS ended
WHERE pace_slots.mailbox_id = ended.value ->> 'mailbox_id' AND pace_slots.slot = ended.value ->> 'slot'
