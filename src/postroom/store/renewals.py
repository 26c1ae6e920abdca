"""One renewal of a mailbox's sign-in at a time: a lease with a fence, over all processes that share the store.

The lease keeps two from asking at once. The fence keeps who was paused for longer than its lease from overwriting what
another has kept meanwhile: what is kept carries the number of its lease, and an older number comes too late.
"""

from collections.abc import Sequence

import msgspec

from postroom.clock import MINUTE_US
from postroom.errors import LeaseLostError, WrongStateError
from postroom.store.database import Connection
from postroom.store.records import AccessToken, RenewalLease
from postroom.vault import Vault

RENEWAL_LEASE_US = MINUTE_US
"""Outlasts a request to the sign-in service, which the keeper ends after 40 seconds, and the commit after it."""


def take_renewal_lease(connection: Connection, mailbox_id: int, owner: str) -> RenewalLease | None:
    """A newer lease for who has it already, too; None while another has it. WrongStateError without a grant."""
    connection.change("make_renewal", mailbox_id=mailbox_id)
    if connection.row("grant", mailbox_id=mailbox_id) is None:
        raise WrongStateError("The mailbox is not set up: set up the mail server and sign in first.")
    taken = connection.rows(
        "take_renewal_lease", mailbox_id=mailbox_id, owner=owner, lease_us=RENEWAL_LEASE_US, now_us=connection.now_us
    )
    return RenewalLease(mailbox_id, owner, taken[0]["fence"]) if taken else None


def keep_renewal(connection: Connection, lease: RenewalLease, sealed_tokens: bytes | None) -> None:
    """Within the transaction that keeps what the renewal yielded; the lease is over. LeaseLostError: overtaken."""
    if not connection.change(
        "keep_renewal", mailbox_id=lease.mailbox_id, fence=lease.fence, access_tokens=sealed_tokens
    ):
        raise LeaseLostError("Another renewal of this sign-in came first: what it yielded is used.")


def free_renewal_lease(connection: Connection, lease: RenewalLease) -> None:
    """Without effect for who has been overtaken."""
    connection.change("free_renewal_lease", mailbox_id=lease.mailbox_id, fence=lease.fence)


def end_renewals_of_earlier_boots(connection: Connection, node: str) -> None:
    connection.change("end_renewals_of_node", node=node)


def forget_access_tokens(connection: Connection, mailbox_id: int) -> None:
    """A person changed how the mailbox signs in."""
    connection.change("forget_access_tokens", mailbox_id=mailbox_id)


def seal_access_tokens(vault: Vault, mailbox_id: int, tokens: Sequence[AccessToken]) -> bytes | None:
    return vault.seal(msgspec.json.encode(tokens), _context(mailbox_id)) if tokens else None


def open_access_tokens(vault: Vault, mailbox_id: int, sealed: bytes | None) -> tuple[AccessToken, ...]:
    """Errors: VaultKeyError."""
    if sealed is None:
        return ()
    return msgspec.json.decode(vault.open(sealed, _context(mailbox_id)), type=tuple[AccessToken, ...])


def _context(mailbox_id: int) -> str:
    return f"renewals.access_tokens.{mailbox_id}"
