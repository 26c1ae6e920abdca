"""Notices, read by Python's own parser: words for people, fields for programs, and who gets them."""

from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.clock import DAY_US
from postroom.deliver.notice_desk import NoticeDesk, whom_to_tell
from postroom.deliver.notices import NoticeFrom, compose_notice
from postroom.errors import Refusal, RefusalReply
from postroom.message import DsnRequest, RecipientDsn, RecipientState
from postroom.outcome import Failure, FailureClass
from postroom.store.notices_due import DELAY, FAILURE, NoticeDue
from postroom.store.records import App, RecipientRow, StoredBody
from postroom.store.sending_settings import SendingSettings
from tests.unit.deliver.scripted_server import a_mail_server

OURS = NoticeFrom("relay.contoso.example", "Postroom", "noreply@contoso.example")
AT_US = 1_790_000_000_000_000
NO_SUCH_USER = Failure(
    FailureClass.RECIPIENT, "recipient_unknown", "5.1.10 Recipient not found", "recipient_unknown", 550, "5.1.10",
    server="smtp.office365.com:587",
)  # fmt: skip
HEAD = b"From: tickets@contoso.example\r\nSubject: Ticket 7\r\nX-Odd: \xff\r\n\r\nHello\r\n"


def a_recipient(address: str = "bob@fabrikam.example", failure: Failure | None = NO_SUCH_USER) -> RecipientRow:
    return RecipientRow(address, RecipientState.FAILED, AT_US, None, failure, None)


def a_notice(**changes: Any) -> NoticeDue:
    known: dict[str, Any] = {
        "notice_id": 5,
        "kind": FAILURE,
        "message_id": 7,
        "envelope_sender": "tickets@contoso.example",
        "header_from": "tickets@contoso.example",
        "subject": "Ticket 7",
        "internet_message_id": "<7@contoso.example>",
        "received_at_us": AT_US - 60_000_000,
        "dsn": DsnRequest(),
        "app": App(app_id=2, name="Ticket system", login="tickets", kind="Web application"),
        "recipients": (a_recipient(),),
        "body": StoredBody(len(HEAD), HEAD),
        "mail_server": "smtp.office365.com:587",
        "lifetime_us": 5 * DAY_US,
        "made_at_us": AT_US,
    }
    return NoticeDue(**(known | changes))


def read(content: bytes) -> tuple[Any, str, list[Message], Any]:
    """The message, its text, the groups of the status, and the third part."""
    message = message_from_bytes(content, policy=default)
    text, status, original = message.iter_parts()
    return message, text.get_content(), list(status.get_payload()), original


def compose(notice: NoticeDue, original: bytes = HEAD) -> bytes:
    return compose_notice(notice, original, "tickets@contoso.example", OURS)


def test_a_failure_is_a_report_that_programs_and_people_can_read() -> None:
    message, text, (of_message, of_bob), original = read(compose(a_notice()))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert (message["From"], message["To"]) == ("Postroom <noreply@contoso.example>", "tickets@contoso.example")
    assert message["Subject"] == "Could not be sent: Ticket 7"
    assert message["In-Reply-To"] == "<7@contoso.example>"
    assert of_message["Reporting-MTA"] == "dns; relay.contoso.example"
    assert dict(of_bob.items()) == {
        "Final-Recipient": "rfc822; bob@fabrikam.example",
        "Action": "failed",
        "Status": "5.1.10",
        "Remote-MTA": "dns; smtp.office365.com",
        "Diagnostic-Code": "smtp; 550 5.1.10 5.1.10 Recipient not found",
        "Last-Attempt-Date": of_bob["Last-Attempt-Date"],
    }
    assert "For bob@fabrikam.example:" in text
    assert "What the mail server said: 5.1.10 Recipient not found" in text
    assert "Who can do it:" in text
    assert original.get_content_type() == "text/rfc822-headers"
    assert b"Subject: Ticket 7" in original.get_payload(decode=True)
    assert b"Hello" not in original.get_payload(decode=True)


def test_the_whole_message_comes_back_where_it_was_asked_for() -> None:
    whole = HEAD.replace(b"\xff", b"y")
    notice = a_notice(dsn=DsnRequest("FULL"), body=StoredBody(len(whole), whole))
    original = read(compose(notice, whole))[3]
    assert original.get_content_type() == "message/rfc822"
    assert original.get_payload()[0].get_payload() == "Hello\r\n"


def test_what_the_sender_said_of_its_recipients_comes_back() -> None:
    wishes = DsnRequest("HDRS", "QQ314159", {"bob@fabrikam.example": RecipientDsn((), "rfc822;Bob@old.example")})
    _, _, (of_message, of_bob), _ = read(compose(a_notice(dsn=wishes)))
    assert of_message["Original-Envelope-Id"] == "QQ314159"
    assert of_bob["Original-Recipient"] == "rfc822;Bob@old.example"


