"""A server in rehearsal, and what a test that is not about setting up finds ready made: mail server, app, person."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from postroom.server import Server
from postroom.settings import (
    ConsoleSettings,
    RehearsalSettings,
    SendmailSettings,
    Settings,
    SmtpSettings,
    SubmissionSettings,
)
from postroom.simulator.scopes import parse_scopes
from postroom.simulator.service import Simulator
from postroom.store.records import App, AppSettings, MailServer, MailServerDraft, SendRight, SignedInUser

SCANNER, SCANNER_PASSWORD = "scanner@contoso.com", "Scan-to-mail-1"
NO_REPLY, NO_REPLY_PASSWORD = "noreply@contoso.com", "No-reply-2"
ANNA, ANNA_PASSWORD = "anna@contoso.com", "Anna-admin-3"
OPS = "ops@fabrikam.example"
SMTP_SCOPE = "https://outlook.office.com/SMTP.Send"
PATIENCE_SECONDS = 20


def rehearsal_settings(folder: Path) -> Settings:
    """Everything on loopback at free ports, Microsoft 365 simulated, the data in `folder`."""
    return Settings(
        data_folder=str(folder / "data"),
        console=ConsoleSettings(port=0),
        submission=SubmissionSettings(port=0),
        smtp=SmtpSettings(host_name="postroom.example"),
        sendmail=SendmailSettings(socket=str(folder / "run" / "s"), drop_folder=str(folder / "run" / "maildrop")),
        rehearsal=RehearsalSettings(enabled=True, pages_port=0),
    )


def simulator_of(server: Server) -> Simulator:
    assert server.simulator is not None, "this server does not rehearse"
    return server.simulator


async def set_up_mail_server(
    server: Server,
    *,
    username: str = SCANNER,
    sender: str = "",
    send_right: SendRight = SendRight.OWN,
    test_address: str = OPS,
) -> MailServer:
    """Save a mail server that is signed in as `username`, as the stepper would; the sender is the username's own
    unless named, and then `send_right` must be granted in `server.simulator.tenant` by the test."""
    simulator = simulator_of(server)
    tenant = simulator.tenant
    registration = tenant.register_app("Postroom", f"{server.console_url}/oauth/callback")
    for permission in ("SMTP.Send", "offline_access", "User.Read"):
        tenant.add_permission(registration.client_id, permission)
    tenant.grant_admin_consent(registration.client_id)
    secret = tenant.add_secret(registration.client_id)
    user = tenant.user_by_upn(username)
    assert user is not None, f"the simulated tenant has no {username}"
    scopes = parse_scopes(f"{SMTP_SCOPE} offline_access", tenant.name)
    refresh_token = simulator.tokens.issue_refresh_token(
        registration.client_id, user, scopes, "https://outlook.office.com"
    )
    draft = MailServerDraft(
        sender=sender or username,
        username=username,
        test_address=test_address,
        send_right=send_right,
        send_right_is_granted=send_right is not SendRight.OWN,
        tenant=tenant.tenant_id,
        client_id=registration.client_id,
        client_secret=secret.value,
        secret_ends_on=datetime.fromtimestamp(secret.ends_at, UTC).date(),
        refresh_token=refresh_token.value,
        scopes=(SMTP_SCOPE,),
        user=SignedInUser(
            user.object_id,
            tenant.tenant_id,
            user.user_principal_name,
            user.display_name,
            user.mail,
            tuple(sorted(user.addresses)),
        ),
        granted_at_us=0,
        verified_at_us=0,
    )
    await server.store.mail_servers.keep_draft(draft)
    return await server.store.mail_servers.save(draft, "test")


async def make_administrator(server: Server, email: str, passphrase: str) -> None:
    """The first administrator, by the one-time link of a server that just started."""
    assert server.setup_url is not None, "this server has its administrator already"
    [token] = parse_qs(urlsplit(server.setup_url).query)["token"]
    await server.store.people.create_first(token, "Test Person", email, passphrase)


async def make_app(server: Server, name: str = "HP 2nd floor", senders: tuple[str, ...] = ()) -> tuple[App, str]:
    """An app and its password; without `senders` it may use the mail server's sender only."""
    return await server.store.apps.create(AppSettings(name=name, kind="Printer or scanner", senders=senders), "test")


def compose_mail(sender: str, recipients: tuple[str, ...], subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), subject
    message.set_content("The scan is attached, or would be.\n")
    return message


async def hand_in(server: Server, login: str, password: str, message: EmailMessage) -> str:
    """Send `message` with smtplib, as a device does, and return our last reply; what we refuse, it raises."""
    return await asyncio.to_thread(_hand_in, server.submission_host, server.submission_port, login, password, message)


def _hand_in(host: str, port: int, login: str, password: str, message: EmailMessage) -> str:
    # The listener's certificate is self-signed, as scanners commonly meet it.
    anything = ssl._create_unverified_context()
    with smtplib.SMTP(host, port, timeout=PATIENCE_SECONDS) as client:
        client.starttls(context=anything)
        client.login(login, password)
        client.mail(str(message["From"]))
        for recipient in str(message["To"]).split(", "):
            number, reply = client.rcpt(recipient)
            if number != 250:
                raise smtplib.SMTPRecipientsRefused({recipient: (number, reply)})
        number, reply = client.data(message.as_bytes(policy=message.policy.clone(linesep="\r\n")))
    if number != 250:
        raise smtplib.SMTPDataError(number, reply)
    return f"{number} {reply.decode()}"


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Look again until it is so; TimeoutError with `what` if patience ends first. For things that have no event."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + PATIENCE_SECONDS
    while not is_so():
        if loop.time() > ends_at:
            raise TimeoutError(f"not within {PATIENCE_SECONDS} s: {what}")
        await asyncio.sleep(0.01)
