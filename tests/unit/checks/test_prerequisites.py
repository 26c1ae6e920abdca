"""What can be said of the Mail Server page without dialling."""

from datetime import date
from typing import Any

import pytest

from postroom.checks.addresses import explain_address, explain_host
from postroom.checks.prerequisites import can_work_together, explain_pair, is_microsoft, tidy_draft
from postroom.store.records import Authentication, EmailType, MailServerDraft, SendRight
from tests.unit.identity.pretend_entra import TENANT, oauth_draft

MICROSOFT, ELSEWHERE = "smtp.office365.com", "mail.example.net"
SMTP, SMTPS = EmailType.SMTP, EmailType.SMTPS


def troubles(draft: MailServerDraft, today: date | None = None) -> dict[str, str]:
    found = can_work_together(draft, today)
    assert len({it.field for it in found}) == len(found), "one sentence a field"
    return {it.field: it.sentence for it in found}


def basic_draft(**changes: Any) -> MailServerDraft:
    fields = {"host": ELSEWHERE, "authentication": Authentication.BASIC, "username": "apikey", "password": "p"}
    return oauth_draft(**{**fields, "tenant": "", "client_id": "", "client_secret": "", **changes})


def test_a_usual_draft_is_worth_dialling() -> None:
    assert troubles(oauth_draft()) == {}
    assert troubles(basic_draft()) == {}


@pytest.mark.parametrize(
    ("host", "email_type", "port", "use_tls", "field", "sentence"),
    [
        (MICROSOFT, SMTP, 587, True, None, ""),
        (MICROSOFT, SMTP, 25, True, None, ""),
        (MICROSOFT, SMTP, 465, True, "port", "Microsoft 365 does not offer port 465. Choose port 587."),
        (MICROSOFT, SMTP, 2525, True, "port", "Microsoft 365 takes mail on port 587 or 25, not on 2525"),
        (MICROSOFT, SMTPS, 465, True, "email_type", "Microsoft 365 does not offer SMTPS"),
        (MICROSOFT, SMTPS, 587, True, "email_type", "Microsoft 365 does not offer SMTPS"),
        (MICROSOFT, SMTP, 587, False, "use_tls", "Microsoft 365 requires TLS 1.2 or newer"),
        (ELSEWHERE, SMTP, 587, True, None, ""),
        (ELSEWHERE, SMTP, 2525, True, None, ""),
        (ELSEWHERE, SMTP, 465, True, "port", "Port 465 expects TLS from the first byte. Choose the e-mail type SMTPS"),
        (ELSEWHERE, SMTPS, 465, True, None, ""),
        (ELSEWHERE, SMTPS, 4650, True, None, ""),
        (ELSEWHERE, SMTPS, 587, True, "port", "Port 587 begins without TLS and switches it on (STARTTLS)"),
        (ELSEWHERE, SMTPS, 25, True, "port", "Port 25 begins without TLS"),
        (ELSEWHERE, SMTPS, 465, False, "use_tls", "SMTPS is TLS from the first byte"),
        (ELSEWHERE, SMTP, 25, False, "use_tls", "Without TLS the password could be read"),
        ("localhost", SMTP, 2525, False, None, ""),
    ],
)
def test_each_pair_that_cannot_work_has_its_sentence(
    host: str, email_type: EmailType, port: int, use_tls: bool, field: str | None, sentence: str
) -> None:
    trouble = explain_pair(basic_draft(host=host, email_type=email_type, port=port, use_tls=use_tls))
    assert (trouble.field if trouble else None) == field
    assert trouble is None or trouble.sentence.startswith(sentence)


def test_a_token_never_travels_in_clear() -> None:
    trouble = explain_pair(oauth_draft(host="localhost", use_tls=False))
    assert trouble is not None
    assert "the token could be read" in trouble.sentence


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"host": ""}, "host", "Server Name is missing."),
        ({"host": "smtp://smtp.office365.com"}, "host", "without smtp://"),
        ({"host": "smtp.office365.com:587"}, "host", "the port has its own field"),
        ({"port": 0}, "port", "a number from 1 to 65535"),
        ({"sender": "Scanner <scanner@contoso.com>"}, "sender", "holds a space"),
        ({"sender": "scanner@contoso"}, "sender", "a domain without a dot"),
        ({"sender_name": "Scanner @ Contoso"}, "sender_name", "must not hold an @ sign"),
        ({"test_address": ""}, "test_address", "Test Email Address is missing."),
        ({"username": "scanner"}, "username", "must have the form name@example.com"),
        ({"mailbox_address": "x"}, "mailbox_address", "must have the form"),
        ({"ehlo_name": "my host"}, "ehlo_name", "such as mail.example.com"),
        ({"tenant": "common"}, "tenant", "also lets other organisations' accounts sign in"),
        ({"client_id": "Postroom"}, "client_id", "A Client ID is a GUID"),
        ({"client_secret": TENANT}, "client_secret", "This looks like the Secret ID. Copy the Value column."),
        ({"client_secret": "ab cd"}, "client_secret", "copy it again"),
        ({"client_secret": ""}, "client_secret", "its Value, from Certificates & secrets"),
    ],
)
def test_each_field_has_its_sentence(changes: dict[str, Any], field: str, sentence: str) -> None:
    found = troubles(oauth_draft(**changes))
    assert sentence in found.get(field, ""), found


