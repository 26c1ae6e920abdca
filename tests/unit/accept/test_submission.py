"""The one door in: what each step refuses, and what is kept."""

import msgspec
import pytest

from postroom.accept.policy import RECIPIENT_LIMIT
from postroom.accept.submission import NO_OPTIONS, Intake, Submission, SubmissionOptions, commit_together
from postroom.clock import ManualClock
from postroom.errors import Refusal, StoreFullError, StoreUnavailableError
from postroom.message import DsnRequest, Lane, Reception, RecipientDsn
from postroom.store.records import App, SenderPolicy
from postroom.wire.head import HEAD_LIMIT_BYTES
from tests.unit.accept.fake_store import SCANNER, FakeApps, FakeStore

pytestmark = pytest.mark.anyio

LIMIT = 1024 * 1024
RECEPTION = Reception(way="smtp", peer_address="192.0.2.7", helo="hp")
HEAD = (
    b"From: Scanner <scanner@contoso.example>\r\nTo: bob@fabrikam.example\r\nSubject: Scan\r\n"
    b"Date: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <1@hp>\r\n\r\n"
)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def intake(store: FakeStore, clock: ManualClock) -> Intake:
    return Intake(store.as_store(), clock, "relay.example", LIMIT)


async def begin(intake: Intake, *, needs_smtputf8: bool = False) -> Submission:
    submission = await intake.open(SCANNER, "scanner@contoso.example", RECEPTION, needs_smtputf8=needs_smtputf8)
    await submission.add_recipient("bob@fabrikam.example")
    return submission


async def test_what_was_written_is_kept_byte_for_byte_under_our_received(intake: Intake, store: FakeStore) -> None:
    submission = await begin(intake)
    content = HEAD + b".\r\n\r\nbinary \xff but lines\r\n"
    await submission.write(content)
    message_id = await submission.commit()
    [kept] = store.outbox.kept
    assert kept.message_id == message_id
    assert kept.body.content is not None
    received, rest = kept.body.content.split(b"From:", 1)
    assert received.startswith(b"Received: from hp ([192.0.2.7])\r\n\tby relay.example")
    assert b"From:" + rest == content
    assert (kept.envelope_sender, kept.recipients) == ("scanner@contoso.example", ("bob@fabrikam.example",))
    assert (kept.header_from, kept.subject, kept.internet_message_id) == ("scanner@contoso.example", "Scan", "<1@hp>")
    assert (kept.repairs, kept.is_eight_bit, kept.needs_smtputf8) == ((), True, False)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
async def test_chunks_do_not_matter(intake: Intake, store: FakeStore, size: int) -> None:
    content = HEAD + b"one\r\n\r\ntwo\r\n"
    submission = await begin(intake)
    for start in range(0, len(content), size):
        await submission.write(content[start : start + size])
    await submission.commit()
    body = store.outbox.kept[0].body.content
    assert body is not None
    assert body.endswith(content)


async def test_the_announced_size_is_refused_before_anything_else(intake: Intake) -> None:
    with pytest.raises(Refusal) as caught:
        await intake.open(SCANNER, "scanner@contoso.example", RECEPTION, size_bytes=26 * 1024 * 1024)
    assert (
        caught.value.reply.smtp_reply
        == "552 5.3.4 26 MB is over the limit of 1 MB for one message; make it smaller, or send it in parts"
    )
    assert caught.value.reply.http_status == 413


async def test_a_message_that_grows_too_large_is_refused(intake: Intake) -> None:
    submission = await begin(intake)
    await submission.write(HEAD)
    await submission.write(b"x\r\n" * ((LIMIT - len(HEAD)) // 3))
    with pytest.raises(Refusal, match="over the limit of 1 MB"):
        await submission.write(b"one more\r\n")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"one\r\ntwo\nthree\r\n", "Line 8 of the message ends with LF alone"),
        (b"one\rtwo\r\n", "Line 7 of the message ends or contains a CR without LF"),
        (b"nu\0l\r\n", "Line 7 of the message contains the character NUL"),
        (b"x" * 999 + b"\r\n", "Line 7 of the message is longer than 998 bytes"),
    ],
)
async def test_a_line_that_no_message_may_have_is_named(intake: Intake, body: bytes, reason: str) -> None:
    submission = await begin(intake)
    await submission.write(HEAD)
    with pytest.raises(Refusal, match=reason) as caught:
        await submission.write(body)
    assert caught.value.reply.smtp_reply.startswith("550 5.6.0 ")


async def test_a_last_cr_is_found_at_the_commit(intake: Intake) -> None:
    submission = await begin(intake)
    await submission.write(HEAD + b"end\r")
    with pytest.raises(Refusal, match="CR without LF"):
        await submission.commit()


