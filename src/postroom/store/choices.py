"""After a long stop: old mail is set aside, and a person chooses what of it is still sent.

What a mailbox could not send for more than an hour may be stale: alarms that are over, reports that came another way.
When a person brings the mailbox back, or we start after a long absence, such mail leaves the claim's index before
anything can be sent. New mail and the high lane go on; what Microsoft or the network brings back by itself drains.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

import msgspec

from postroom.clock import HOUR_US, MICROSECONDS
from postroom.errors import StoreFullError, StoreUnavailableError, WrongStateError
from postroom.store.audit import note
from postroom.store.database import Connection, Row, to_json
from postroom.store.reader import Reader
from postroom.store.rows import ready_us
from postroom.store.settling import restage, summarise
from postroom.store.timeline import add_entries
from postroom.store.turns import queue_again
from postroom.store.writer import Writer

LONG_STOP_US = HOUR_US
"""A stop that is longer asks; and only what has waited longer is asked about."""
LONG_ABSENCE_US = 6 * HOUR_US
"""Between the last heartbeat and a start: a machine that was off, or a snapshot that was restored."""
BATCH = 500
"""Deliveries a transaction, so that nobody's mail waits long for the writer."""
TRIED_AGAIN_SECONDS = 10

Answered = TypeVar("Answered")


class ChosenMail(StrEnum):
    ALL = "all"
    NEWER = "newer"
    APPS = "apps"
    NONE = "none"


class ChoiceAnswer(msgspec.Struct, frozen=True):
    """What is sent; the rest is held, from where a person releases or cancels it."""

    send: ChosenMail
    newer_than_us: int | None = None
    """With `newer`: what was received at this time or later."""
    apps: tuple[int, ...] = ()
    """With `apps`: theirs."""

    def lets_go(self, app_id: int, received_at_us: int) -> bool:
        if self.send is ChosenMail.NEWER:
            return received_at_us >= (self.newer_than_us or 0)
        return self.send is ChosenMail.ALL or (self.send is ChosenMail.APPS and app_id in self.apps)

    def trouble(self) -> str:
        """A sentence when it is incomplete; empty when it can be carried out."""
        if self.send is ChosenMail.NEWER and self.newer_than_us is None:
            return "Say from which time on mail is sent."
        if self.send is ChosenMail.APPS and not self.apps:
            return "Choose at least one app, or hold everything."
        return ""


class AppShare(msgspec.Struct, frozen=True):
    """What was set aside of one app."""

    app_id: int
    name: str
    messages: int
    oldest_us: int
    newest_us: int


class Choice(msgspec.Struct, frozen=True):
    """A question that is open."""

    choice_id: int
    username: str
    asked_at_us: int
    messages: int


