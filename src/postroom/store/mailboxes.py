"""Mailboxes: what we sign in to. Their secrets are opened only by `open_grant`."""

from collections.abc import Sequence

import msgspec

from postroom.errors import WrongStateError
from postroom.outcome import Failure, StopCause
from postroom.store.audit import note
from postroom.store.choices import run_after_setting_aside
from postroom.store.database import Connection, Row, to_json
from postroom.store.expiries import Expiry, expiries_in
from postroom.store.external import read_external_day, set_external_day, why_not_these_domains
from postroom.store.pace import limits_of, why_not_these_limits
from postroom.store.reader import Reader
from postroom.store.records import (
    AccessToken,
    Authentication,
    Cloud,
    Grant,
    GrantType,
    Mailbox,
    MailboxLimits,
    MailServerDraft,
    RenewalLease,
)
from postroom.store.renewals import (
    forget_access_tokens,
    free_renewal_lease,
    keep_renewal,
    open_access_tokens,
    seal_access_tokens,
    take_renewal_lease,
)
from postroom.store.rows import date_of, mailbox_of, texts_of, to_json_or_none, user_of
from postroom.store.settling import open_mail_server
from postroom.store.writer import Writer
from postroom.vault import Vault


class Mailboxes:
    def __init__(self, writer: Writer, reader: Reader, vault: Vault, owner: str) -> None:
        self._writer = writer
        self._reader = reader
        self._vault = vault
        self._owner = owner

    async def find(self, mailbox_id: int) -> Mailbox:
        """Errors: LookupError when there is none."""
        return await self._reader.read(lambda c: mailbox_of(c.only_row("mailbox", mailbox_id=mailbox_id)))

    async def all(self) -> list[Mailbox]:
        rows = await self._reader.read(lambda connection: connection.rows("mailboxes"))
        return [mailbox_of(row) for row in rows]

    async def expiries(self) -> list[Expiry]:
        """What of them ends by itself, what ends first in front."""

        def read(connection: Connection) -> list[Expiry]:
            return [each for row in connection.rows("expiries") for each in expiries_in(row, connection.now_us)]

        return sorted(await self._reader.read(read), key=lambda expiry: expiry.ends_on)

    async def show_grant(self, mailbox_id: int) -> Grant:
        """The grant with its secrets left out, for pages. WrongStateError when there is none."""
        return grant_of(await self._read_grant(mailbox_id), vault=None)

    async def open_grant(self, mailbox_id: int) -> Grant:
        """The way to sign in, secrets opened: hold it only as long as the request. Errors: WrongStateError."""
        return grant_of(await self._read_grant(mailbox_id), self._vault)

    async def _read_grant(self, mailbox_id: int) -> Row:
        row = await self._reader.read(lambda connection: connection.row("grant", mailbox_id=mailbox_id))
        if row is None:
            raise WrongStateError("The mailbox is not set up: set up the mail server and sign in first.")
        return row

    async def take_renewal_lease(self, mailbox_id: int, owner: str) -> RenewalLease | None:
        """For a minute nobody else renews; None while another does. Errors: WrongStateError when there is no grant."""
        whole = f"{self._owner}.{owner}"
        return await self._writer.run(lambda connection: take_renewal_lease(connection, mailbox_id, whole))

    async def free_renewal_lease(self, lease: RenewalLease) -> None:
        """Nothing came of it: the next one may."""
        await self._writer.run(lambda connection: free_renewal_lease(connection, lease))

    async def keep_tokens(
        self, lease: RenewalLease, grant: Grant, refresh_token: str, access_tokens: Sequence[AccessToken] = ()
    ) -> None:
        """Keep what a renewal of `grant` yielded, and end its lease: on the disk when this returns.

        An empty `refresh_token` leaves the one that is there. Errors: LeaseLostError when a later renewal has been
        kept; WrongStateError when a person disconnected the mailbox or signed in anew.
        """
        mailbox_id = grant.mailbox_id
        sealed = seal_grant_secret(self._vault, "refresh_token", mailbox_id, refresh_token)
        sealed_tokens = seal_access_tokens(self._vault, mailbox_id, access_tokens)

        def keep(connection: Connection) -> None:
            if not connection.change(
                "keep_refresh_token",
                mailbox_id=mailbox_id,
                refresh_token=sealed,
                scopes=to_json(grant.scopes),
                granted_at_us=grant.granted_at_us,
                now_us=connection.now_us,
            ):
                raise WrongStateError("The mailbox was disconnected or signed in anew meanwhile.")
            keep_renewal(connection, lease, sealed_tokens)

        await self._writer.run(keep)

    async def take_sign_in(self, mailbox_id: int, signed_in: MailServerDraft, who: str, from_address: str = "") -> bool:
        """Use the yield of a new sign-in from now on; a mailbox that was stopped for its sign-in is ready again.

        False, and nothing is kept, when it has been disconnected, or set up for another account or app, meanwhile.
        """
        sealed = seal_grant_secret(self._vault, "refresh_token", mailbox_id, signed_in.refresh_token)

        def take(connection: Connection) -> bool:
            if not connection.change(
                "take_sign_in",
                mailbox_id=mailbox_id,
                tenant=signed_in.tenant,
                client_id=signed_in.client_id,
                username=signed_in.username,
                authentication=signed_in.authentication,
                refresh_token=sealed,
                scopes=to_json(signed_in.scopes),
                granted_at_us=signed_in.granted_at_us,
                now_us=connection.now_us,
            ):
                return False
            forget_access_tokens(connection, mailbox_id)
            signed_in_user = to_json_or_none(signed_in.user)
            connection.change("keep_signed_in_user", mailbox_id=mailbox_id, signed_in_user=signed_in_user)
            if connection.only_row("mailbox", mailbox_id=mailbox_id)["cause"] == StopCause.SIGN_IN:
                connection.change("resume_mailbox", mailbox_id=mailbox_id, now_us=connection.now_us)
            note_sign_in(connection, signed_in, who, from_address)
            return True

        def find_stopped(connection: Connection) -> int | None:
            mailbox = connection.row("mailbox", mailbox_id=mailbox_id)
            return mailbox_id if mailbox is not None and mailbox["cause"] == StopCause.SIGN_IN else None

        return await run_after_setting_aside(self._writer, find_stopped, take)

    async def stop(
        self,
        mailbox_id: int,
        failure: Failure,
        cause: StopCause,
        until_us: int | None,
        granted_at_us: int | None = None,
    ) -> None:
        """Nothing more leaves through it until `resume`, or, when `until_us` is over, until a probe came through.

        With `granted_at_us` (that of the grant which failed) nothing happens when somebody has signed in anew.
        """
        await self._writer.run(
            lambda connection: connection.change(
                "stop_mailbox",
                mailbox_id=mailbox_id,
                cause=cause,
                until_us=until_us,
                failure=to_json_or_none(failure),
                revision=None,
                granted_at_us=granted_at_us,
                now_us=connection.now_us,
            ),
            wakes=True,
        )

    async def set_limits(self, mailbox_id: int, limits: MailboxLimits, who: str, from_address: str = "") -> None:
        """From now on; what was learnt below them stays. Errors: ValueError with a sentence, LookupError."""

        def set_them(connection: Connection) -> None:
            row = connection.only_row("mailbox", mailbox_id=mailbox_id)
            is_microsoft = connection.row("microsoft_way_of_mailbox", mailbox_id=mailbox_id) is not None
            if trouble := why_not_these_limits(limits, is_microsoft=is_microsoft):
                raise ValueError(trouble)
            before = to_json(limits_of(mailbox_of(row)))
            connection.change("set_limits", mailbox_id=mailbox_id, **msgspec.structs.asdict(limits))
            changed = {"before": before, "after": to_json(limits)}
            note(connection, who, "changed limits", row["username"], from_address=from_address, **changed)

        await self._writer.run(set_them, wakes=True)

    async def set_external_day(
        self, mailbox_id: int, limit: int, own_domains: Sequence[str], who: str, from_address: str = ""
    ) -> None:
        """What its organisation may send outside in 24 hours, and what is inside. Errors: ValueError, LookupError."""
        domains = sorted({domain.strip().lower() for domain in own_domains if domain.strip()})
        if trouble := why_not_these_domains(domains):
            raise ValueError(trouble)
        if limit < 1:
            raise ValueError("At least 1 is needed for external recipients in 24 hours.")

        def set_it(connection: Connection) -> None:
            tenant = connection.only_row("mailbox", mailbox_id=mailbox_id)["tenant"]
            if tenant is None:
                raise ValueError("Only a mailbox at Microsoft has such a limit: save its mail server first.")
            before = read_external_day(connection, tenant)
            set_external_day(connection, tenant, limit, domains)
            after = read_external_day(connection, tenant)
            changed = {"before": to_json(before), "after": to_json(after)}
            note(connection, who, "changed external recipients", tenant, from_address=from_address, **changed)

        await self._writer.run(set_it, wakes=True)

    async def resume(self, mailbox_id: int, who: str) -> None:
        """Ready again: what waits is due, after a long stop a choice first. Errors: WrongStateError when not set up."""

        def resume_mailbox(connection: Connection) -> None:
            before = _set_up_mailbox(connection, mailbox_id)
            stopped_ways = connection.rows("stopped_mail_servers_of", mailbox_id=mailbox_id)
            for way in stopped_ways:
                open_mail_server(connection, way["mail_server_id"])
            resumed = connection.change("resume_mailbox", mailbox_id=mailbox_id, now_us=connection.now_us)
            if resumed or stopped_ways:
                cause = before["cause"] or stopped_ways[0]["cause"]
                note(connection, who, "resumed", before["username"], before=cause)

        await run_after_setting_aside(self._writer, lambda connection: mailbox_id, resume_mailbox)

    async def pause(self, mailbox_id: int, who: str) -> None:
        """Mail is taken in and waits, until `resume`. Errors: WrongStateError when it is not set up."""

        def pause_mailbox(connection: Connection) -> None:
            before = _set_up_mailbox(connection, mailbox_id)
            connection.change("pause_mailbox", mailbox_id=mailbox_id, now_us=connection.now_us)
            note(connection, who, "paused", before["username"], before=before["state"])

        await self._writer.run(pause_mailbox, wakes=True)

    async def disconnect(self, mailbox_id: int, who: str) -> None:
        """Erase the grant; waiting mail stays and waits for the next set-up."""

        def disconnect_mailbox(connection: Connection) -> None:
            before = connection.only_row("mailbox", mailbox_id=mailbox_id)
            connection.change("disconnect_mailbox", mailbox_id=mailbox_id, now_us=connection.now_us)
            connection.change("erase_grant", mailbox_id=mailbox_id)
            forget_access_tokens(connection, mailbox_id)
            note(connection, who, "disconnected", before["username"], before=before["state"])

        await self._writer.run(disconnect_mailbox, wakes=True)


