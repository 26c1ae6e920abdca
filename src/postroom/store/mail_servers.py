"""Mail servers: the ways out, and the draft of the page on which one is set up."""

from typing import Any

import msgspec
from cryptography.x509 import load_pem_x509_certificate

from postroom.store.audit import note
from postroom.store.choices import run_after_setting_aside
from postroom.store.database import Connection, Row, to_json
from postroom.store.mailboxes import grant_of, note_sign_in, seal_grant_secret
from postroom.store.reader import Reader
from postroom.store.records import NEW, Authentication, GrantType, MailServer, MailServerDraft
from postroom.store.renewals import forget_access_tokens
from postroom.store.rows import mail_server_of, mailbox_of, to_json_or_none
from postroom.store.writer import Writer
from postroom.vault import Vault

_DRAFT_CONTEXT = "mail_server_drafts.draft.1"
_SECRETS = ("client_secret", "password", "refresh_token", "private_key")
_USED_SECRETS: dict[GrantType, tuple[str, ...]] = {
    GrantType.AUTHORIZATION_CODE: ("client_secret", "refresh_token"),
    GrantType.DEVICE_CODE: ("refresh_token",),
    GrantType.CLIENT_SECRET: ("client_secret",),
    GrantType.CLIENT_CERTIFICATE: ("private_key",),
}


class MailServers:
    def __init__(self, writer: Writer, reader: Reader, vault: Vault) -> None:
        self._writer = writer
        self._reader = reader
        self._vault = vault

    async def default(self) -> MailServer:
        """The one that mail leaves through; `is_set_up` says whether it can."""
        return mail_server_of(await self._reader.read(_default_row))

    async def all(self) -> list[MailServer]:
        """Every one that is set up, and the default in any case; in the order in which they were made."""
        rows = await self._reader.read(lambda connection: connection.rows("mail_servers_by_id"))
        return [server for row in rows if (server := mail_server_of(row)).is_set_up or row["is_default"]]

    async def find(self, mail_server_id: int) -> MailServer:
        """Errors: LookupError when there is none."""
        return mail_server_of(await self._reader.read(lambda c: _row(c, mail_server_id)))

    async def load_draft(self) -> MailServerDraft | None:
        return draft_in(await self._reader.read(lambda connection: connection.row("draft")), self._vault)

    async def keep_draft(self, draft: MailServerDraft) -> None:
        sealed = seal_draft(draft, self._vault)
        await self._writer.run(lambda c: c.change("keep_draft", draft=sealed, now_us=c.now_us))

    async def renew_draft(self, draft: MailServerDraft) -> None:
        """Keep what a verification learnt of `draft`, unless a person changed, saved or discarded it meanwhile."""
        sealed = seal_draft(draft, self._vault)

        def renew(connection: Connection) -> None:
            present = draft_in(connection.row("draft"), self._vault)
            if present is not None and present.has_same_settings(draft):
                connection.change("keep_draft", draft=sealed, now_us=connection.now_us)

        await self._writer.run(renew)

    async def take_sign_in(
        self, signed_in: MailServerDraft, who: str, from_address: str = "", *, link_id: int | None = None
    ) -> bool:
        """Keep the yield of a sign-in in the draft; what was entered meanwhile stays. A link by which it came is used.

        False, and nothing is kept, when the draft has gone or has become one for another account or app, or the link
        cannot be used any more.
        """

        def take(connection: Connection) -> bool:
            present = draft_in(connection.row("draft"), self._vault)
            if present is None or not present.signs_in_as(signed_in):
                return False
            if link_id is not None and not connection.change(
                "use_sign_in_link", link_id=link_id, now_us=connection.now_us
            ):
                return False
            sealed = seal_draft(present.with_sign_in_of(signed_in), self._vault)
            connection.change("keep_draft", draft=sealed, now_us=connection.now_us)
            note_sign_in(connection, signed_in, who, from_address)
            return True

        return await self._writer.run(take)

    async def discard_draft(self) -> None:
        await self._writer.run(lambda connection: connection.change("discard_draft"))

    async def draft_from_live(self, mail_server_id: int | None = None) -> MailServerDraft:
        """What is set up, secrets included, to be edited; an empty draft when nothing is. The default unless named."""

        def read(connection: Connection) -> tuple[Row, Row, Row | None]:
            server = _default_row(connection) if mail_server_id is None else _row(connection, mail_server_id)
            mailbox_id = server["mailbox_id"]
            mailbox = connection.only_row("mailbox", mailbox_id=mailbox_id)
            return server, mailbox, connection.row("grant", mailbox_id=mailbox_id)

        server, mailbox, grant = await self._reader.read(read)
        if not mail_server_of(server).is_set_up:
            return MailServerDraft(mail_server_id=server["mail_server_id"])
        return _draft_of(server, mailbox, grant, self._vault)

    async def save(self, draft: MailServerDraft, who: str, from_address: str = "") -> MailServer:
        """Make the draft live: mail server, mailbox, grant and audit in one transaction; what waits is due."""

        def promote(connection: Connection) -> MailServer:
            is_new = draft.mail_server_id == NEW
            before = _row(connection, _make_way(connection, draft) if is_new else draft.mail_server_id)
            mailbox_before = connection.only_row("mailbox", mailbox_id=before["mailbox_id"])
            described = _describe(before, mailbox_before)
            connection.change("forgive_waiting", mail_server_id=before["mail_server_id"], now_us=connection.now_us)
            connection.change("save_mail_server", **_server_values(draft, before, mailbox_before))
            _keep_tenant(connection, draft)
            connection.change("connect_mailbox", **_mailbox_values(connection, draft, before["mailbox_id"]))
            connection.change("keep_grant", **_grant_values(connection, draft, before["mailbox_id"], self._vault))
            forget_access_tokens(connection, before["mailbox_id"])
            connection.change("discard_draft")
            connection.change("forget_refused_senders", mail_server_id=before["mail_server_id"])
            after = _row(connection, before["mail_server_id"])
            mailbox = connection.only_row("mailbox", mailbox_id=after["mailbox_id"])
            note(
                connection,
                who,
                "saved mail server",
                draft.host,
                from_address=from_address,
                before=described,
                after=_describe(after, mailbox),
            )
            return mail_server_of(after)

        def find_mailbox(connection: Connection) -> int | None:
            if draft.mail_server_id == NEW:
                return None
            mailbox_id: int = _row(connection, draft.mail_server_id)["mailbox_id"]
            return mailbox_id

        return await run_after_setting_aside(self._writer, find_mailbox, promote)