def test_a_delay_promises_nothing_and_asks_for_nothing() -> None:
    busy = Failure(FailureClass.THROTTLE, "server_busy", "4.7.500 Server busy", "server_busy", 451, "4.7.500")
    message, text, (_, of_bob), _ = read(compose(a_notice(kind=DELAY, recipients=(a_recipient(failure=busy),))))
    assert message["Subject"] == "Not sent yet: Ticket 7"
    assert (of_bob["Action"], of_bob["Status"]) == ("delayed", "4.7.500")
    assert "It is tried again by itself, for 5 days in all." in text
    assert "Who can do it" not in text


def test_recipients_with_the_same_trouble_are_told_of_together() -> None:
    other = msgspec.structs.replace(NO_SUCH_USER, text="5.7.1 No")
    recipients = (a_recipient("a@x.example"), a_recipient("b@x.example", other), a_recipient("c@x.example"))
    text = read(compose(a_notice(recipients=recipients)))[1]
    assert "For a@x.example, c@x.example:" in text
    assert "For b@x.example:" in text


@given(st.text(max_size=60), st.text(max_size=60), st.binary(max_size=80))
def test_no_words_of_strangers_break_a_notice(subject: str, said: str, original: bytes) -> None:
    failure = msgspec.structs.replace(NO_SUCH_USER, text=said)
    notice = a_notice(
        subject=subject, header_from=subject, internet_message_id=subject, recipients=(a_recipient(failure=failure),)
    )
    content = compose_notice(notice, original, "ops@contoso.example", OURS)
    message, _, groups, _ = read(content)
    assert len(groups) == 2
    assert message.get_all("To") == ["ops@contoso.example"]
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")


@pytest.mark.parametrize(
    ("notices_to", "kind", "sender", "told"),
    [
        ("", "Web application", "tickets@contoso.example", "tickets@contoso.example"),
        ("", "Printer or scanner", "tickets@contoso.example", "ops@contoso.example"),
        ("", "Backup or storage", "tickets@contoso.example", "ops@contoso.example"),
        ("", "Script", "noreply@example.test", "ops@contoso.example"),
        ("sender", "Printer or scanner", "tickets@contoso.example", "tickets@contoso.example"),
        ("administrator", "Script", "tickets@contoso.example", "ops@contoso.example"),
        ("nobody", "Script", "tickets@contoso.example", None),
    ],
)
def test_who_is_told(notices_to: str, kind: str, sender: str, told: str | None) -> None:
    app = App(app_id=2, name="x", login="x", kind=kind, notices_to=notices_to)
    assert whom_to_tell(a_notice(app=app, envelope_sender=sender), a_mail_server(), "ops@contoso.example") == told


def test_without_an_administrator_the_test_address_is_told() -> None:
    app = App(app_id=2, name="x", login="x", notices_to="administrator")
    assert whom_to_tell(a_notice(app=app), a_mail_server(), "") == "a@example.test"


class FakeStore:
    """Due notices, and what became of them."""

    def __init__(self, *due: NoticeDue) -> None:
        self._due = list(due)
        self.told: list[tuple[int, str]] = []
        self.notices_due = self.sending_settings = self.mail_servers = self.bodies = self

    async def plan_delays(self) -> int:
        return 0

    async def due(self, limit: int = 20) -> list[NoticeDue]:
        return list(self._due)

    async def done(self, notice: NoticeDue, text: str) -> None:
        self._due.remove(notice)
        self.told.append((notice.notice_id, text))

    async def load(self) -> SendingSettings:
        return SendingSettings()

    async def default(self) -> Any:
        return a_mail_server()

    async def read(self, body: StoredBody) -> Any:
        yield body.content


@pytest.mark.anyio
async def test_a_notice_is_handed_in_and_the_timeline_says_so() -> None:
    store, handed = FakeStore(a_notice()), []

    async def submit(notice_id: int, recipient: str, content: bytes) -> int:
        handed.append((notice_id, recipient, content))
        return 9

    assert await NoticeDesk(store, submit, "relay.example", "Postroom").make_due() == 1
    assert [(number, to) for number, to, _ in handed] == [(5, "tickets@contoso.example")]
    assert store.told == [(5, "Told tickets@contoso.example that it failed, by message 0000000000009.")]


@pytest.mark.anyio
@pytest.mark.parametrize("is_temporary", [True, False])
async def test_a_notice_that_is_not_taken_is_tried_again_or_told_as_refused(is_temporary: bool) -> None:
    store = FakeStore(a_notice())
    code = 452 if is_temporary else 550

    async def submit(notice_id: int, recipient: str, content: bytes) -> int:
        raise Refusal(RefusalReply(code, "4.3.1", "Not now", "storage_full", 507, "storage_full"))

    desk = NoticeDesk(store, submit, "relay.example", "Postroom")
    if is_temporary:
        with pytest.raises(Refusal):
            await desk.make_due()
        assert len(await store.due()) == 1
    else:
        await desk.make_due()
        assert store.told == [(5, "tickets@contoso.example could not be told that it failed: Not now")]
