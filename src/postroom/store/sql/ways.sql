-- What people decide about the ways out.

-- name: delete_routing_rules
DELETE FROM routing_rules

-- name: insert_routing_rule
INSERT INTO routing_rules (rule_id, position, kind, value, mail_server_id)
VALUES (:rule_id, :position, :kind, :value, :mail_server_id)

-- name: set_alternatives
UPDATE mail_servers SET alternatives = :alternatives WHERE mail_server_id = :mail_server_id

-- name: end_default
UPDATE mail_servers SET is_default = 0 WHERE is_default = 1

-- name: make_default
UPDATE mail_servers SET is_default = 1 WHERE mail_server_id = :mail_server_id

-- name: rule_of_mail_server
SELECT 1 FROM routing_rules WHERE mail_server_id = :mail_server_id LIMIT 1

-- name: mail_servers_with_alternative
SELECT * FROM mail_servers
WHERE EXISTS (SELECT 1 FROM json_each(mail_servers.alternatives) AS given WHERE given.value = :mail_server_id)

-- name: delivery_of_mail_server
SELECT 1 FROM deliveries WHERE mail_server_id = :mail_server_id
UNION ALL
SELECT 1 FROM deliveries WHERE home_mail_server_id = :mail_server_id
LIMIT 1

-- name: mail_server_of_mailbox
SELECT mail_server_id FROM mail_servers WHERE mailbox_id = :mailbox_id LIMIT 1

-- name: delete_mail_server
DELETE FROM mail_servers WHERE mail_server_id = :mail_server_id

-- name: delete_mailbox
DELETE FROM mailboxes WHERE mailbox_id = :mailbox_id

-- name: delete_pace_slots_of_mailbox
DELETE FROM pace_slots WHERE mailbox_id = :mailbox_id

-- name: delete_recipient_minutes_of_mailbox
DELETE FROM recipient_minutes WHERE mailbox_id = :mailbox_id

-- name: delete_lane_turns_of_mailbox
DELETE FROM lane_turns WHERE mailbox_id = :mailbox_id

-- name: delete_app_turns_of_mailbox
DELETE FROM app_turns WHERE mailbox_id = :mailbox_id