async def test_a_last_line_without_end_gets_one(intake: Intake, store: FakeStore) -> None:
    submission = await begin(intake)
    await submission.write(HEAD + b"end")
    await submission.commit()
    [kept] = store.outbox.kept
    assert kept.body.content is not None
    assert kept.body.content.endswith(b"end\r\n")
    assert kept.repairs == ("Ended the last line, which had no CR LF.",)


async def test_a_message_may_be_a_head_alone(intake: Intake, store: FakeStore) -> None:
    submission = await begin(intake)
    await submission.write(HEAD[:-2])
    await submission.commit()
    assert store.outbox.kept[0].subject == "Scan"


async def test_a_message_of_nothing_has_no_from(intake: Intake) -> None:
    submission = await begin(intake)
    with pytest.raises(Refusal, match="no From field"):
        await submission.commit()


async def test_a_forged_from_is_refused_and_nothing_is_kept(intake: Intake, store: FakeStore) -> None:
    submission = await begin(intake)
    with pytest.raises(Refusal, match=r"not as boss@contoso.example \(in From\)"):
        await submission.write(HEAD.replace(b"scanner@", b"boss@"))
    await submission.abandon()
    assert store.outbox.kept == []
    assert store.bodies.writers[0].is_discarded


async def test_a_head_without_end_is_refused(intake: Intake) -> None:
    submission = await begin(intake)
    field = b"X-Filler: " + b"x" * 900 + b"\r\n"
    await submission.write(field * (HEAD_LIMIT_BYTES // len(field)))
    with pytest.raises(Refusal, match="larger than 256 KiB"):
        await submission.write(field)


async def test_a_broken_header_is_refused_with_its_line(intake: Intake) -> None:
    submission = await begin(intake)
    with pytest.raises(Refusal, match="header cannot be read: line 2 is no field"):
        await submission.write(b"From: scanner@contoso.example\r\nHello\r\n\r\n")


async def test_too_many_recipients_are_a_temporary_matter(intake: Intake) -> None:
    submission = await begin(intake)
    for number in range(RECIPIENT_LIMIT - 1):
        await submission.add_recipient(f"r{number}@fabrikam.example")
    await submission.add_recipient("bob@fabrikam.example")  # again: one recipient
    with pytest.raises(Refusal) as caught:
        await submission.add_recipient("one.more@fabrikam.example")
    assert caught.value.reply.smtp_reply.startswith(f"452 4.5.3 A message may have {RECIPIENT_LIMIT} recipients")


async def test_no_recipients_no_message(intake: Intake) -> None:
    submission = await intake.open(SCANNER, "scanner@contoso.example", RECEPTION)
    await submission.write(HEAD)
    with pytest.raises(Refusal, match="no recipient that was accepted"):
        await submission.commit()


async def test_letters_beyond_ascii_in_an_address_need_smtputf8(intake: Intake, store: FakeStore) -> None:
    submission = await begin(intake)
    with pytest.raises(Refusal, match="SMTPUTF8 parameter") as caught:
        await submission.add_recipient("jürgen@fabrikam.example")
    assert caught.value.reply.smtp_reply.startswith("553 5.6.7 ")
    submission = await begin(intake, needs_smtputf8=True)
    await submission.add_recipient("jürgen@fabrikam.example")
    await submission.write(HEAD)
    await submission.commit()
    assert store.outbox.kept[0].needs_smtputf8


@pytest.mark.parametrize(
    ("subject", "announces", "needs"), [("Grüße", True, True), ("Grüße", False, False), ("Scan", True, False)]
)
async def test_smtputf8_is_needed_when_it_was_announced_and_is_used(
    intake: Intake, store: FakeStore, subject: str, announces: bool, needs: bool
) -> None:
    submission = await begin(intake, needs_smtputf8=announces)
    await submission.write(HEAD.replace(b"Scan\r\n", subject.encode() + b"\r\n"))
    await submission.commit()
    [kept] = store.outbox.kept
    assert (kept.needs_smtputf8, kept.subject) == (needs, subject)


@pytest.mark.parametrize(
    ("trouble", "reply"),
    [
        (StoreFullError("disk full"), "452 4.3.1 The store of waiting mail is full"),
        (StoreUnavailableError("sync failed"), "451 4.3.0 The message could not be stored now"),
    ],
)
async def test_trouble_with_the_store_is_temporary_and_keeps_nothing(
    intake: Intake, store: FakeStore, trouble: Exception, reply: str
) -> None:
    store.outbox.trouble = trouble
    submission = await begin(intake)
    await submission.write(HEAD)
    with pytest.raises(Refusal) as caught:
        await submission.commit()
    assert caught.value.reply.smtp_reply.startswith(reply)
    await submission.abandon()
    assert store.bodies.writers[0].is_discarded


async def test_a_disk_that_fills_while_the_body_streams_is_a_temporary_matter(intake: Intake, store: FakeStore) -> None:
    submission = await begin(intake)
    await submission.write(HEAD)
    store.bodies.is_full = True
    with pytest.raises(Refusal, match="store of waiting mail is full"):
        await submission.write(b"text\r\n")


async def test_a_full_store_refuses_before_a_body_exists(intake: Intake, store: FakeStore) -> None:
    store.outbox.room = False
    with pytest.raises(Refusal, match="store of waiting mail is full"):
        await begin(intake)


async def test_an_app_that_was_switched_off_sends_nothing_more(
    intake: Intake, store: FakeStore, clock: ManualClock
) -> None:
    await begin(intake)
    store.apps = FakeApps(msgspec.structs.replace(SCANNER, is_enabled=False))
    clock.advance(1)
    with pytest.raises(Refusal, match="switch it on under Apps & devices"):
        await begin(intake)


async def test_a_sender_that_was_allowed_a_moment_ago_is_not_refused(intake: Intake, store: FakeStore) -> None:
    await begin(intake)
    store.apps = FakeApps(msgspec.structs.replace(SCANNER, senders=("new@contoso.example",)))
    await intake.open(SCANNER, "new@contoso.example", RECEPTION)


async def test_what_was_kept_is_not_given_up(intake: Intake, store: FakeStore) -> None:
    submission = await begin(intake)
    await submission.write(HEAD)
    await submission.commit()
    await submission.abandon()
    assert not store.bodies.writers[0].is_discarded


async def test_a_message_that_came_through_here_twice_is_refused(intake: Intake, store: FakeStore) -> None:
    content = HEAD
    for _ in range(2):
        submission = await begin(intake)
        await submission.write(content)
        await submission.commit()
        content = store.outbox.kept[-1].body.content or b""
    submission = await begin(intake)
    with pytest.raises(Refusal, match="through this server twice"):
        await submission.write(content)


LEGACY = msgspec.structs.replace(SCANNER, app_id=8, fixes_lines=True, sender_policy=SenderPolicy.REWRITE)


async def hand_in(
    intake: Intake, content: bytes, *, app: App = SCANNER, sender: str = "scanner@contoso.example", **options: object
) -> Submission:
    submission = await intake.open(
        app, sender, RECEPTION, options=msgspec.convert(options, SubmissionOptions) if options else NO_OPTIONS
    )
    await submission.add_recipient("bob@fabrikam.example")
    await submission.write(content)
    await submission.commit()
    return submission


async def test_a_sender_that_is_not_allowed_is_rewritten_if_the_app_says_so(store: FakeStore, intake: Intake) -> None:
    store.apps = FakeApps(LEGACY)
    content = HEAD.replace(b"scanner@contoso.example", b"root@localhost.localdomain") + b"text\r\n"
    await hand_in(intake, content, app=LEGACY, sender="root@localhost.localdomain")
    [kept] = store.outbox.kept
    assert (kept.envelope_sender, kept.header_from) == ("scanner@contoso.example", "scanner@contoso.example")
    assert kept.body.content is not None
    assert b"X-Original-From: Scanner <root@localhost.localdomain>\r\n" in kept.body.content
    assert any("root@localhost.localdomain" in sentence for sentence in kept.repairs)


async def test_lines_are_put_right_only_for_an_app_that_is_named_for_it(store: FakeStore, intake: Intake) -> None:
    content = HEAD + b"one\ntwo\0\r\n"
    with pytest.raises(Refusal, match="ends with LF alone"):
        await hand_in(intake, content)
    store.apps = FakeApps(LEGACY)
    await hand_in(intake, content, app=LEGACY)
    [kept] = store.outbox.kept
    assert kept.body.content is not None
    assert kept.body.content.endswith(b"one\r\ntwo\r\n")
    assert len(kept.repairs) >= 2


async def test_a_signed_body_is_not_put_right(store: FakeStore, intake: Intake) -> None:
    store.apps = FakeApps(LEGACY)
    signed = HEAD[:-2] + b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
    with pytest.raises(Refusal, match="ends with LF alone"):
        await hand_in(intake, signed + b"--b\r\nContent-Type: text/plain\r\n\r\none\ntwo\r\n", app=LEGACY)
    assert store.outbox.kept == []


async def test_an_apps_own_size_limit_holds(store: FakeStore, intake: Intake) -> None:
    app = msgspec.structs.replace(SCANNER, size_limit_bytes=2048)
    store.apps = FakeApps(app)
    with pytest.raises(Refusal, match="over the limit of 2 KB"):
        await intake.open(app, "scanner@contoso.example", RECEPTION, size_bytes=4096)
    with pytest.raises(Refusal, match="over the limit of 2 KB"):
        await hand_in(intake, HEAD + b"x\r\n" * 1000, app=app)


async def test_what_was_refused_does_not_count_against_the_limit(store: FakeStore, intake: Intake) -> None:
    app = msgspec.structs.replace(SCANNER, message_limit_a_minute=1)
    store.apps = FakeApps(app)
    refused = await intake.open(app, "scanner@contoso.example", RECEPTION)
    with pytest.raises(Refusal, match="a minute"):
        await intake.open(app, "scanner@contoso.example", RECEPTION)
    await refused.abandon()
    await refused.abandon()
    await hand_in(intake, HEAD, app=app)
    with pytest.raises(Refusal, match="a minute"):
        await intake.open(app, "scanner@contoso.example", RECEPTION)


async def test_the_senders_wishes_are_kept(store: FakeStore, intake: Intake) -> None:
    options = SubmissionOptions(Lane.HIGH, 5, 6, ("t",), {"k": "v"}, "HDRS", "QQ")
    submission = await intake.open(SCANNER, "scanner@contoso.example", RECEPTION, options=options)
    await submission.add_recipient("bob@fabrikam.example", RecipientDsn(("NEVER",)))
    await submission.add_recipient("eve@fabrikam.example")
    await submission.write(HEAD)
    await submission.commit()
    [kept] = store.outbox.kept
    assert (kept.lane, kept.send_at_us, kept.expires_at_us, kept.tags, kept.metadata) == (
        *(Lane.HIGH, 5, 6, ("t",)),
        {"k": "v"},
    )
    assert kept.dsn == DsnRequest("HDRS", "QQ", {"bob@fabrikam.example": RecipientDsn(("NEVER",))})


async def test_an_idempotency_key_in_the_header_is_taken_out_and_known_again(store: FakeStore, intake: Intake) -> None:
    def content(date: int, subject: bytes = b"Scan") -> bytes:
        head = HEAD.replace(b"14:13", b"14:%d" % date).replace(b"Scan\r", subject + b"\r")
        return b"X-Idempotency-Key: run-42\r\n" + head

    first = await hand_in(intake, content(13) + b"text\r\n")
    again = await hand_in(intake, content(14) + b"text\r\n")
    assert (first.is_replay, again.is_replay) == (False, True)
    [kept] = store.outbox.kept
    assert kept.body.content is not None
    assert b"run-42" not in kept.body.content
    with pytest.raises(Refusal, match="was used for another message") as caught:
        await hand_in(intake, content(14, b"Other") + b"text\r\n")
    assert (caught.value.reply.code, caught.value.reply.http_status) == ("idempotency_key_reused", 422)


async def test_users_who_share_an_app_cannot_use_up_each_others_keys(store: FakeStore, intake: Intake) -> None:
    for user in ("eve", "bob", "bob"):
        submission = await intake.open(SCANNER, "", Reception(way="sendmail", local_user=user))
        await submission.add_recipient("bob@fabrikam.example")
        await submission.write(b"X-Idempotency-Key: order-7\r\n" + HEAD)
        await submission.commit()
        await submission.abandon()
    keys = [new.idempotency.key for new in store.outbox.kept if new.idempotency is not None]
    assert keys == ["eve order-7", "bob order-7"]


async def test_several_are_kept_together(store: FakeStore, intake: Intake) -> None:
    submissions = [await begin(intake) for _ in range(3)]
    for submission in submissions:
        await submission.write(HEAD)
    await commit_together(intake, submissions)
    for submission in submissions:
        await submission.abandon()
    assert [new.message_id for new in store.outbox.kept] == [submission.message_id for submission in submissions]
    assert not any(writer.is_discarded for writer in store.bodies.writers)


async def test_only_a_user_of_this_machine_may_leave_the_domain_out(store: FakeStore, intake: Intake) -> None:
    local = Reception(way="sendmail", local_user="root")
    submission = await intake.open(SCANNER, "scanner@contoso.example", local)
    await submission.add_recipient("root")
    assert submission.recipients == ("root@contoso.example",)
    submission = await begin(intake)
    with pytest.raises(Refusal, match="not a complete address"):
        await submission.add_recipient("root")


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ("To: BOB@fabrikam.example\r\n", True),
        ("To: Bob <bob@fabrikam.example>\r\nCc: eve@fabrikam.example\r\n", False),
        ("Subject: no recipients named\r\n", True),
        ("To: undisclosed-recipients:;\r\n", True),
        ('To: "not closed <bob@fabrikam.example>\r\n', False),
    ],
)
async def test_whether_the_header_names_only_recipients_is_known(
    intake: Intake, store: FakeStore, fields: str, fits: bool
) -> None:
    submission = await begin(intake)
    await submission.write(f"From: scanner@contoso.example\r\n{fields}\r\nHello\r\n".encode())
    await submission.commit()
    assert store.outbox.kept[-1].names_only_recipients is fits