def test_a_shared_mailbox_cannot_sign_in_itself() -> None:
    found = troubles(oauth_draft(sender_is_own_mailbox=False))
    assert "A shared mailbox cannot sign in itself" in found["username"]


def test_who_signs_in_and_who_sends_are_two() -> None:
    asked = troubles(oauth_draft(sender="noreply@contoso.com"))
    assert asked == {
        "send_right": "Send on Behalf is needed: scanner@contoso.com must be allowed to send for noreply@contoso.com. "
        "Choose Send on Behalf, or Send As, and have it granted."
    }
    chosen = oauth_draft(sender="noreply@contoso.com", send_right=SendRight.SEND_ON_BEHALF)
    assert "Grant Send on Behalf in Microsoft 365" in troubles(chosen)["send_right_is_granted"]
    granted = oauth_draft(sender="noreply@contoso.com", send_right=SendRight.SEND_AS, send_right_is_granted=True)
    assert troubles(granted) == {}


def test_capitals_make_no_second_person() -> None:
    assert troubles(oauth_draft(sender="Scanner@CONTOSO.com")) == {}


def test_elsewhere_a_user_name_need_not_be_an_address() -> None:
    assert "username" in troubles(basic_draft(username=""))
    assert "username" in troubles(basic_draft(username="a\0b"))
    assert "password" in troubles(basic_draft(password=""))
    assert "username" in troubles(basic_draft(host=MICROSOFT)), "Microsoft knows people by their addresses"


def test_a_secret_that_has_expired_is_named() -> None:
    draft = oauth_draft(secret_ends_on=date(2026, 11, 22))
    assert troubles(draft, date(2026, 11, 22)) == {}
    assert "expired on 2026-11-22" in troubles(draft, date(2026, 11, 23))["secret_ends_on"]


def test_what_comes_along_when_people_paste_is_taken_off() -> None:
    draft = tidy_draft(oauth_draft(host=" smtp://smtp.office365.com ", client_id="\u200b1-2\ufeff ", password=" p "))
    assert (draft.host, draft.client_id, draft.password) == (MICROSOFT, "1-2", " p ")


def test_microsoft_is_known_by_its_domains() -> None:
    assert is_microsoft("SMTP.office365.com.")
    assert is_microsoft("smtp.partner.outlook.cn")
    assert not is_microsoft("smtp.notoffice365.com")
    assert not is_microsoft("office365.com.example.net")


@pytest.mark.parametrize(
    "address",
    ["a@b.co", "first.last+tag@sub.example.com", "jürgen@müller.example", "o'brien@contoso.com", "x@xn--mller-kva.de"],
)
def test_an_address_may_be(address: str) -> None:
    assert explain_address(address) is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "is missing"),
        ("a", "must have the form"),
        ("@b.co", "must have the form"),
        ("a@", "must have the form"),
        ("a b@c.de", "a space"),
        ("a@b.co\r\nRCPT TO:<x@y.z>", "a space or an invisible character"),
        ("a@b.co,c@d.ef", "one address only"),
        ("<a@b.co>", "without a name or angle brackets"),
        (".a@b.co", "a dot too many"),
        ("a..b@c.de", "a dot too many"),
        ('"a"@b.co', "a character before the @ sign"),
        ("a@b@c.de", "a character before the @ sign"),
        ("a" * 65 + "@b.co", "more than 64 bytes"),
        ("a@b", "without a dot"),
        ("a@b..co", "cannot exist"),
        ("a@-b.co", "cannot exist"),
        ("a@b.123", "cannot exist"),
        ("a@" + "b" * 64 + ".co", "cannot exist"),
        ("a@\u2488.co", "cannot exist"),
    ],
)
def test_an_address_may_not_be(address: str, why: str) -> None:
    assert why in (explain_address(address) or "")


def test_a_host_may_be_a_name_or_a_number() -> None:
    for host in ("smtp.office365.com", "localhost", "127.0.0.1", "::1", "[::1]", "müller.example", "mail.example.com."):
        assert explain_host(host) is None, host
    for host in ("", "a b", "a/b", "-a.b", "smtp..com"):
        assert explain_host(host), host
