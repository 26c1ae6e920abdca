-- Who renews a mailbox's sign-in, and what came of it.

-- name: make_renewal
INSERT INTO renewals (mailbox_id) SELECT mailbox_id FROM grants WHERE mailbox_id = :mailbox_id
ON CONFLICT (mailbox_id) DO NOTHING

-- name: take_renewal_lease
-- Free, ours already, or run out. A clock that was set back must make nobody wait: no lease lasts longer than one.
UPDATE renewals SET fence = fence + 1, owner = :owner, until_us = :now_us + :lease_us
WHERE mailbox_id = :mailbox_id
  AND (owner IS NULL OR owner = :owner OR until_us <= :now_us OR until_us > :now_us + :lease_us)
RETURNING fence

-- name: free_renewal_lease
UPDATE renewals SET owner = NULL, until_us = NULL WHERE mailbox_id = :mailbox_id AND fence = :fence

-- name: end_renewals_of_node
-- At start: whoever held these leases is not running any more.
UPDATE renewals SET owner = NULL, until_us = NULL WHERE owner LIKE :node || '.%'

-- name: keep_renewal
-- The fence: nothing changes for who was overtaken. Who was only slow may keep what came, and frees nobody else's lease.
UPDATE renewals
SET kept_fence = :fence, access_tokens = :access_tokens,
    owner = CASE WHEN fence = :fence THEN NULL ELSE owner END,
    until_us = CASE WHEN fence = :fence THEN NULL ELSE until_us END
WHERE mailbox_id = :mailbox_id AND kept_fence < :fence

-- name: forget_access_tokens
UPDATE renewals SET access_tokens = NULL WHERE mailbox_id = :mailbox_id
