"""Who may send as whom."""

import msgspec
import pytest

from postroom.accept.policy import (
    AppRules,
    app_rules,
    check_recipient,
    check_trace,
    decide_envelope_sender,
    decide_header_sender,
    same_form,
    with_domain,
)
from postroom.errors import Refusal
from postroom.store.records import Mailbox, SenderPolicy, SignedInUser
from tests.unit.accept.fake_store import SCANNER, FakeMailboxes, FakeMailServers


def rules(
    *senders: str, policy: SenderPolicy = SenderPolicy.REFUSE, domains: tuple[str, ...] = (), default_domain: str = ""
) -> AppRules:
    app = msgspec.structs.replace(SCANNER, senders=senders, sender_policy=policy, recipient_domains=domains)
    return AppRules(
        app, senders, frozenset(map(same_form, senders)), "noreply@contoso.example",
        frozenset(same_form("@" + domain) for domain in domains), default_domain,
    )  # fmt: skip


RULES = rules("scanner@contoso.example")


@pytest.mark.anyio
async def test_an_app_without_a_list_sends_as_the_mail_servers_sender_and_username() -> None:
    app = msgspec.structs.replace(SCANNER, senders=())
    found = app_rules(app, await FakeMailServers().default(), await FakeMailboxes().find(1))
    assert found.senders == ("noreply@contoso.example", "robot@contoso.example")


async def a_shared_mailbox() -> Mailbox:
    """Opened by a person with an alias."""
    user = SignedInUser("o", "t", "robot@contoso.example", addresses=("robot@contoso.example", "r2@contoso.example"))
    mailbox = await FakeMailboxes().find(1)
    return msgspec.structs.replace(mailbox, address="shared@contoso.example", user=user)


@pytest.mark.anyio
@pytest.mark.parametrize("sender", ["robot", "R2", "shared", "noreply"])
async def test_an_app_without_a_list_sends_as_the_mailbox_by_each_of_its_addresses(sender: str) -> None:
    app = msgspec.structs.replace(SCANNER, senders=())
    found = app_rules(app, await FakeMailServers().default(), await a_shared_mailbox())
    assert found.allows(f"{sender}@contoso.example")
    assert not found.allows("boss@contoso.example")


@pytest.mark.anyio
async def test_an_app_with_a_list_sends_as_nobody_else() -> None:
    found = app_rules(SCANNER, await FakeMailServers().default(), await a_shared_mailbox())
    assert found.senders == SCANNER.senders
    assert not found.allows("r2@contoso.example")


@pytest.mark.anyio
async def test_without_a_mail_server_the_refusal_is_temporary_and_says_where_to_set_one_up() -> None:
    mail_server = msgspec.structs.replace(await FakeMailServers().default(), sender="")
    mailbox = msgspec.structs.replace(await FakeMailboxes().find(1), username="", address="")
    with pytest.raises(Refusal, match="Admin > Server Settings > Mail Server") as caught:
        app_rules(msgspec.structs.replace(SCANNER, senders=()), mail_server, mailbox)
    assert caught.value.reply.is_temporary
    assert caught.value.reply.code == "mail_server_not_set_up"


@pytest.mark.parametrize("address", ["scanner@contoso.example", "Scanner@CONTOSO.example", ""])
def test_an_allowed_sender_and_the_null_sender_pass(address: str) -> None:
    assert decide_envelope_sender(RULES, address) == address


def test_another_sender_is_refused_with_the_app_the_allowed_address_and_the_place_to_change_it() -> None:
    with pytest.raises(Refusal) as caught:
        decide_envelope_sender(RULES, "boss@contoso.example")
    assert caught.value.reply.smtp_reply == (
        '550 5.7.1 "HP 2nd floor" may send as scanner@contoso.example only, not as boss@contoso.example '
        "(in the envelope). Change it under Apps & devices > HP 2nd floor > Senders"
    )
    assert (caught.value.reply.code, caught.value.reply.http_status) == ("sender_not_allowed", 403)


def test_a_sender_without_domain_is_told_what_it_may_send_as() -> None:
    with pytest.raises(
        Refusal, match=r'"root" is not a complete address.* may send as scanner@contoso.example'
    ) as caught:
        decide_envelope_sender(RULES, "root")
    assert caught.value.reply.smtp_code == 501


@pytest.mark.parametrize(
    ("from_addresses", "sender_addresses", "place"),
    [
        (("scanner@contoso.example", "boss@contoso.example"), (), r"\(in From\)"),
        (("scanner@contoso.example",), ("boss@contoso.example",), r"\(in Sender\)"),
    ],
)
def test_each_address_shown_as_sender_must_be_allowed(
    from_addresses: tuple[str, ...], sender_addresses: tuple[str, ...], place: str
) -> None:
    with pytest.raises(Refusal, match=f"not as boss@contoso.example {place}"):
        decide_header_sender(RULES, from_addresses, sender_addresses)


