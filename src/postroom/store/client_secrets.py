"""The client secret's two slots: a new one takes the old one's place, which stays for a day in case it is needed."""

from datetime import date

import msgspec

from postroom.clock import DAY_US
from postroom.errors import WrongStateError
from postroom.outcome import StopCause
from postroom.store.audit import note
from postroom.store.choices import run_after_setting_aside
from postroom.store.database import Connection
from postroom.store.mail_servers import draft_in, seal_draft
from postroom.store.mailboxes import seal_grant_secret
from postroom.store.records import Grant, RenewalLease
from postroom.store.renewals import keep_renewal
from postroom.store.writer import Writer
from postroom.vault import Vault

SPARE_US = DAY_US
"""So long the secret of before can be gone back to."""


class ClientSecrets:
    def __init__(self, writer: Writer, vault: Vault) -> None:
        self._writer = writer
        self._vault = vault

    async def change(
        self,
        grant: Grant,
        client_secret: str,
        ends_on: date | None,
        refresh_token: str,
        who: str,
        from_address: str = "",
        *,
        lease: RenewalLease | None = None,
    ) -> None:
        """From now on the mailbox of `grant` uses this one; the one that `grant` holds becomes the spare.

        `refresh_token` is what came back when the new one was tried, empty when nothing did. A mailbox that was
        stopped for its secret is ready again. `lease` is the one under which it was tried, and ends. Errors:
        WrongStateError when that grant is gone, LeaseLostError when another renewal was kept meanwhile.
        """
        mailbox_id = grant.mailbox_id

        def seal(column: str, secret: str) -> bytes | None:
            return seal_grant_secret(self._vault, column, mailbox_id, secret)

        def change_it(connection: Connection) -> None:
            if not connection.change(
                "change_client_secret",
                mailbox_id=mailbox_id,
                client_id=grant.client_id,
                granted_at_us=grant.granted_at_us,
                client_secret=seal("client_secret", client_secret),
                ends_on=_text_of(ends_on),
                spare_secret=seal("spare_secret", grant.client_secret),
                spare_ends_on=_text_of(grant.secret_ends_on),
                spare_until_us=connection.now_us + SPARE_US,
                refresh_token=seal("refresh_token", refresh_token),
                now_us=connection.now_us,
            ):
                raise WrongStateError("The mailbox was disconnected or signed in anew meanwhile: nothing was changed.")
            if lease is not None:
                keep_renewal(connection, lease, None)
            self._change_in_draft(connection, grant, client_secret, ends_on)
            mailbox = connection.only_row("mailbox", mailbox_id=mailbox_id)
            if mailbox["cause"] == StopCause.CREDENTIAL:
                connection.change("resume_mailbox", mailbox_id=mailbox_id, now_us=connection.now_us)
            changed = {"before": _text_of(grant.secret_ends_on) or "", "after": _text_of(ends_on) or ""}
            note(connection, who, "renewed client secret", mailbox["username"], from_address=from_address, **changed)

        def find_stopped(connection: Connection) -> int | None:
            mailbox = connection.only_row("mailbox", mailbox_id=mailbox_id)
            return mailbox_id if mailbox["cause"] == StopCause.CREDENTIAL else None

        await run_after_setting_aside(self._writer, find_stopped, change_it)

    async def forget_spares(self) -> None:
        """Erase those whose day is over."""
        await self._writer.run(lambda connection: connection.change("forget_spare_secrets", now_us=connection.now_us))

    def _change_in_draft(self, connection: Connection, grant: Grant, client_secret: str, ends_on: date | None) -> None:
        # A draft that began before would bring the old one back when it is saved.
        draft = draft_in(connection.row("draft"), self._vault)
        if draft is None or (draft.client_id, draft.client_secret) != (grant.client_id, grant.client_secret):
            return
        changed = msgspec.structs.replace(draft, client_secret=client_secret, secret_ends_on=ends_on)
        connection.change("keep_draft", draft=seal_draft(changed, self._vault), now_us=connection.now_us)


def _text_of(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None
