"""From a draft to the disk, and what is answered: shared by every form in which a message may come."""

import hashlib

import msgspec

from postroom.accept.composer import compose_message
from postroom.accept.message_fields import Attachment
from postroom.accept.submission import Submission
from postroom.api.drafting import Draft, draft_message
from postroom.api.problems import ApiError, invalid
from postroom.api.room import Call, message_id_text
from postroom.api.shapes import AcceptedMessage, Links, NewMessage, Recipient, time_of
from postroom.errors import Refusal
from postroom.message import Reception, RecipientState
from postroom.store.records import App, IdempotencyKey


class Accepted(msgspec.Struct, frozen=True):
    """What was taken, now or when the same request came before."""

    message: AcceptedMessage
    is_replay: bool = False


async def require_app(call: Call) -> App:
    """Whose mail it is: the key's, or the one that the administrator names. ApiError, also while the server stops."""
    if call.room.shutdown.is_set():
        raise ApiError("shutting_down", "Postroom is shutting down.", "Send again in a minute.", retry_after_seconds=30)
    if call.caller.app is not None:
        return call.caller.app
    named = call.asked("app")
    if not named:
        return await call.room.store.apps.of_local_user("root")
    app = await call.room.store.apps.find_by_name(named)
    if app is None:
        raise invalid("app", f"there is no app {named[:80]}")
    return app


def reception_of(call: Call, app: App) -> Reception:
    tls = "TLS" if call.request.url.scheme == "https" else None
    return Reception(
        way="http",
        peer_address=call.caller.address or None,
        login=app.login if call.caller.app is not None else None,
        tls_version=tls,
    )


async def draft_of(
    call: Call,
    app: App,
    asked: NewMessage,
    idempotency: IdempotencyKey | None,
    files: tuple[Attachment, ...] = (),
) -> Draft:
    """ApiError, Refusal."""
    rules = await call.room.intake.rule_book.rules_of(app)
    now_us = call.room.clock.now_us()
    return draft_message(asked, rules, call.room.uploads, now_us, files=files, idempotency=idempotency)


async def open_submission(call: Call, app: App, draft: Draft) -> Submission:
    """With its recipients. Refusal."""
    submission = await call.room.intake.open(
        app,
        draft.envelope_sender,
        reception_of(call, app),
        needs_smtputf8=True,  # whether it really needs that, the submission sees
        options=draft.options,
    )
    try:
        for address in draft.recipients:
            await submission.add_recipient(address, draft.dsn)
    except Refusal:
        await submission.abandon()
        raise
    return submission


async def write_draft(submission: Submission, draft: Draft) -> None:
    """Refusal."""
    for piece in compose_message(draft.fields):
        await submission.write(piece)


async def hand_in(call: Call, app: App, draft: Draft) -> Accepted:
    """The message is on the disk when this returns. Refusal."""
    submission = await open_submission(call, app, draft)
    try:
        await write_draft(submission, draft)
        message_id = await submission.commit()
    finally:
        await submission.abandon()
    if submission.is_replay:
        return Accepted(await accepted_before(call, message_id), is_replay=True)
    return Accepted(accepted_now(submission, draft.options.send_at_us))


def accepted_now(submission: Submission, send_at_us: int | None = None) -> AcceptedMessage:
    at_us = submission.received_at_us
    status = RecipientState.SCHEDULED if send_at_us is not None and send_at_us > at_us else RecipientState.QUEUED
    return _accepted_message(
        submission.message_id, status, submission.internet_message_id, at_us, submission.recipients
    )


def _accepted_message(
    message_id: int, status: RecipientState, internet_message_id: str, at_us: int, recipients: tuple[str, ...]
) -> AcceptedMessage:
    text = message_id_text(message_id)
    return AcceptedMessage(
        id=text,
        status=status,
        message_id=internet_message_id,
        created_at=time_of(at_us),
        recipients=[Recipient(address, status) for address in recipients],
        links=Links(f"/api/v1/messages/{text}"),
    )


# ---- repeated requests ----


def idempotency_of(key: str, asked: NewMessage, item: int = 0) -> IdempotencyKey | None:
    return IdempotencyKey(key, digest_of(asked).digest(), item) if key else None


def digest_of(asked: NewMessage) -> "hashlib._Hash":
    """Over what was asked, not over how it was written: blanks and the order of fields mean nothing."""
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted"))


async def find_replay(call: Call, app: App, idempotency: IdempotencyKey | None) -> AcceptedMessage | None:
    """What the same request was answered before. ApiError when the key was used for another one."""
    kept = await call.room.store.outbox.find_kept(app.app_id, idempotency) if idempotency is not None else None
    if kept is None:
        return None
    if not kept.is_same_request:
        raise reused()
    return await accepted_before(call, kept.message_id)


async def accepted_before(call: Call, message_id: int) -> AcceptedMessage:
    """As it was answered then, whatever became of the message since."""
    detail = await call.room.store.messages.find(message_id)
    if detail is None:
        return _accepted_message(message_id, RecipientState.QUEUED, "", call.room.clock.now_us(), ())
    was_later = detail.send_at_us is not None and detail.send_at_us > detail.row.received_at_us
    return _accepted_message(
        message_id,
        RecipientState.SCHEDULED if was_later else RecipientState.QUEUED,
        detail.internet_message_id,
        detail.row.received_at_us,
        tuple(recipient.address for recipient in detail.recipients),
    )


def reused() -> ApiError:
    return ApiError(
        "idempotency_key_reused",
        "This Idempotency-Key was used for another message.",
        "Use a new key for each message, and the same one only to repeat the same request.",
    )