class Choices:
    """The open questions, and their answers."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader
        self._work: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def open(self) -> list[Choice]:
        """Of which something still waits, oldest first."""
        return [
            Choice(row["choice_id"], row["username"], row["asked_at_us"], row["messages"])
            for row in await self._reader.read(lambda connection: connection.rows("open_choices"))
        ]

    async def by_app(self, choice_id: int) -> list[AppShare]:
        """What was set aside, the app with the most first."""
        rows = await self._reader.read(lambda connection: connection.rows("set_aside_by_app", choice_id=choice_id))
        return [AppShare(*(row[name] for name in AppShare.__struct_fields__)) for row in rows]

    async def answer(self, choice_id: int, answer: ChoiceAnswer, who: str, from_address: str = "") -> None:
        """Decide once, then carry it out. Errors: LookupError, ValueError; WrongStateError when it was answered."""
        if trouble := answer.trouble():
            raise ValueError(trouble)
        await self._writer.run(lambda c: _decide(c, choice_id, answer, who, from_address))
        # Who does not wait for the end of it does not stop it.
        await asyncio.shield(self._begin_work())

    async def go_on(self) -> None:
        """At start: what an earlier boot did not get done goes on, while everybody is served."""
        if await self._reader.read(lambda connection: connection.row("choice_to_carry_out")) is not None:
            self._begin_work()

    def _begin_work(self) -> "asyncio.Task[None]":
        work = asyncio.get_running_loop().create_task(self._carry_out())
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        return work

    async def _carry_out(self) -> None:
        """What was decided, batch by batch; a disk that refuses is waited for."""
        while not self._is_stopping:
            try:
                if not await self._writer.run(carry_out_batch, wakes=True):
                    return
            except (StoreFullError, StoreUnavailableError):
                await asyncio.sleep(TRIED_AGAIN_SECONDS)

    async def stop(self) -> None:
        """The next start goes on."""
        self._is_stopping = True
        for work in self._work:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)


async def run_after_setting_aside(
    writer: Writer, find_mailbox: Callable[[Connection], int | None], step: Callable[[Connection], Answered]
) -> Answered:
    """`step` brings a mailbox back: what is stale is set aside first, in batches while nothing leaves yet."""

    def try_step(connection: Connection) -> list[Answered]:
        mailbox_id = find_mailbox(connection)
        if mailbox_id is not None and not _set_aside_after_stop(connection, mailbox_id):
            return []
        return [step(connection)]

    while not (done := await writer.run(try_step, wakes=True)):
        pass
    return done[0]


def set_aside_after_absence(connection: Connection) -> None:
    """At start, before anybody is served: all that waits, for every mailbox."""
    for mailbox in connection.rows("mailboxes"):
        ways = connection.rows("ways_of_mailbox", mailbox_id=mailbox["mailbox_id"])
        while not _set_aside(connection, mailbox, [way["mail_server_id"] for way in ways]):
            pass


def _set_aside_after_stop(connection: Connection, mailbox_id: int) -> bool:
    """One batch; True when nothing more is to be set aside."""
    mailbox = connection.only_row("mailbox", mailbox_id=mailbox_id)
    oldest_us = connection.now_us - LONG_STOP_US
    is_silent = mailbox["ready_since_us"] is None and (mailbox["silent_since_us"] or 0) <= oldest_us
    ways = [
        way["mail_server_id"]
        for way in connection.rows("ways_of_mailbox", mailbox_id=mailbox_id)
        if is_silent or (way["since_us"] is not None and way["since_us"] <= oldest_us)
    ]
    return _set_aside(connection, mailbox, ways)


def _set_aside(connection: Connection, mailbox: Row, ways: Sequence[int]) -> bool:
    left = BATCH
    for way in ways:
        for stage in ("due", "waiting"):
            asked = {"mail_server_id": way, "stage": stage, "before_us": connection.now_us - LONG_STOP_US}
            rows = connection.rows("old_waiting", **asked, limit=left)
            if rows:
                deliveries = to_json([row["delivery_id"] for row in rows])
                connection.change("set_aside", deliveries=deliveries, choice_id=_find_or_ask(connection, mailbox))
            left -= len(rows)
            if left <= 0:
                return False
    return True


def _find_or_ask(connection: Connection, mailbox: Row) -> int:
    mailbox_id = mailbox["mailbox_id"]
    known = connection.row("open_choice_of_mailbox", mailbox_id=mailbox_id)
    if known is not None:
        found: int = known["choice_id"]
        return found
    choice_id = connection.ids.make_id()
    clock_us = ready_us(mailbox, connection.now_us)
    connection.change(
        "ask_choice", choice_id=choice_id, mailbox_id=mailbox_id, now_us=connection.now_us, ready_us=clock_us
    )
    return choice_id


def _decide(connection: Connection, choice_id: int, answer: ChoiceAnswer, who: str, from_address: str) -> None:
    row = connection.row("choice", choice_id=choice_id)
    if row is None:
        raise LookupError("There is no such choice.")
    if row["answered_at_us"] is not None:
        raise WrongStateError(f"{row['who']} has chosen already: {_words(_answer_of(row))}. Nothing was changed.")
    connection.change(
        "answer_choice",
        choice_id=choice_id,
        answer=answer.send,
        newer_than_us=answer.newer_than_us if answer.send is ChosenMail.NEWER else None,
        apps=to_json(answer.apps),
        who=who,
        now_us=connection.now_us,
    )
    note(connection, who, "chose after a long stop", row["username"], from_address=from_address, after=_words(answer))


def carry_out_batch(connection: Connection) -> bool:
    """One batch of the oldest answer; False when there is nothing left to do."""
    choice = connection.row("choice_to_carry_out")
    if choice is None:
        return False
    rows = connection.rows("next_set_aside", choice_id=choice["choice_id"], limit=BATCH)
    if rows:
        _carry_out(connection, choice, rows)
    if len(rows) < BATCH:
        connection.change("end_choice", choice_id=choice["choice_id"], now_us=connection.now_us)
    return True


def _carry_out(connection: Connection, choice: Row, rows: Sequence[Row]) -> None:
    answer = _answer_of(choice)
    goes = [row for row in rows if answer.lets_go(row["app_id"], row["received_at_us"])]
    stays = [row for row in rows if not answer.lets_go(row["app_id"], row["received_at_us"])]
    deliveries = [row["delivery_id"] for row in rows]
    waited_us = max(0, ready_us(choice, connection.now_us) - choice["ready_us_at_asking"])
    connection.change("end_set_aside", deliveries=to_json(deliveries), waited_us=waited_us)
    held = [row["message_id"] for row in stays]
    connection.change("hold_set_aside", messages=to_json(held), now_us=connection.now_us)
    restage(connection, deliveries)
    queue_again(connection, [row["delivery_id"] for row in goes])
    summarise(connection, held)
    why = f"after a long stop the choice was: {_words(answer)}."
    entries = [(row["message_id"], "released", f"Goes on: {why}", choice["who"]) for row in goes]
    entries += [(row["message_id"], "held", f"Held: {why}", choice["who"]) for row in stays]
    add_entries(connection, entries)


def _answer_of(row: Row) -> ChoiceAnswer:
    apps = msgspec.json.decode(row["apps"], type=tuple[int, ...])
    return ChoiceAnswer(ChosenMail(row["answer"]), row["newer_than_us"], apps)


def _words(answer: ChoiceAnswer) -> str:
    """What was chosen, for audit and timeline."""
    if answer.send is ChosenMail.NEWER:
        return f"send what is newer than {_utc(answer.newer_than_us or 0)}"
    if answer.send is ChosenMail.APPS:
        return f"send the mail of {len(answer.apps)} chosen app{'' if len(answer.apps) == 1 else 's'}"
    return "send all" if answer.send is ChosenMail.ALL else "hold all"


def _utc(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M UTC")
