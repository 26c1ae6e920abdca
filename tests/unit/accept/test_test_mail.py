"""Our test mail, judged by the standard library and by our own submission."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from postroom import __version__
from postroom.accept.submission import Intake
from postroom.accept.test_mail import compose_test_mail
from postroom.clock import ManualClock
from postroom.message import Reception
from tests.unit.accept.fake_store import SCANNER, FakeStore


def compose(recipient: str = "admin@contoso.example", instance_name: str = "Postroom Düsseldorf") -> bytes:
    return compose_test_mail(
        sender="scanner@contoso.example",
        sender_name="Büro <b>@</b>\r\nBcc: x@y.example",
        recipient=recipient,
        instance_name=instance_name,
        host_name="relay.example",
        mail_server="smtp.office365.com:587",
        username="robot@contoso.example",
        code_word="K7QF",
        now_us=1_790_000_000_000_000,
    )


def read(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_it_says_what_sent_it_in_text_and_html() -> None:
    message = read(compose())
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        for fact in (
            "K7QF",
            __version__,
            "Postroom Düsseldorf",
            "relay.example",
            "smtp.office365.com:587",
            "scanner@contoso.example, signed in as robot@contoso.example",
            "Mon, 21 Sep 2026 14:13:20 +0000",
        ):
            assert fact in part.get_content(), (kind, fact)
    assert message["Subject"] == "Postroom Düsseldorf: test mail K7QF"
    assert message["Auto-Submitted"] == "auto-generated"


def test_it_is_ascii_with_crlf_only_and_no_pictures() -> None:
    content = compose()
    assert content.isascii()
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    assert b"<img" not in content


def test_a_name_can_neither_add_a_header_nor_look_like_an_address() -> None:
    message = read(compose())
    assert message["Bcc"] is None
    assert message["From"].addresses[0].addr_spec == "scanner@contoso.example"
    assert "@" not in message["From"].addresses[0].display_name


def test_words_of_people_are_no_markup() -> None:
    part = read(compose(instance_name="<script>alert(1)</script>")).get_body(("html",))
    assert part is not None
    assert "<script>" not in part.get_content()


@pytest.mark.anyio
@pytest.mark.parametrize("recipient", ["admin@contoso.example", "jürgen@müller.example"])
async def test_a_submission_takes_it(recipient: str) -> None:
    store = FakeStore()
    intake = Intake(store.as_store(), ManualClock(), "relay.example", 1_000_000)
    submission = await intake.open(SCANNER, "scanner@contoso.example", Reception(way="test mail"), needs_smtputf8=True)
    await submission.add_recipient(recipient)
    await submission.write(compose(recipient))
    await submission.commit()
    [kept] = store.outbox.kept
    assert kept.subject == "Postroom Düsseldorf: test mail K7QF"
    assert kept.header_from == "scanner@contoso.example"
    assert kept.needs_smtputf8 == (not recipient.isascii())
    assert [repair[:16] for repair in kept.repairs] == ["Added Message-ID"]
