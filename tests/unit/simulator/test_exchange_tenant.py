"""The tenant's settings and limits as a client of the simulated Exchange Online meets them, over a socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from postroom.simulator.authority import Authority
from postroom.simulator.directory_rules import ConditionalAccessPolicy, PolicyControl
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.organisation import Organisation
from postroom.simulator.registration import AppRegistration
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.exchange_client import (
    HOST,
    MESSAGE,
    NOREPLY,
    SCANNER,
    Client,
    app_bearer,
    bearer,
    open_clients,
    trust_of,
)

pytestmark = pytest.mark.anyio

ANNA = "anna@contoso.com"
OK = "235 2.7.0 Authentication successful"
UNSUCCESSFUL = "535 5.7.3 Authentication unsuccessful [tag]"
CRITERIA = (
    "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated "
    "successfully. Contact your administrator. [tag]"
)
POLICY = (
    "535 5.7.139 Authentication unsuccessful, the organization configuration does not allow this authentication "
    "request. [tag]"
)
WRONG = "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. [tag]"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


@pytest.fixture
async def exchange(tenant: Tenant, tokens: Tokens, authority: Authority) -> AsyncIterator[ExchangeServer]:
    server = ExchangeServer(tenant, tokens, authority.server_context([HOST], speaks_old_tls=True))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def make_client(exchange: ExchangeServer, authority: Authority) -> AsyncIterator[Callable[[], Client]]:
    async with open_clients(exchange, trust_of(authority)) as make:
        yield make


@pytest.fixture
def client(make_client: Callable[[], Client]) -> Client:
    return make_client()


@pytest.fixture
def noreply(tenant: Tenant) -> User:
    return named(tenant, NOREPLY)


@pytest.fixture
def operations(tenant: Tenant) -> Organisation:
    return tenant.exchange


def named(tenant: Tenant, address: str) -> User:
    user = tenant.user_by_address(address)
    assert user is not None
    return user


def mail_from(author: str, more: str = "") -> bytes:
    return f"From: {author}\r\n{more}To: b@example.net\r\nMessage-ID: <1@contoso.com>\r\n\r\nHello\r\n".encode()


# Applications (1.5)


@pytest.fixture
def daemon(tenant: Tenant) -> AppRegistration:
    return tenant.register_app("Postroom")


@pytest.fixture
def registered(operations: Organisation, daemon: AppRegistration) -> AppRegistration:
    """The application with its service principal in Exchange, and nothing more."""
    operations.new_service_principal(daemon.client_id, daemon.enterprise.object_id, "Postroom")
    return daemon


async def test_an_application_opens_a_mailbox_with_its_role_and_full_access(
    client: Client, exchange: ExchangeServer, operations: Organisation, registered: AppRegistration, noreply: User
) -> None:
    operations.add_mailbox_permission(noreply.object_id, registered.enterprise.object_id)

    assert await client.sign_in_with(app_bearer(exchange, registered, NOREPLY)) == OK
    assert (await client.send(mail_from(NOREPLY))).startswith("250 2.0.0 OK ")
    (message,) = exchange.tenant.messages
    assert (message.signed_in_as, message.mailbox_id) == (NOREPLY, noreply.object_id)


async def test_without_a_service_principal_an_application_is_refused(
    client: Client, exchange: ExchangeServer, daemon: AppRegistration
) -> None:
    assert await client.sign_in_with(app_bearer(exchange, daemon, NOREPLY)) == UNSUCCESSFUL


async def test_the_object_id_of_the_registration_is_the_wrong_one(
    client: Client, exchange: ExchangeServer, operations: Organisation, daemon: AppRegistration, noreply: User
) -> None:
    operations.new_service_principal(daemon.client_id, daemon.object_id, "Postroom")
    operations.add_mailbox_permission(noreply.object_id, daemon.object_id)

    assert await client.sign_in_with(app_bearer(exchange, daemon, NOREPLY)) == UNSUCCESSFUL


async def test_a_service_principal_without_full_access_is_refused(
    client: Client, exchange: ExchangeServer, registered: AppRegistration
) -> None:
    assert await client.sign_in_with(app_bearer(exchange, registered, NOREPLY)) == UNSUCCESSFUL


async def test_a_token_without_a_role_needs_an_rbac_assignment_whose_scope_holds_the_mailbox(
    make_client: Callable[[], Client], exchange: ExchangeServer, operations: Organisation, registered: AppRegistration
) -> None:
    def blob(address: str) -> str:
        return app_bearer(exchange, registered, address, roles=())

    assert await make_client().sign_in_with(blob(NOREPLY)) == UNSUCCESSFUL

    operations.new_management_scope("Senders", [NOREPLY])
    operations.new_role_assignment(registered.client_id, "Postroom may send", scope="Senders")
    assert await make_client().sign_in_with(blob(NOREPLY)) == OK
    assert await make_client().sign_in_with(blob(SCANNER)) == UNSUCCESSFUL

    operations.remove_role_assignment("Postroom may send")
    operations.new_role_assignment(registered.client_id)
    assert await make_client().sign_in_with(blob(SCANNER)) == OK


async def test_the_role_in_the_token_asks_for_full_access_whatever_rbac_says(
    client: Client, exchange: ExchangeServer, operations: Organisation, registered: AppRegistration
) -> None:
    operations.new_role_assignment(registered.client_id)

    assert await client.sign_in_with(app_bearer(exchange, registered, NOREPLY)) == UNSUCCESSFUL


async def test_an_application_needs_smtp_auth_too(
    client: Client, exchange: ExchangeServer, operations: Organisation, registered: AppRegistration, noreply: User
) -> None:
    operations.add_mailbox_permission(noreply.object_id, registered.client_id)
    operations.set_tenant_smtp_auth(enabled=False)

    said = await client.sign_in_with(app_bearer(exchange, registered, NOREPLY))

    assert "SmtpClientAuthentication is disabled for the Tenant." in said


async def test_an_application_sends_as_another_with_send_as_for_its_service_principal(
    client: Client, exchange: ExchangeServer, operations: Organisation, registered: AppRegistration, noreply: User
) -> None:
    principal = registered.enterprise.object_id
    operations.add_mailbox_permission(noreply.object_id, principal)
    await client.sign_in_with(app_bearer(exchange, registered, NOREPLY))

    assert (await client.send(mail_from(ANNA))).startswith("554 5.2.252 SendAsDenied; noreply@contoso.com not allowed")

    operations.add_recipient_permission(named(exchange.tenant, ANNA).object_id, principal)
    assert (await client.send(mail_from(ANNA))).startswith("250 2.0.0 OK ")


# Shared mailboxes (6.4)


@pytest.fixture
def shared(tenant: Tenant) -> User:
    return tenant.add_user("info@contoso.com", "Information", is_shared=True)


async def test_a_member_signs_in_to_a_shared_mailbox_with_their_own_token(
    make_client: Callable[[], Client], exchange: ExchangeServer, operations: Organisation, shared: User
) -> None:
    blob = bearer(exchange, shared.mail, member=SCANNER)
    assert not shared.licensed
    assert await make_client().sign_in_with(blob) == UNSUCCESSFUL

    operations.add_mailbox_permission(shared.object_id, SCANNER)
    assert await make_client().sign_in_with(blob) == OK

    operations.set_smtp_auth(shared.object_id, False)
    assert "SmtpClientAuthentication is disabled for the Mailbox." in await make_client().sign_in_with(blob)


async def test_a_member_of_a_shared_mailbox_needs_send_as_for_it_too(
    client: Client, exchange: ExchangeServer, operations: Organisation, shared: User
) -> None:
    operations.add_mailbox_permission(shared.object_id, SCANNER)
    await client.sign_in_with(bearer(exchange, shared.mail, member=SCANNER))

    assert (await client.send(mail_from(shared.mail))).startswith("554 5.2.252 SendAsDenied; info@contoso.com ")
    operations.add_recipient_permission(shared.object_id, SCANNER)
    assert (await client.send(mail_from(shared.mail))).startswith("250 2.0.0 OK ")


async def test_full_access_alone_is_the_other_reading(
    client: Client, exchange: ExchangeServer, operations: Organisation, shared: User
) -> None:
    operations.add_mailbox_permission(shared.object_id, SCANNER)
    operations.set_reading("full_access_is_enough", True)
    await client.sign_in_with(bearer(exchange, shared.mail, member=SCANNER))

    assert (await client.send(mail_from(shared.mail))).startswith("250 2.0.0 OK ")


async def test_a_shared_mailbox_has_no_password_of_its_own(client: Client, shared: User) -> None:
    assert await client.sign_in_by_password(shared.mail, shared.password) == WRONG


async def test_a_mailbox_loses_its_licence_and_with_it_smtp(
    make_client: Callable[[], Client], exchange: ExchangeServer, operations: Organisation, noreply: User
) -> None:
    exchange.tenant.set_licensed(noreply.object_id, licensed=False)
    assert await make_client().sign_in_with(bearer(exchange, NOREPLY)) == UNSUCCESSFUL

    operations.convert_to_shared(noreply.object_id)
    operations.add_mailbox_permission(noreply.object_id, SCANNER)
    assert await make_client().sign_in_with(bearer(exchange, NOREPLY, member=SCANNER)) == OK


# Aliases (6.2)


async def test_an_alias_in_from_becomes_the_primary_address(
    client: Client, exchange: ExchangeServer, operations: Organisation, scanner: User
) -> None:
    operations.set_alias(scanner.object_id, "mfp@contoso.com")
    await client.sign_in()

    await client.send(mail_from("Floor 3 <MFP@contoso.com>", "Reply-To: mfp@contoso.com\r\n"))

    (message,) = exchange.tenant.messages
    assert message.content.startswith(b"From: Floor 3 <scanner@contoso.com>\r\nReply-To: mfp@contoso.com\r\n")


async def test_an_alias_stays_where_the_organisation_sends_from_aliases(
    client: Client, exchange: ExchangeServer, operations: Organisation, scanner: User
) -> None:
    operations.set_alias(scanner.object_id, "mfp@contoso.com")
    operations.set_send_from_alias(enabled=True)
    await client.sign_in()

    await client.send(mail_from("mfp@contoso.com"))

    assert exchange.tenant.messages[0].content == mail_from("mfp@contoso.com")


async def test_a_longer_address_that_ends_like_an_alias_is_left_alone(
    client: Client, exchange: ExchangeServer, operations: Organisation, scanner: User
) -> None:
    operations.set_alias(scanner.object_id, "a@contoso.com")
    await client.sign_in()
    content = mail_from('"me.a@contoso.com" <scanner@contoso.com>')

    await client.send(content)

    assert exchange.tenant.messages[0].content == content


# Basic (2.1, 8.1)


async def test_an_authentication_policy_decides_for_its_mailbox_and_else_for_all(
    make_client: Callable[[], Client], operations: Organisation, scanner: User, noreply: User
) -> None:
    operations.new_authentication_policy("Block Basic")
    operations.new_authentication_policy("Allow SMTP", allow_basic_auth_smtp=True)
    operations.set_authentication_policy(None, "Block Basic")
    operations.set_authentication_policy(noreply.object_id, "Allow SMTP")

    assert await make_client().sign_in_by_password(SCANNER, scanner.password) == POLICY
    assert await make_client().sign_in_by_password(NOREPLY, noreply.password) == OK


async def test_an_authentication_policy_says_nothing_about_tokens(
    client: Client, exchange: ExchangeServer, operations: Organisation
) -> None:
    operations.new_authentication_policy("Block Basic")
    operations.set_authentication_policy(None, "Block Basic")

    assert await client.sign_in_with(bearer(exchange, SCANNER)) == OK


@pytest.mark.parametrize(
    ("control", "reply"), [("require MFA", CRITERIA), ("block", CRITERIA), ("block device code", OK)]
)
async def test_conditional_access_for_all_client_apps_meets_basic(
    make_client: Callable[[], Client], tenant: Tenant, scanner: User, noreply: User, control: PolicyControl, reply: str
) -> None:
    policy = ConditionalAccessPolicy("Everybody", control, excluded_users={noreply.object_id})
    tenant.entra.policies.append(policy)

    assert await make_client().sign_in_by_password(SCANNER, scanner.password) == reply
    assert await make_client().sign_in_by_password(NOREPLY, noreply.password) == OK


async def test_a_person_who_needs_mfa_hears_of_wrong_credentials(client: Client, scanner: User) -> None:
    scanner.sign_in.mfa_is_required = True

    assert await client.sign_in_by_password(SCANNER, scanner.password) == WRONG


async def test_security_defaults_and_tokens_are_a_matter_of_reading(
    make_client: Callable[[], Client], exchange: ExchangeServer, operations: Organisation
) -> None:
    exchange.tenant.security_defaults = True
    assert await make_client().sign_in_with(bearer(exchange, SCANNER)) == OK

    operations.set_reading("security_defaults_refuse_tokens", True)
    assert "security defaults policy" in await make_client().sign_in_with(bearer(exchange, SCANNER))


async def test_a_malformed_response_may_be_a_syntax_error(
    make_client: Callable[[], Client], operations: Organisation
) -> None:
    assert await make_client().sign_in_with("nonsense!") == UNSUCCESSFUL
    operations.set_reading("malformed_token_is_a_syntax_error", True)
    assert await make_client().sign_in_with("nonsense!") == "501 5.5.4 Invalid arguments [tag]"


async def test_a_fault_of_signing_in_is_for_one_mailbox_or_for_all(
    make_client: Callable[[], Client], exchange: ExchangeServer, operations: Organisation, noreply: User
) -> None:
    operations.set_sign_in_fault(noreply.object_id, "sign-in-later")
    assert await make_client().sign_in_with(bearer(exchange, NOREPLY)) == (
        "454 4.7.0 Temporary authentication failure [tag]"
    )
    assert await make_client().sign_in_with(bearer(exchange, SCANNER)) == OK

    operations.set_sign_in_fault(None, "conditional-access")
    assert await make_client().sign_in_with(bearer(exchange, SCANNER)) == CRITERIA
    operations.set_sign_in_fault(None, "")
    assert await make_client().sign_in_with(bearer(exchange, SCANNER)) == OK


# TLS (1.1, 8.2)


async def test_old_tls_passes_where_the_organisation_allows_it(
    exchange: ExchangeServer, authority: Authority, operations: Organisation
) -> None:
    operations.set_legacy_tls("allowed")
    client = Client(exchange, trust_of(authority, ssl.TLSVersion.TLSv1))

    await client.sign_in()
    assert (await client.send()).startswith("250 2.0.0 OK ")
    await client.close()

    assert exchange.tenant.messages[0].tls_version == "TLSv1"


# Changes that arrive late


async def test_a_change_arrives_as_late_as_the_tenant_is_told(
    make_client: Callable[[], Client], exchange: ExchangeServer, operations: Organisation, registered: AppRegistration
) -> None:
    noreply = named(exchange.tenant, NOREPLY)
    operations.set_propagation(30)
    operations.add_mailbox_permission(noreply.object_id, registered.enterprise.object_id)
    assert registered.enterprise.object_id in noreply.full_access

    assert await make_client().sign_in_with(app_bearer(exchange, registered, NOREPLY)) == UNSUCCESSFUL
    exchange.tenant.clock.advance(29 * 60)
    assert await make_client().sign_in_with(app_bearer(exchange, registered, NOREPLY)) == UNSUCCESSFUL
    exchange.tenant.clock.advance(60)
    assert await make_client().sign_in_with(app_bearer(exchange, registered, NOREPLY)) == OK


# Limits (3)


async def test_recipients_count_for_a_rolling_day(
    client: Client, exchange: ExchangeServer, operations: Organisation, scanner: User
) -> None:
    operations.set_timeouts(idle_seconds=1e6)
    operations.set_limits(scanner.object_id, recipients_per_day=2)
    await client.sign_in()
    assert (await client.send()).startswith("250 ")
    exchange.tenant.clock.advance(12 * 3600)
    assert (await client.send()).startswith("250 ")

    assert (await client.send()).startswith("554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException")
    exchange.tenant.clock.advance(12 * 3600 + 1)
    assert (await client.send()).startswith("250 ")
    assert len(exchange.tenant.messages) == 3


async def test_external_recipients_count_for_the_whole_tenant_and_internal_ones_do_not(
    make_client: Callable[[], Client], operations: Organisation
) -> None:
    operations.set_tenant_limits(external_recipients_per_day=1)
    scanner, noreply = await make_client().sign_in(SCANNER), await make_client().sign_in(NOREPLY)
    from_noreply = mail_from(NOREPLY)

    assert (await scanner.send()).startswith("250 ")
    assert (await noreply.send(from_noreply)).startswith("550 5.7.233 - Your message can't be sent because your tenant")
    assert (await noreply.send(from_noreply, ANNA)).startswith("250 ")
    operations.set_trial(is_trial=True)
    assert (await noreply.send(from_noreply)).startswith("550 5.7.232 ")


async def test_messages_beyond_the_minute_are_accepted_and_delivered_later(
    client: Client, exchange: ExchangeServer, operations: Organisation, scanner: User
) -> None:
    operations.set_limits(scanner.object_id, messages_per_minute=2)
    await client.sign_in()

    replies = [(await client.send())[:3] for _ in range(5)]

    assert replies == ["250"] * 5
    first, second, *held = exchange.tenant.messages
    assert [round(message.delivered_at - first.delivered_at) for message in held] == [60, 60, 120]
    assert held[1].delivered_at - second.delivered_at == pytest.approx(60)


async def test_messages_beyond_the_minute_may_be_rejected_instead(
    make_client: Callable[[], Client], exchange: ExchangeServer, operations: Organisation, scanner: User
) -> None:
    operations.set_limits(scanner.object_id, messages_per_minute=2)
    operations.set_reading("rate_mode", True)
    client = await make_client().sign_in()
    assert [(await client.send())[:3] for _ in range(2)] == ["250", "250"]

    assert await client.ask(f"MAIL FROM:<{SCANNER}>") == (
        "421 4.4.2 Message submission rate for this client has exceeded the configured limit [tag]"
    )
    assert await client.is_closed()
    exchange.tenant.clock.advance(61)
    assert (await (await make_client().sign_in()).send()).startswith("250 ")


async def test_sent_items_fill_the_mailbox_until_retention_empties_it(
    client: Client, exchange: ExchangeServer, operations: Organisation, scanner: User
) -> None:
    operations.set_timeouts(idle_seconds=1e9)
    operations.set_limits(scanner.object_id, quota_bytes=len(MESSAGE) * 2)
    operations.set_retention(scanner.object_id, 7)
    await client.sign_in()
    assert [(await client.send())[:9] for _ in range(3)] == ["250 2.0.0", "250 2.0.0", "554 5.2.2"]
    assert operations.submissions.sent_item_numbers(scanner.object_id) == [1, 2]

    exchange.tenant.clock.advance(7 * 86_400)

    assert (await client.send()).startswith("250 2.0.0 OK ")
    assert operations.submissions.sent_item_numbers(scanner.object_id) == [3]


async def test_recipients_a_message_unlimited_means_what_the_organisation_says(
    client: Client, operations: Organisation, scanner: User
) -> None:
    operations.set_recipients_unlimited(scanner.object_id)
    operations.set_tenant_limits(external_recipients_per_day=None, recipients_per_message=2)
    await client.sign_in()

    said = await client.address("a@example.net", "b@example.net", "c@example.net")

    assert [line[:9] for line in said[1:]] == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]


async def test_each_mailbox_has_a_message_size_of_its_own(
    make_client: Callable[[], Client], operations: Organisation, scanner: User
) -> None:
    operations.set_limits(scanner.object_id, message_size_bytes=1_000)
    scanner_client, noreply_client = await make_client().sign_in(), await make_client().sign_in(NOREPLY)

    assert (await scanner_client.ask(f"MAIL FROM:<{SCANNER}> SIZE=1001")).startswith("552 5.3.4 ")
    assert await noreply_client.ask(f"MAIL FROM:<{NOREPLY}> SIZE=1001") == "250 2.1.0 Sender OK"


# The session


async def test_a_session_outlives_its_token_unless_read_otherwise(
    client: Client, exchange: ExchangeServer, operations: Organisation
) -> None:
    operations.set_timeouts(idle_seconds=7200)
    await client.sign_in()
    exchange.tenant.clock.advance(3600)

    assert (await client.send()).startswith("250 2.0.0 OK ")
    operations.set_reading("session_outlives_its_token", False)
    assert (await client.send()).startswith("430 4.2.0 STOREDRV; mailbox logon failure")


async def test_the_null_sender_may_be_refused(client: Client, operations: Organisation) -> None:
    await client.sign_in()
    assert await client.ask("MAIL FROM:<>") == "250 2.1.0 Sender OK"
    await client.ask("RSET")

    operations.set_reading("null_sender_is_accepted", False)
    assert await client.ask("MAIL FROM:<>") == "501 5.1.7 Invalid address [tag]"


async def test_a_client_that_speaks_in_time_is_not_parted_from(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    for _ in range(3):
        exchange.tenant.clock.advance(299)
        assert await client.ask("NOOP") == "250 2.0.0 OK"

    exchange.tenant.clock.advance(301)
    assert await client.hear() == "451 4.7.0 Timeout waiting for client input [tag]"


async def test_silence_ends_without_anybody_moving_the_clock(client: Client, operations: Organisation) -> None:
    operations.set_timeouts(idle_seconds=0.01)
    await client.connect()

    assert await asyncio.wait_for(client.hear(), 10) == "451 4.7.0 Timeout waiting for client input [tag]"
    assert await client.is_closed()


async def test_a_client_that_waits_for_a_slow_answer_is_not_silent(client: Client, exchange: ExchangeServer) -> None:
    exchange.slow_seconds = 0.05
    await client.sign_in()
    await client.address("slow@example.net")
    await client.ask("DATA")
    client.writer.write(MESSAGE + b".\r\n")
    while not exchange.tenant.messages:
        await asyncio.sleep(0)

    exchange.tenant.clock.advance(3600)

    assert (await client.hear()).startswith("250 2.0.0 OK ")


async def test_no_answer_keeps_the_connection_and_says_nothing(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    await client.ask(f"MAIL FROM:<{SCANNER}>")

    client.writer.write(b"RCPT TO:<no-answer@example.net>\r\nNOOP\r\n")
    await client.writer.drain()
    exchange.tenant.clock.advance(3600)
    await exchange.stop()

    assert await client.is_closed()