def draft_in(row: Row | None, vault: Vault) -> MailServerDraft | None:
    """The draft in a row of the statement `draft`. Errors: VaultKeyError."""
    if row is None:
        return None
    return msgspec.json.decode(vault.open(row["draft"], _DRAFT_CONTEXT), type=MailServerDraft)


def seal_draft(draft: MailServerDraft, vault: Vault) -> bytes:
    """A draft as its column holds it."""
    return vault.seal(msgspec.json.encode(draft), _DRAFT_CONTEXT)


def _default_row(connection: Connection) -> Row:
    return connection.only_row("default_mail_server")


def _row(connection: Connection, mail_server_id: int) -> Row:
    return connection.only_row("mail_server", mail_server_id=mail_server_id)


def _make_way(connection: Connection, draft: MailServerDraft) -> int:
    """A new mail server, empty yet, with a mailbox of its own unless it shares one."""
    mailbox_id = draft.mailbox_id
    if mailbox_id == NEW:
        mailbox_id = connection.ids.make_id()
        connection.change("insert_mailbox", mailbox_id=mailbox_id)
    mail_server_id = connection.ids.make_id()
    connection.change("insert_mail_server", mail_server_id=mail_server_id, mailbox_id=mailbox_id)
    return mail_server_id


def _draft_of(server: Row, mailbox: Row, grant: Row | None, vault: Vault) -> MailServerDraft:
    live, signed_in = mail_server_of(server), mailbox_of(mailbox)
    draft = MailServerDraft(
        mail_server_id=live.mail_server_id,
        name=live.name,
        authorities=live.authorities,
        takes_null_sender=live.takes_null_sender,
        takes_large_mail=live.takes_large_mail,
        host=live.host,
        port=live.port,
        email_type=live.email_type,
        use_tls=live.use_tls,
        ehlo_name=live.ehlo_name,
        sender=live.sender,
        sender_name=live.sender_name,
        sender_is_own_mailbox=bool(server["sender_is_own_mailbox"]),
        username=signed_in.username,
        mailbox_address="" if signed_in.address == signed_in.username else signed_in.address,
        test_address=live.test_address,
        send_right=live.send_right,
        send_right_is_granted=bool(server["send_right_is_granted"]),
        authentication=signed_in.authentication,
        verified_at_us=live.verified_at_us,
    )
    if grant is None:
        return draft
    opened = grant_of(grant, vault)
    return msgspec.structs.replace(
        draft,
        tenant=opened.tenant,
        client_id=opened.client_id,
        client_secret=opened.client_secret,
        secret_ends_on=opened.secret_ends_on,
        password=opened.password,
        refresh_token=opened.refresh_token,
        scopes=opened.scopes,
        user=opened.user,
        granted_at_us=opened.granted_at_us,
        grant_type=opened.grant_type,
        cloud=opened.cloud,
        certificate=opened.certificate,
        private_key=opened.private_key,
    )