def test_a_recipient_that_is_no_address_is_refused() -> None:
    with pytest.raises(Refusal, match='"bob" is not a complete address') as caught:
        check_recipient(RULES, "bob")
    assert caught.value.reply.smtp_reply.startswith("501 5.1.3 ")


def test_a_message_that_was_here_twice_goes_round_in_circles() -> None:
    check_trace([b"by relay (Postroom at relay)"] * 1 + [b"by other"] * 49, b"(Postroom at relay)")
    with pytest.raises(Refusal, match="through this server twice") as caught:
        check_trace([b"by relay (Postroom at relay)"] * 2, b"(Postroom at relay)")
    assert caught.value.reply.smtp_reply.startswith("554 5.4.6 ")


def test_a_message_that_was_everywhere_is_refused() -> None:
    with pytest.raises(Refusal, match="it has 51 Received fields, and 50 are the limit"):
        check_trace([b"by other"] * 51, b"(Postroom at relay)")


@pytest.mark.parametrize(
    ("one", "other"),
    [("A@B.Example", "a@b.example"), ("x@MÜLLER.example", "x@xn--mller-kva.example")],
)
def test_addresses_are_compared_as_exchange_does(one: str, other: str) -> None:
    assert same_form(one) == same_form(other)


def test_different_local_parts_stay_different() -> None:
    assert same_form("a@b.example") != same_form("a+b@b.example")


def test_all_of_a_domain_may_be_allowed() -> None:
    found = rules("@Contoso.example")
    assert decide_envelope_sender(found, "anybody@contoso.EXAMPLE") == "anybody@contoso.EXAMPLE"
    with pytest.raises(Refusal, match=r"not as anybody@sub\.contoso"):
        decide_envelope_sender(found, "anybody@sub.contoso.example")


def test_rewriting_puts_the_fallback_in_the_place_of_what_is_not_allowed() -> None:
    found = rules("scanner@contoso.example", policy=SenderPolicy.REWRITE)
    assert decide_envelope_sender(found, "scanner@contoso.example") == "scanner@contoso.example"
    for address in ("root@localhost.localdomain", "root", "no address at all", "a@b@c"):
        assert decide_envelope_sender(found, address) == "noreply@contoso.example", address
    assert decide_envelope_sender(found, "") == ""
    assert decide_header_sender(found, ("scanner@contoso.example",), ()) == ""
    assert decide_header_sender(found, ("root@localhost",), ()) == "noreply@contoso.example"
    assert decide_header_sender(found, ("scanner@contoso.example",), ("root@x.example",)) == "noreply@contoso.example"
    assert decide_header_sender(found, (), ()) == "noreply@contoso.example"


def test_keeping_leaves_every_address_but_not_what_is_none() -> None:
    found = rules("scanner@contoso.example", policy=SenderPolicy.KEEP)
    assert decide_envelope_sender(found, "customer@fabrikam.example") == "customer@fabrikam.example"
    assert decide_header_sender(found, ("customer@fabrikam.example",), ()) == ""
    with pytest.raises(Refusal, match="cannot be used"):
        decide_envelope_sender(found, "no address at all")


def test_a_missing_from_is_refused_where_senders_are_not_rewritten() -> None:
    with pytest.raises(Refusal, match="no From field"):
        decide_header_sender(RULES, (), ())


@pytest.mark.anyio
async def test_the_fallback_is_the_apps_first_address_else_the_mail_servers_sender() -> None:
    mail_server, mailbox = await FakeMailServers().default(), await FakeMailboxes().find(1)
    assert app_rules(SCANNER, mail_server, mailbox).fallback_sender == "scanner@contoso.example"
    for senders in ((), ("@contoso.example",)):
        app = msgspec.structs.replace(SCANNER, senders=senders)
        assert app_rules(app, mail_server, mailbox).fallback_sender == "noreply@contoso.example"


@pytest.mark.anyio
async def test_an_address_without_a_domain_gets_the_default_one() -> None:
    mail_server, mailbox = await FakeMailServers().default(), await FakeMailboxes().find(1)
    assert app_rules(SCANNER, mail_server, mailbox).default_domain == "contoso.example"
    assert app_rules(SCANNER, mail_server, mailbox, "corp.example").default_domain == "corp.example"
    found = rules("root@corp.example", default_domain="corp.example")
    assert decide_envelope_sender(found, "root") == "root@corp.example"
    assert with_domain("", "corp.example") == ""


def test_recipients_keep_to_the_apps_domains() -> None:
    found = rules("scanner@contoso.example", domains=("contoso.example", "münchen.example"))
    for address in ("a@Contoso.example", "b@xn--mnchen-3ya.example"):
        assert check_recipient(found, address) == address
    with pytest.raises(Refusal) as caught:
        check_recipient(found, "a@sub.contoso.example")
    assert caught.value.reply.smtp_reply == (
        '550 5.7.1 "HP 2nd floor" may send to contoso.example, münchen.example only, not to a@sub.contoso.example. '
        "Change it under Apps & devices > HP 2nd floor > Recipients"
    )
    assert caught.value.reply.code == "recipient_not_allowed"
