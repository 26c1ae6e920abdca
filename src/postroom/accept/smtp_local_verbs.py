"""What only programs of this machine may ask, on its Unix socket: `mailq` and `sendmail -q`."""

from collections.abc import Awaitable, Callable

from postroom.accept.local import QueueDesk
from postroom.accept.local_users import LocalUser
from postroom.accept.smtp_session import SmtpSession
from postroom.wire.answers import format_answer
from postroom.wire.local_verbs import FLUSH_VERB, QUEUE_VERB

Answer = Callable[[str], Awaitable[None]]
"""Of a command: it is handed what stands behind the verb."""


def local_answers(session: SmtpSession, desk: QueueDesk, user: LocalUser) -> dict[str, Answer]:
    """By verb."""

    async def answer_queue(argument: str) -> None:
        *lines, last = await desk.list(user)
        session.say("".join([*(f"250-{line}\r\n" for line in lines), f"250 {last}\r\n"]).encode())

    async def answer_flush(argument: str) -> None:
        session.say(format_answer(250, "2.0.0", await desk.flush(user, argument)))

    return {QUEUE_VERB: answer_queue, FLUSH_VERB: answer_flush}