def _server_values(draft: MailServerDraft, before: Row, mailbox: Row) -> dict[str, Any]:
    same = (
        draft.host.lower() == before["host"].lower()
        and draft.sender.lower() == before["sender"].lower()
        and draft.username.lower() == mailbox["username"].lower()
    )
    return {
        "mail_server_id": before["mail_server_id"],
        "name": draft.name,
        "authorities": draft.authorities,
        "takes_null_sender": int(draft.takes_null_sender),
        "takes_large_mail": int(draft.takes_large_mail),
        "host": draft.host,
        "port": draft.port,
        "email_type": draft.email_type,
        "use_tls": int(draft.use_tls),
        "sender": draft.sender,
        "sender_name": draft.sender_name,
        "sender_is_own_mailbox": int(draft.sender_is_own_mailbox),
        "test_address": draft.test_address,
        "send_right": draft.send_right,
        "send_right_is_granted": int(draft.send_right_is_granted),
        "ehlo_name": draft.ehlo_name,
        "verified_at_us": draft.verified_at_us,
        "is_same_way": int(same),
    }


def _mailbox_values(connection: Connection, draft: MailServerDraft, mailbox_id: int) -> dict[str, Any]:
    return {
        "mailbox_id": mailbox_id,
        "username": draft.username,
        "address": draft.mailbox_address or draft.username,
        "authentication": draft.authentication,
        "signed_in_user": to_json_or_none(draft.user),
        "tenant": _tenant_of(draft),
        "now_us": connection.now_us,
    }


def _tenant_of(draft: MailServerDraft) -> str | None:
    """Whose limit on external recipients counts: only an organisation at Microsoft has one."""
    if draft.authentication is not Authentication.OAUTH:
        return None
    return (draft.user.tenant_id if draft.user is not None else "") or draft.tenant or None


def _keep_tenant(connection: Connection, draft: MailServerDraft) -> None:
    tenant = _tenant_of(draft)
    if tenant is None:
        return
    addresses = (draft.sender, draft.username, *(draft.user.addresses if draft.user is not None else ()))
    domains = sorted({address.rpartition("@")[2].lower() for address in addresses if "@" in address})
    connection.change("keep_tenant", tenant=tenant, own_domains=to_json(domains))


def _grant_values(connection: Connection, draft: MailServerDraft, mailbox_id: int, vault: Vault) -> dict[str, Any]:
    # Only what this way of signing in uses is kept: a password does not lie about beside a token.
    used = _used_secrets(draft)
    certificate = draft.certificate if "private_key" in used else ""
    ends_on = draft.secret_ends_on if "client_secret" in used else None
    secrets = {
        column: seal_grant_secret(vault, column, mailbox_id, getattr(draft, column)) if column in used else None
        for column in _SECRETS
    }
    return {
        "mailbox_id": mailbox_id,
        "tenant": draft.tenant,
        "client_id": draft.client_id,
        "scopes": to_json(draft.scopes),
        "secret_ends_on": ends_on.isoformat() if ends_on else None,
        "grant_type": draft.grant_type,
        "cloud": draft.cloud,
        "certificate": certificate,
        "certificate_ends_on": _end_of(certificate),
        # Nobody signs in for an app by itself: its grant begins when it is saved.
        "granted_at_us": connection.now_us if draft.grant_type.is_app_only else draft.granted_at_us,
        "renewed_at_us": connection.now_us,
        **secrets,
    }


def _used_secrets(draft: MailServerDraft) -> tuple[str, ...]:
    if draft.authentication is Authentication.OAUTH:
        return _USED_SECRETS[draft.grant_type]
    return ("password",) if draft.authentication is Authentication.BASIC else ()


def _end_of(certificate: str) -> str | None:
    """The last day of a certificate in PEM."""
    if not certificate:
        return None
    return load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.date().isoformat()


def _describe(server: Row, mailbox: Row) -> str:
    """What the audit shows of a mail server: settings without secrets, empty before the first set-up."""
    if not server["host"]:
        return ""
    return to_json(
        {
            "host": server["host"],
            "port": server["port"],
            "email_type": server["email_type"],
            "use_tls": bool(server["use_tls"]),
            "takes_large_mail": bool(server["takes_large_mail"]),
            "sender": server["sender"],
            "test_address": server["test_address"],
            "username": mailbox["username"],
            "mailbox": mailbox["address"],
            "authentication": mailbox["authentication"],
        }
    )
