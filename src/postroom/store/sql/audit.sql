-- name: insert_audit
INSERT INTO audit (audit_id, at_us, who, from_address, action, target, before, after)
VALUES (:audit_id, :at_us, :who, :from_address, :action, :target, :before, :after)

-- name: recent_audit
SELECT * FROM audit ORDER BY audit_id DESC LIMIT :limit
