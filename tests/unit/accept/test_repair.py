"""What is changed in a head, and that nothing else is."""

import pytest

from postroom.accept.head import find_head_end, read_head
from postroom.accept.repair import RepairedHead, format_date, format_received, read_facts, repair_head
from postroom.errors import Refusal
from postroom.message import Reception

NOW_US = 1_790_000_000_000_000
GOOD = b"From: a@b.example\r\nDate: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <1@b.example>\r\n"


def repair(content: bytes) -> RepairedHead:
    head = read_head(content)
    return repair_head(
        head, read_facts(head), message_id=5, host_name="relay.example", now_us=NOW_US, received="Received: x\r\n"
    )


def test_a_complete_head_only_gets_our_received_on_top() -> None:
    content = GOOD + b"X-Odd :\tkept  \r\n as it is \r\nTO:c@d.example\r\n\r\n"
    repaired = repair(content)
    assert repaired.content == b"Received: x\r\n" + content
    assert repaired.repairs == ()
    assert repaired.message_id == "<1@b.example>"


def test_message_id_and_date_are_added_when_they_are_missing() -> None:
    repaired = repair(b"From: a@b.example\r\n\r\n")
    assert repaired.content == (
        b"Received: x\r\nMessage-ID: <0000000000005@relay.example>\r\nDate: Mon, 21 Sep 2026 14:13:20 +0000\r\n"
        b"From: a@b.example\r\n\r\n"
    )
    assert repaired.message_id == "<0000000000005@relay.example>"
    assert repaired.repairs == (
        "Added Message-ID <0000000000005@relay.example>, because there was none.",
        "Added Date, because there was none.",
    )


def test_an_empty_message_id_gives_way_to_ours() -> None:
    repaired = repair(b"From: a@b.example\r\nMessage-ID: \r\nDate:\r\n\r\n")
    assert repaired.content.count(b"Message-ID:") == repaired.content.count(b"Date:") == 1


def test_bcc_and_return_path_go_with_their_folded_lines() -> None:
    repaired = repair(
        b"Bcc: x@y.example,\r\n z@y.example\r\nReturn-Path: <q@y.example>\r\n" + GOOD + b"resent-bcc: s@y\r\n\r\n"
    )
    assert repaired.content == b"Received: x\r\n" + GOOD + b"\r\n"
    assert repaired.repairs == (
        "Removed Bcc, because its addresses are nobody else's business.",
        "Removed Return-Path, because it is written where a message arrives.",
        "Removed Resent-Bcc, because its addresses are nobody else's business.",
    )


@pytest.mark.parametrize("content", [b"Subject: x\r\n\r\n", b"From: \r\n\r\n", b"From: root\r\n\r\n", b""])
def test_a_head_without_a_from_address_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal, match="no From field with an address") as caught:
        read_facts(read_head(content))
    assert caught.value.reply.code == "from_missing"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"From: a@b.example\r\nFROM: c@d.example\r\n", "more than one From field"),
        (b"From: a@b.example\r\nSender: a@b\r\nSender: c@d\r\n", "more than one Sender field"),
        (b"From: <a@b.example> <c@d.example>\r\n", "in its From field two addresses"),
    ],
)
def test_an_uncertain_sender_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        read_facts(read_head(content))


def test_facts_of_a_head() -> None:
    content = (
        b"Received: from x\r\n\tby y\r\nFrom: A <a@b.example>,\r\n c@d.example\r\nSubject: =?utf-8?q?=C3=BC?=\r\n\r\n"
    )
    facts = read_facts(read_head(content))
    assert facts.from_addresses == ("a@b.example", "c@d.example")
    assert facts.subject == "ü"
    assert facts.received == (b" from x\r\n\tby y\r\n",)
    assert (facts.message_id, facts.has_date) == ("", False)


SIGNED_IN = Reception(way="smtp", peer_address="192.0.2.7", helo="RNP002673", tls_version="TLSv1.3", login="hp-2f")


@pytest.mark.parametrize(
    ("reception", "uses_smtputf8", "expected"),
    [
        (
            SIGNED_IN,
            False,
            "Received: from RNP002673 ([192.0.2.7])\r\n\tby relay.example (Postroom at relay.example) "
            "with ESMTPSA (TLSv1.3)\r\n\tid 0000000000005; Mon, 21 Sep 2026 14:13:20 +0000\r\n",
        ),
        (
            Reception(way="smtp", peer_address="2001:db8::1", helo="two words; x (y"),
            True,
            "Received: from unknown ([IPv6:2001:db8::1])\r\n\tby relay.example (Postroom at relay.example) "
            "with UTF8SMTP\r\n\tid 0000000000005; Mon, 21 Sep 2026 14:13:20 +0000\r\n",
        ),
        (
            Reception(way="test mail"),
            False,
            "Received: by relay.example (Postroom at relay.example)\r\n"
            "\tid 0000000000005; Mon, 21 Sep 2026 14:13:20 +0000\r\n",
        ),
    ],
)
def test_our_received_tells_the_way_in(reception: Reception, uses_smtputf8: bool, expected: str) -> None:
    received = format_received(
        reception, message_id=5, host_name="relay.example", now_us=NOW_US, uses_smtputf8=uses_smtputf8
    )
    assert received == expected
    assert find_head_end((received + "\r\n").encode()) is not None


def test_a_date_is_english_and_utc() -> None:
    assert format_date(0) == "Thu, 01 Jan 1970 00:00:00 +0000"
