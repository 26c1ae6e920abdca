"""`mailq`: what waits, in the form that people and scripts know from Postfix; and the order to try it again."""

import time
from collections.abc import Iterator
from typing import TextIO, TypedDict

from postroom.cli.sendmail_dialogue import Dialogue, raise_for
from postroom.wire.local_verbs import FLUSH_VERB, QUEUE_VERB

HEAD = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"
_SIGNS = {"sending": "*", "held": "!"}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Waiting(TypedDict):
    """A message that waits, as the server tells it."""

    id: str
    state: str
    size_bytes: int
    received_at: int
    """Seconds since 1970, as all times here."""
    sender: str
    recipients: list[tuple[str, str, int | None]]
    """Address, why it waits, and when it is tried again."""


def print_queue(dialogue: Dialogue, output: TextIO) -> None:
    """SendmailError when the server does not tell."""
    import json

    # The first line says how many there are, for people who ask by hand.
    messages: list[Waiting] = [json.loads(line) for line in dialogue.ask_for_lines(QUEUE_VERB)[1:]]
    for line in format_queue(messages):
        print(line, file=output)


def flush_queue(dialogue: Dialogue, only: str, output: TextIO, *, is_verbose: bool) -> None:
    """Have what was put off tried again now, or what `only` names: a message's id, or a site."""
    reply = dialogue.ask(f"{FLUSH_VERB} {only}".strip())
    if not reply.is_good:
        raise_for(reply)
    if is_verbose:
        print(reply.text, file=output)


def format_queue(messages: list[Waiting]) -> Iterator[str]:
    """In the machine's time."""
    if not messages:
        yield "Mail queue is empty"
        return
    yield HEAD
    for message in messages:
        yield from _format_message(message)
    kilobytes = (sum(message["size_bytes"] for message in messages) + 1023) // 1024
    yield f"-- {kilobytes} Kbytes in {len(messages)} Request{'' if len(messages) == 1 else 's'}."


def _format_message(message: Waiting) -> Iterator[str]:
    sign = _SIGNS.get(message["state"], " ")
    start = f"{message['id']}{sign} {message['size_bytes']:>5} {_format_time(message['received_at'])}"
    yield f"{start}  {_printable(message['sender'] or 'MAILER-DAEMON')}"
    said = ""
    for address, why, next_at in message["recipients"]:
        reason = _format_reason(why, next_at)
        if reason != said and reason:
            yield f"           ({reason})"
        said = reason
        yield f"{'':42}{_printable(address)}"
    yield ""


def _format_reason(why: str, next_at: int | None) -> str:
    when = f"next try {_format_next(next_at)}" if next_at is not None else ""
    return "; ".join(filter(None, (_printable(why), when)))


def _format_next(at: int) -> str:
    """The time of day, with its date when that is another day."""
    then = time.localtime(at)
    return time.strftime("%H:%M:%S", then) if then[:3] == time.localtime()[:3] else _format_time(at)


def _format_time(at: int) -> str:
    """As `date` prints it in English, whatever the language of who asks."""
    then = time.localtime(at)
    day, month = _DAYS[then.tm_wday], _MONTHS[then.tm_mon - 1]
    return f"{day} {month} {then.tm_mday:2} {then.tm_hour:02}:{then.tm_min:02}:{then.tm_sec:02}"


def _printable(text: str) -> str:
    """What came from outside cannot act in a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
