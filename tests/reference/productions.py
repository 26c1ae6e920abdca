"""How the simulated Exchange Online is brought to give each reply: by an address, or by what stands here.

Each switch is a function that turns something in the tenant, speaks SMTP, and returns the reply with the
verb that it answered; its key is the name in replies.toml.
"""

import base64
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postroom.simulator.authority import Authority
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.faults import fault_for
from tests.unit.simulator.exchange_client import (
    MESSAGE,
    NOREPLY,
    SCANNER,
    Client,
    bearer,
    encoded,
    trust_of,
    user_of,
)

RECIPIENT = "b@example.net"
Answer = tuple[str, str]


@dataclass
class Stage:
    """A simulated Exchange Online, and clients for it."""

    exchange: ExchangeServer
    authority: Authority
    make_client: Callable[[], Client]

    @property
    def scanner_id(self) -> str:
        return user_of(self.exchange, SCANNER).object_id

    @property
    def password(self) -> str:
        return user_of(self.exchange, SCANNER).password

    async def signed_in(self) -> Client:
        return await self.make_client().sign_in()

    async def sign_in(self, blob: str = "") -> Answer:
        return "AUTH", await self.make_client().sign_in_with(blob or bearer(self.exchange, SCANNER))

    async def sign_in_by_password(self, password: str = "") -> Answer:
        return "AUTH", await self.make_client().sign_in_by_password(SCANNER, password or self.password)

    async def send(self, content: bytes = MESSAGE, *recipients: str) -> Answer:
        client = await self.signed_in()
        await client.address(*(recipients or (RECIPIENT,)))
        await client.ask("DATA")
        return "DATA", await client.ask(content + b".")

    async def ask(self, *lines: str) -> Answer:
        """On a connection that has signed in; the last line's reply."""
        client = await self.signed_in()
        replies = [await client.ask(line) for line in lines]
        return lines[-1].split(maxsplit=1)[0], replies[-1]


async def meet_address(stage: Stage, address: str) -> Answer:
    """Use a fault address where its fault strikes."""
    fault = fault_for(address)
    assert fault is not None, f"there is no fault {address}"
    if fault.stage == "sign-in":
        blob = encoded(f"user={address}\x01auth=Bearer x\x01\x01")
        return await stage.sign_in(blob)
    if fault.stage == "sender":
        return await stage.ask(f"MAIL FROM:<{address}>")
    if fault.stage == "recipient":
        return await stage.ask(f"MAIL FROM:<{SCANNER}>", f"RCPT TO:<{address}>")
    return await stage.send(MESSAGE, address)


# Signing in


async def with_a_token_for_graph(stage: Stage) -> Answer:
    exchange = stage.exchange
    app = exchange.tenant.register_app("Postroom")
    token = exchange.tokens.issue_access_token(
        app.client_id, user_of(exchange, SCANNER), "https://graph.microsoft.com", ["SMTP.Send"]
    )
    return await stage.sign_in(encoded(f"user={SCANNER}\x01auth=Bearer {token}\x01\x01"))


