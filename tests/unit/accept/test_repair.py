"""What is changed in a head, and that nothing else is."""

from email import policy
from email.parser import BytesParser
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.accept.head_facts import read_facts
from postroom.accept.received import format_date, format_received
from postroom.accept.repair import RepairedHead, RepairPlan, repair_head
from postroom.errors import Refusal
from postroom.message import Reception
from postroom.wire.head import find_head_end, read_head

NOW_US = 1_790_000_000_000_000
GOOD = b"From: a@b.example\r\nDate: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <1@b.example>\r\n"


def repair(content: bytes, *, default_domain: str = "", **plan: Any) -> RepairedHead:
    head = read_head(content)
    known = RepairPlan(message_id=5, host_name="relay.example", now_us=NOW_US, received="Received: x\r\n")
    return repair_head(head, read_facts(head, default_domain), msgspec.structs.replace(known, **plan))


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
def test_a_head_may_name_no_sender(content: bytes) -> None:
    assert read_facts(read_head(content)).from_addresses == ()


@pytest.mark.parametrize(
    "said", [b"Smith, John <a@b.example>", b"Scan, <a@b.example>", b"<@relay.example:a@b.example>", b"A <a@b.example>,"]
)
def test_an_old_device_names_one_sender_whatever_its_name(said: bytes) -> None:
    facts = read_facts(read_head(b"From: " + said + b"\r\n\r\n"), "contoso.example")
    assert facts.from_addresses == ("a@b.example",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"From: a@b.example\r\nFROM: c@d.example\r\n", r"several senders in From \(a@b.example, c@d.example\)"),
        (b"From: A <a@b.example>,\r\n <c@d.example>\r\n", r"several senders in From \(a@b.example, c@d.example\)"),
        (b"From: a@b.example, a@b.example\r\n", "several senders in From"),
        (b"From: a@b.example\r\nFrom:\r\n", "several senders in From"),
        (b"From: Us: a@b.example;\r\n", "a group in From"),
        (b"From: nobody:;\r\n", "a group in From"),
        (b"From: a@b.example\r\nSender: a@b\r\nSender: c@d\r\n", "more than one Sender field"),
        (b"From: <a@b.example> <c@d.example>\r\n", "in its From field two addresses"),
    ],
)
def test_an_uncertain_sender_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        read_facts(read_head(content))


def test_facts_of_a_head() -> None:
    content = b"Received: from x\r\n\tby y\r\nFrom: A\r\n <a@b.example>\r\nSubject: =?utf-8?q?=C3=BC?=\r\n\r\n"
    facts = read_facts(read_head(content))
    assert facts.from_addresses == ("a@b.example",)
    assert facts.subject == "ü"
    assert facts.received == (b" from x\r\n\tby y\r\n",)
    assert (facts.message_id, facts.date) == ("", b"")


# ---- the sender ----

NEW: dict[str, Any] = {"new_sender": "noreply@contoso.example", "recipients": ("bob@fabrikam.example",)}


def fields_of(repaired: RepairedHead, name: str) -> list[str]:
    return BytesParser(policy=policy.compat32).parsebytes(repaired.content).get_all(name, [])


def test_a_sender_that_may_not_stay_is_replaced_and_kept_beside() -> None:
    repaired = repair(b"From: Scanner\r\n <root@pc.example>\r\nSender: x@y.example\r\nTo: a@b\r\n\r\n", **NEW)
    assert fields_of(repaired, "From") == ["Scanner <noreply@contoso.example>"]
    assert fields_of(repaired, "X-Original-From") == ["Scanner\r\n <root@pc.example>"]
    assert fields_of(repaired, "Reply-To") == ["<root@pc.example>"]
    assert fields_of(repaired, "Sender") == []
    assert repaired.from_addresses == ("noreply@contoso.example",)
    assert any("root@pc.example" in sentence and "noreply@contoso.example" in sentence for sentence in repaired.repairs)