def note_sign_in(connection: Connection, signed_in: MailServerDraft, who: str, from_address: str) -> None:
    user = signed_in.user.user_principal_name if signed_in.user is not None else ""
    note(connection, who, "signed in to Microsoft", signed_in.username, from_address=from_address, after=user)


def _set_up_mailbox(connection: Connection, mailbox_id: int) -> Row:
    row = connection.only_row("mailbox", mailbox_id=mailbox_id)
    if row["state"] == "disconnected":
        raise WrongStateError("The mailbox is not set up: set up the mail server and sign in first.")
    return row


def grant_of(row: Row, vault: Vault | None) -> Grant:
    """A row of the statement `grant`, its secrets opened by `vault` or left out. Errors: VaultKeyError."""

    def opened(column: str) -> str:
        sealed = row[column]
        if sealed is None or vault is None:
            return ""
        return vault.open(sealed, f"grants.{column}.{row['mailbox_id']}").decode()

    return Grant(
        mailbox_id=row["mailbox_id"],
        authentication=Authentication(row["authentication"]),
        username=row["username"],
        address=row["address"],
        tenant=row["tenant"],
        client_id=row["client_id"],
        client_secret=opened("client_secret"),
        password=opened("password"),
        refresh_token=opened("refresh_token"),
        scopes=texts_of(row["scopes"]),
        user=user_of(row["signed_in_user"]),
        secret_ends_on=date_of(row["secret_ends_on"]),
        spare_secret=opened("spare_secret"),
        spare_secret_ends_on=date_of(row["spare_secret_ends_on"]),
        spare_secret_until_us=row["spare_secret_until_us"],
        granted_at_us=row["granted_at_us"],
        renewed_at_us=row["renewed_at_us"],
        grant_type=GrantType(row["grant_type"]),
        cloud=Cloud(row["cloud"]),
        certificate=row["certificate"],
        private_key=opened("private_key"),
        revision=row["revision"],
        access_tokens=open_access_tokens(vault, row["mailbox_id"], row["access_tokens"]) if vault is not None else (),
    )


def seal_grant_secret(vault: Vault, column: str, mailbox_id: int, secret: str) -> bytes | None:
    """A secret of a grant as its column holds it; None when there is none."""
    return vault.seal(secret.encode(), f"grants.{column}.{mailbox_id}") if secret else None
