"""Who may send as whom."""

import msgspec
import pytest

from postroom.accept.policy import (
    SenderRules,
    check_envelope_sender,
    check_header_senders,
    check_recipient,
    check_trace,
    same_form,
    sender_rules,
)
from postroom.errors import Refusal
from tests.unit.accept.fake_store import SCANNER, FakeMailboxes, FakeMailServers

RULES = SenderRules.of("HP 2nd floor", ("scanner@contoso.example",))


@pytest.mark.anyio
async def test_an_app_without_a_list_sends_as_the_mail_servers_sender_and_username() -> None:
    app = msgspec.structs.replace(SCANNER, senders=())
    rules = sender_rules(app, await FakeMailServers().default(), await FakeMailboxes().find(1))
    assert rules.senders == ("noreply@contoso.example", "robot@contoso.example")


@pytest.mark.anyio
async def test_an_app_with_a_list_sends_as_nobody_else() -> None:
    rules = sender_rules(SCANNER, await FakeMailServers().default(), await FakeMailboxes().find(1))
    assert rules.senders == SCANNER.senders


@pytest.mark.anyio
async def test_without_a_mail_server_the_refusal_is_temporary_and_says_where_to_set_one_up() -> None:
    mail_server = msgspec.structs.replace(await FakeMailServers().default(), sender="")
    mailbox = msgspec.structs.replace(await FakeMailboxes().find(1), username="")
    with pytest.raises(Refusal, match="Admin > Server Settings > Mail Server") as caught:
        sender_rules(msgspec.structs.replace(SCANNER, senders=()), mail_server, mailbox)
    assert caught.value.reply.is_temporary
    assert caught.value.reply.code == "mail_server_not_set_up"


@pytest.mark.parametrize("address", ["scanner@contoso.example", "Scanner@CONTOSO.example", ""])
def test_an_allowed_sender_and_the_null_sender_pass(address: str) -> None:
    check_envelope_sender(RULES, address)


def test_another_sender_is_refused_with_the_app_the_allowed_address_and_the_place_to_change_it() -> None:
    with pytest.raises(Refusal) as caught:
        check_envelope_sender(RULES, "boss@contoso.example")
    assert caught.value.reply.smtp_reply == (
        '550 5.7.1 "HP 2nd floor" may send as scanner@contoso.example only, not as boss@contoso.example '
        "(in the envelope). Change it under Apps & devices > HP 2nd floor > Senders"
    )
    assert (caught.value.reply.code, caught.value.reply.http_status) == ("sender_not_allowed", 403)


def test_a_sender_without_domain_is_told_what_it_may_send_as() -> None:
    with pytest.raises(
        Refusal, match=r'"root" is not a complete address.* may send as scanner@contoso.example'
    ) as caught:
        check_envelope_sender(RULES, "root")
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
        check_header_senders(RULES, from_addresses, sender_addresses)


def test_a_recipient_that_is_no_address_is_refused() -> None:
    with pytest.raises(Refusal, match='"bob" is not a complete address') as caught:
        check_recipient("bob")
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