@pytest.mark.parametrize("said", [b"From: root\r\n", b"From: Cron <root>\r\n", b"From:\r\n", b""])
def test_replies_go_nowhere_new_when_the_old_sender_could_not_get_them(said: bytes) -> None:
    repaired = repair(said + b"Reply-To: it@contoso.example\r\n\r\n", default_domain="pc.example", **NEW)
    assert fields_of(repaired, "Reply-To") == ["it@contoso.example"]
    assert fields_of(repair(said + b"\r\n", default_domain="pc.example", **NEW), "Reply-To") == []
    assert len(fields_of(repaired, "From")) == 1
    assert fields_of(repaired, "X-Original-From") == ([] if b":\r" in said or not said else [said[6:-2].decode()])


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (b"root", "<root@contoso.example>"),
        (b"root (Cron Daemon)", "<root@contoso.example>"),
        (b"Cron Daemon <root>", "Cron Daemon <root@contoso.example>"),
        (b'"Daemon, Cron" <root>', '"Daemon, Cron" <root@contoso.example>'),
    ],
)
def test_a_sender_without_a_domain_gets_the_default_one(said: bytes, wanted: str) -> None:
    repaired = repair(b"From: " + said + b"\r\n\r\n", default_domain="contoso.example")
    assert fields_of(repaired, "From") == [wanted]
    assert "Completed From to root@contoso.example, because its domain was missing." in repaired.repairs


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (b"scan@contoso.example <scan@contoso.example>", "<scan@contoso.example>"),
        (b'"scan@contoso.example" <scan@contoso.example>', "<scan@contoso.example>"),
        (b"Office @ home <scan@contoso.example>", "Office home <scan@contoso.example>"),
        (b"=?utf-8?q?B=C3=BCro=40home?= <scan@contoso.example>", "=?utf-8?B?QsO8cm8gaG9tZQ==?= <scan@contoso.example>"),
    ],
)
def test_an_at_sign_in_a_name_goes(said: bytes, wanted: str) -> None:
    repaired = repair(b"From: " + said + b"\r\n\r\n")
    assert fields_of(repaired, "From") == [wanted]
    assert "Changed the name in From, because Microsoft refuses names that hold an @." in repaired.repairs


# ---- recipients, dates, MIME ----


@pytest.mark.parametrize(
    ("recipients", "wanted"),
    [
        (("bob@fabrikam.example",), "<bob@fabrikam.example>"),
        (("bob@fabrikam.example", "eve@fabrikam.example"), "undisclosed-recipients:;"),
        (("jörg@fabrikam.example",), "undisclosed-recipients:;"),
    ],
)
@pytest.mark.parametrize("said", [b"", b"To:\r\n", b"Bcc: bob@fabrikam.example\r\n"])
def test_a_message_that_names_no_recipient_gets_a_to(said: bytes, recipients: tuple[str, ...], wanted: str) -> None:
    repaired = repair(GOOD + said + b"\r\n", recipients=recipients)
    assert fields_of(repaired, "To") == [wanted]
    assert f"Added To: {wanted}, because the message named no recipient." in repaired.repairs


def test_a_recipient_without_a_domain_gets_the_default_one() -> None:
    repaired = repair(GOOD + b"To: root\r\nCc: Ops <ops>, anna\r\n\r\n", default_domain="contoso.example")
    assert fields_of(repaired, "To") == ["<root@contoso.example>"]
    assert fields_of(repaired, "Cc") == ["Ops <ops@contoso.example>,\r\n <anna@contoso.example>"]
    assert "Completed To to root@contoso.example, because its domain was missing." in repaired.repairs


def test_a_cc_alone_is_enough() -> None:
    assert repair(GOOD + b"Cc: x@y.example\r\n\r\n", recipients=("x@y.example",)).repairs == ()


@pytest.mark.parametrize("date", [b"Thu, 01 Jan 1970 00:00:12 +0000", b"Tue, 22 Sep 2026 16:00:00 +0000", b"yesterday"])
def test_a_clock_that_was_never_set_is_corrected(date: bytes) -> None:
    repaired = repair(b"From: a@b.example\r\nMessage-ID: <1@b>\r\nDate: " + date + b"\r\n\r\n")
    assert fields_of(repaired, "Date") == ["Mon, 21 Sep 2026 14:13:20 +0000"]
    assert fields_of(repaired, "X-Original-Date") == [date.decode()]
    assert repaired.repairs == (f"Corrected Date, because the clock of the sender was wrong: it said {date.decode()}.",)


@pytest.mark.parametrize("date", [b"Mon, 21 Sep 2026 20:13:20 +0600", b"22 Sep 26 13:00 GMT"])
def test_a_date_that_is_near_stays(date: bytes) -> None:
    assert repair(b"From: a@b.example\r\nMessage-ID: <1@b>\r\nDate: " + date + b"\r\n\r\n").repairs == ()


def test_parts_without_mime_version_get_one() -> None:
    repaired = repair(GOOD + b"Content-Type: text/html\r\n\r\n")
    assert fields_of(repaired, "MIME-Version") == ["1.0"]
    assert repaired.repairs == ("Added MIME-Version, because the message has parts that need it.",)


# ---- signatures ----