async def with_smtp_auth_off_for_the_tenant(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_tenant_smtp_auth(enabled=False)
    return await stage.sign_in()


async def with_smtp_auth_off_for_the_mailbox(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_smtp_auth(stage.scanner_id, False)
    return await stage.sign_in()


async def with_a_wrong_password(stage: Stage) -> Answer:
    return await stage.sign_in_by_password("wrong")


async def with_security_defaults(stage: Stage) -> Answer:
    stage.exchange.tenant.security_defaults = True
    return await stage.sign_in_by_password()


async def with_conditional_access(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.block_legacy_authentication(blocked=True)
    return await stage.sign_in_by_password()


async def with_basic_disabled(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_basic_auth("disabled")
    return await stage.sign_in_by_password()


async def with_basic_removed(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_basic_auth("removed")
    return await stage.sign_in_by_password()


async def with_an_authentication_policy(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.new_authentication_policy("Block Basic")
    stage.exchange.tenant.exchange.set_authentication_policy(None, "Block Basic")
    return await stage.sign_in_by_password()


async def by_auth_plain(stage: Stage) -> Answer:
    return "AUTH", await (await stage.make_client().secure()).ask("AUTH PLAIN")


async def without_signing_in(stage: Stage) -> Answer:
    return "MAIL", await (await stage.make_client().secure()).ask(f"MAIL FROM:<{SCANNER}>")


async def after_a_refused_sign_in(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_tenant_smtp_auth(enabled=False)
    client = stage.make_client()
    await client.sign_in_with(bearer(stage.exchange, SCANNER))
    return "MAIL", await client.ask(f"MAIL FROM:<{SCANNER}>")


# The connection


async def with_old_tls(stage: Stage) -> Client:
    client = Client(stage.exchange, trust_of(stage.authority, ssl.TLSVersion.TLSv1_1))
    await (await client.greet()).start_tls()
    return client


async def over_tls_1_1(stage: Stage) -> Answer:
    client = await with_old_tls(stage)
    reply = await client.ask("EHLO client.example")
    assert await client.is_closed()
    await client.close()
    return "EHLO", reply


async def over_tls_1_1_in_this_organisation(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_legacy_tls("refused by the organisation")
    client = await with_old_tls(stage)
    await client.ask("EHLO client.example")
    reply = await client.ask(f"AUTH XOAUTH2 {bearer(stage.exchange, SCANNER)}")
    await client.close()
    return "AUTH", reply


async def without_a_name(stage: Stage) -> Answer:
    client = stage.make_client()
    await client.connect()
    return "EHLO", await client.ask("EHLO")


async def while_not_available(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_available(is_available=False)
    client = stage.make_client()
    reply = await client.connect()
    assert await client.is_closed()
    return "CONNECT", reply


async def after_a_long_silence(stage: Stage) -> Answer:
    client = await stage.signed_in()
    await client.ask(f"MAIL FROM:<{SCANNER}>")
    stage.exchange.tenant.clock.advance(301)
    reply = await client.hear()
    assert await client.is_closed()
    return "MAIL", reply


async def after_a_long_connection(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_timeouts(idle_seconds=7200, connection_seconds=3600)
    client = await stage.signed_in()
    await client.ask(f"MAIL FROM:<{SCANNER}>")
    stage.exchange.tenant.clock.advance(3601)
    reply = await client.hear()
    assert await client.is_closed()
    return "MAIL", reply


# Limits


async def with_a_fourth_connection(stage: Stage) -> Answer:
    for _ in range(3):
        await stage.signed_in()
    return await stage.send()


async def with_the_days_recipients_used(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_limits(stage.scanner_id, recipients_per_day=1)
    return await stage.send(MESSAGE, RECIPIENT, "c@example.net")


async def with_the_tenants_external_recipients_used(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_tenant_limits(external_recipients_per_day=1)
    return await stage.send(MESSAGE, RECIPIENT, "c@example.net")


async def with_sent_items_full(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_limits(stage.scanner_id, quota_bytes=10)
    return await stage.send()


async def with_a_second_message_in_the_minute(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_reading("rate_mode", True)
    stage.exchange.tenant.exchange.set_limits(stage.scanner_id, messages_per_minute=1)
    client = await stage.signed_in()
    await client.send()
    reply = await client.ask(f"MAIL FROM:<{SCANNER}>")
    assert await client.is_closed()
    return "MAIL", reply


async def with_too_many_recipients(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_limits(stage.scanner_id, recipients_per_message=1)
    return await stage.ask(f"MAIL FROM:<{SCANNER}>", f"RCPT TO:<{RECIPIENT}>", "RCPT TO:<c@example.net>")


async def with_a_size_beyond_the_limit(stage: Stage) -> Answer:
    return await stage.ask(f"MAIL FROM:<{SCANNER}> SIZE=36700161")


async def with_a_message_beyond_the_limit(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_limits(stage.scanner_id, message_size_bytes=20)
    return await stage.send()


async def after_the_token_has_run_out(stage: Stage) -> Answer:
    stage.exchange.tenant.exchange.set_reading("session_outlives_its_token", False)
    stage.exchange.tenant.exchange.set_timeouts(idle_seconds=7200)
    client = await stage.signed_in()
    stage.exchange.tenant.clock.advance(3600)
    return "DATA", await client.send()


# The message and its envelope


async def with_a_message(stage: Stage) -> Answer:
    return await stage.send()


async def from_another_without_send_as(stage: Stage) -> Answer:
    return await stage.send(MESSAGE.replace(SCANNER.encode(), NOREPLY.encode(), 1))


async def with_bare_linefeeds(stage: Stage) -> Answer:
    return await stage.send(MESSAGE + b"a\nb\r\n")


async def without_from(stage: Stage) -> Answer:
    return await stage.send(b"Subject: x\r\n\r\nHello\r\n")


async def with_a_header_without_end(stage: Stage) -> Answer:
    return await stage.send(b"X-Filler: y\r\n" * 30_000)


async def to_nowhere(stage: Stage) -> Answer:
    return await stage.ask(f"MAIL FROM:<{SCANNER}>", "RCPT TO:<b>")


async def from_nowhere(stage: Stage) -> Answer:
    return await stage.ask("MAIL FROM:<scanner>")


async def with_data_first(stage: Stage) -> Answer:
    return await stage.ask("DATA")


async def with_a_line_that_is_no_command(stage: Stage) -> Answer:
    # As a client hears it that has just written its MAIL FROM wrongly.
    _, reply = await stage.ask(base64.b64encode(b"?").decode())
    return "MAIL", reply


SWITCHES: dict[str, Callable[[Stage], Awaitable[Answer]]] = {
    "a token for Graph": with_a_token_for_graph,
    "SMTP AUTH off for the tenant": with_smtp_auth_off_for_the_tenant,
    "SMTP AUTH off for the mailbox": with_smtp_auth_off_for_the_mailbox,
    "a wrong password": with_a_wrong_password,
    "security defaults": with_security_defaults,
    "conditional access": with_conditional_access,
    "Basic disabled": with_basic_disabled,
    "Basic removed": with_basic_removed,
    "authentication policy": with_an_authentication_policy,
    "AUTH PLAIN": by_auth_plain,
    "not signed in": without_signing_in,
    "MAIL FROM after a refused sign-in": after_a_refused_sign_in,
    "TLS 1.1": over_tls_1_1,
    "TLS 1.1 in this organisation": over_tls_1_1_in_this_organisation,
    "EHLO without a name": without_a_name,
    "not available": while_not_available,
    "a silent client": after_a_long_silence,
    "a long connection": after_a_long_connection,
    "a fourth connection": with_a_fourth_connection,
    "the day's recipients": with_the_days_recipients_used,
    "the tenant's external recipients": with_the_tenants_external_recipients_used,
    "Sent Items full": with_sent_items_full,
    "a second message in the minute": with_a_second_message_in_the_minute,
    "recipients a message": with_too_many_recipients,
    "SIZE beyond the mailbox's limit": with_a_size_beyond_the_limit,
    "a message beyond the mailbox's limit": with_a_message_beyond_the_limit,
    "the token runs out": after_the_token_has_run_out,
    "a message": with_a_message,
    "no Send As": from_another_without_send_as,
    "bare linefeeds": with_bare_linefeeds,
    "no From": without_from,
    "a header without end": with_a_header_without_end,
    "RCPT TO without a domain": to_nowhere,
    "MAIL FROM without a domain": from_nowhere,
    "DATA first": with_data_first,
    "a line that is no command": with_a_line_that_is_no_command,
}
