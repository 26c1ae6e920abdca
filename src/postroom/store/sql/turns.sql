-- Whose turn it is, within a mailbox's lane.

-- name: last_turns
-- For each place the turn behind which the next one comes.
SELECT given.value ->> 'mailbox_id' AS mailbox_id, given.value ->> 'lane' AS lane, given.value ->> 'app_id' AS app_id,
       max(coalesce(app_turns.turn, 0), coalesce(lane_turns.turn, 0)) AS turn
FROM json_each(:places) AS given
LEFT JOIN app_turns ON app_turns.mailbox_id = given.value ->> 'mailbox_id'
                   AND app_turns.lane = given.value ->> 'lane' AND app_turns.app_id = given.value ->> 'app_id'
LEFT JOIN lane_turns ON lane_turns.mailbox_id = given.value ->> 'mailbox_id'
                    AND lane_turns.lane = given.value ->> 'lane'

-- name: keep_app_turns
INSERT INTO app_turns (mailbox_id, lane, app_id, turn)
SELECT value ->> 'mailbox_id', value ->> 'lane', value ->> 'app_id', value ->> 'turn' FROM json_each(:turns) WHERE true
ON CONFLICT (mailbox_id, lane, app_id) DO UPDATE SET turn = excluded.turn

-- name: places_of_deliveries
SELECT deliveries.delivery_id, deliveries.mailbox_id, deliveries.lane, messages.app_id
FROM json_each(:deliveries) AS given
CROSS JOIN deliveries ON deliveries.delivery_id = given.value
CROSS JOIN messages ON messages.message_id = deliveries.message_id
ORDER BY given.key

-- name: change_turns
UPDATE deliveries SET turn = moved.value ->> 'turn'
FROM json_each(:moved) AS moved
WHERE deliveries.delivery_id = moved.value ->> 'delivery_id'

-- name: keep_lane_turns
INSERT INTO lane_turns (mailbox_id, lane, turn)
SELECT value ->> 'mailbox_id', value ->> 'lane', value ->> 'turn' FROM json_each(:turns) WHERE true
ON CONFLICT (mailbox_id, lane) DO UPDATE SET turn = max(turn, excluded.turn)

-- name: delete_app_turns
-- Of apps that are not ahead: the next turn is the lane's.
DELETE FROM app_turns
WHERE turn <= (SELECT lane_turns.turn FROM lane_turns
               WHERE lane_turns.mailbox_id = app_turns.mailbox_id AND lane_turns.lane = app_turns.lane)