def signed(names: str, *, kind: str = "DKIM-Signature") -> bytes:
    return f"{kind}: v=1; a=rsa-sha256; d=b.example;\r\n\th={names};\r\n bh=x=;b=y=\r\n".encode()


def test_a_signature_over_what_stays_is_left_byte_for_byte() -> None:
    content = signed("From : to:\r\n\tsubject") + GOOD + b"Bcc: x@y.example\r\n\r\n"
    repaired = repair(content)
    assert signed("From : to:\r\n\tsubject") in repaired.content
    assert repaired.repairs == ("Removed Bcc, because its addresses are nobody else's business.",)


@pytest.mark.parametrize("names", ["from:message-id", "From:\r\n\tMESSAGE-ID :\r\n date"])
def test_a_needed_repair_removes_the_signature_that_it_breaks_and_says_so(names: str) -> None:
    head = b"From: a@b.example\r\nDate: Mon, 21 Sep 2026 14:13:20 +0000\r\n"
    repaired = repair(signed(names) + signed("from:date") + head + b"\r\n")
    assert len(fields_of(repaired, "DKIM-Signature")) == 1
    assert signed("from:date") in repaired.content
    assert "Removed the DKIM signature, because it covered what had to be changed." in repaired.repairs


def test_an_arc_chain_goes_as_a_whole() -> None:
    chain = (
        b"ARC-Seal: i=1; cv=none; b=x\r\n"
        + signed("from:bcc", kind="ARC-Message-Signature")
        + b"ARC-Authentication-Results: i=1; b.example\r\n"
    )
    repaired = repair(chain + GOOD + b"bcc: x@y.example\r\n\r\n")
    assert b"ARC-" not in repaired.content
    assert "Removed the ARC signature, because it covered what had to be changed." in repaired.repairs


def test_a_signed_date_that_is_old_is_no_needed_repair() -> None:
    content = (
        signed("from:date:mime-version") + b"From: a@b.example\r\nMessage-ID: <1@b>\r\nDate: 1 Jan 2020 00:00 GMT\r\n"
    )
    assert repair(content + b"Content-Type: text/plain\r\n\r\n").repairs == ()


@pytest.mark.parametrize(
    ("field", "why"),
    [
        (b"Content-Type: multipart/signed; boundary=x", "it is signed or encrypted (multipart/signed)"),
        (b"content-type:\r\n Application/PKCS7-mime; smime-type=signed-data", "(application/pkcs7-mime)"),
        (b"Content-Type: multipart/encrypted; protocol=p", "(multipart/encrypted)"),
        (signed("from")[:-2], "it has a DKIM signature"),
        (b"Content-Type: text/plain", ""),
    ],
)
def test_what_forbids_to_change_the_body_is_known(field: bytes, why: str) -> None:
    found = read_facts(read_head(GOOD + field + b"\r\n\r\n")).why_body_must_stay
    assert found.endswith(why)
    assert bool(found) == bool(why)


# ---- whatever comes ----

NAMES = st.sampled_from(["From", "from", "To", "Bcc", "BCC", "Date", "Message-ID", "Sender", "Subject", "X-Odd", "Cc"])
VALUES = st.sampled_from(
    [
        *("", " ", "a@b.example", "A <a@b.example>", "root", '"x@y" <a@b.example>', "secret@hidden.example", "<1@b>"),
        *("Mon, 21 Sep 2026 14:13:20 +0000", "never", "=?utf-8?q?=40?= <a@b.example>", "a@b.example,\r\n\tc@d.example"),
    ]
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12), st.sampled_from(["", "noreply@contoso.example"]))
def test_a_repaired_head_needs_no_second_repair_and_tells_nothing_of_bcc(
    fields: list[tuple[str, str]], new_sender: str
) -> None:
    content = "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n"
    wishes: dict[str, Any] = {"default_domain": "contoso.example", "recipients": ("bob@fabrikam.example",)}
    try:
        repaired = repair(content, new_sender=new_sender, **wishes)
    except Refusal:
        return
    again = repair(repaired.content, **wishes)
    assert (again.repairs, again.content) == ((), b"Received: x\r\n" + repaired.content)
    parsed = BytesParser(policy=policy.compat32).parsebytes(repaired.content)
    assert parsed.get_all("Bcc") is None
    shown = [value for name, value in fields if name not in ("Bcc", "BCC")]
    assert ("secret@hidden.example" in repaired.content.decode()) <= ("secret@hidden.example" in shown)
    for name in ("Date", "Message-ID"):
        assert parsed.get_all(name)


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
