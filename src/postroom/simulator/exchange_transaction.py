"""One mail transaction: MAIL, RCPT, then DATA or BDAT, and what the server makes of the message.

Whom a message may come from is judged after its last byte, never at MAIL FROM.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_body import Body, ChunkedBody, DottedBody
from postroom.simulator.exchange_connection import Connection, Reader
from postroom.simulator.exchange_envelope import Malformed, Sender, parse_chunk, parse_mail, parse_rcpt
from postroom.simulator.exchange_sign_in import Admission
from postroom.simulator.exchange_verdict import Verdict
from postroom.simulator.fault_table import Fault
from postroom.simulator.faults import recipient_fault, sender_fault
from postroom.simulator.organisation_settings import MailboxLimits
from postroom.simulator.tenant import Tenant


class Arrival(msgspec.Struct, frozen=True):
    """A message that has arrived whole; `content` is None if it was larger than the limit."""

    admission: Admission
    sender: str
    recipients: tuple[str, ...]
    content: bytes | None


class Judge(Protocol):
    """Decides on a message, stores it if the verdict says so, and knows how slow `slow@` is."""

    @property
    def slow_seconds(self) -> float: ...

    def judge(self, arrival: Arrival) -> Verdict: ...
    def store(self, arrival: Arrival) -> None: ...


class Transactions:
    """The transactions of one connection, one after the other; none begins before `admission` is set.

    `refuse_out_of_turn` answers a command that comes at the wrong time, or before signing in.
    """

    def __init__(
        self,
        connection: Connection,
        tenant: Tenant,
        judge: Judge,
        *,
        read_command: Reader,
        refuse_out_of_turn: Callable[[], None],
    ) -> None:
        self.admission: Admission | None = None
        self._connection = connection
        self._exchange = tenant.exchange
        self._judge = judge
        self._read_command = read_command
        self._refuse_out_of_turn = refuse_out_of_turn
        self._sender: Sender | None = None
        self._recipients: list[str] = []
        self._body: Body | None = None

    def forget(self) -> None:
        """RSET, EHLO, or the end of a message."""
        self._sender = None
        self._recipients = []
        self._body = None

    # The envelope

    def take_mail(self, argument: str) -> None:
        if self.admission is None or self._sender:
            self._refuse_out_of_turn()
            return
        sender = parse_mail(argument)
        if isinstance(sender, Malformed):
            self._connection.refuse(sender.reply)
        elif fault := sender_fault(sender.address):
            self._meet(fault)
        elif refusal := self._find_refusal(sender):
            self._connection.refuse(refusal)
            if refusal == replies.TOO_FAST:
                self._connection.hang_up()
        else:
            self._sender = sender
            self._connection.say(replies.SENDER_OK)

    def _find_refusal(self, sender: Sender) -> str | None:
        if not (sender.address or self._exchange.readings.null_sender_is_accepted):
            return replies.INVALID_SENDER
        if sender.size_bytes > self._limits().message_size_bytes:
            return replies.TOO_LARGE
        return replies.TOO_FAST if self._is_beyond_rate() else None

    def _is_beyond_rate(self) -> bool:
        is_rejected = self.admission is not None and self._exchange.readings.rate_mode == "reject"
        return is_rejected and not self._exchange.submissions.is_within_rate(self._mailbox_id())

    def _mailbox_id(self) -> str:
        return self.admission.mailbox.object_id if self.admission else ""

    def _limits(self) -> MailboxLimits:
        return self._exchange.limits_of(self._mailbox_id()) if self.admission else MailboxLimits()

    def take_rcpt(self, argument: str) -> None:
        if self._sender is None or self._body:
            self._refuse_out_of_turn()
            return
        recipient = parse_rcpt(argument, is_utf8=self._sender.is_utf8)
        if isinstance(recipient, Malformed):
            self._connection.refuse(recipient.reply)
        elif len(self._recipients) >= self._recipient_limit():
            self._connection.refuse(replies.TOO_MANY_RECIPIENTS)
        elif fault := recipient_fault(recipient):
            self._meet(fault)
        else:
            self._recipients.append(recipient)
            self._connection.say(replies.RECIPIENT_OK)

    def _recipient_limit(self) -> int:
        own = self._limits().recipients_per_message
        return self._exchange.limits.recipients_per_message if own is None else own

    def _meet(self, fault: Fault) -> None:
        if fault.effect == "say nothing":
            self._fall_silent()
            return
        self._connection.refuse(fault.reply)
        if fault.hangs_up:
            self._connection.hang_up()

    def _fall_silent(self) -> None:
        self._connection.dialogue.note_event("the server says nothing more")
        self._connection.wait()

    # The message

    def take_data(self, argument: str) -> None:
        is_expected = self._sender and self._recipients and self._body is None
        if argument:
            self._connection.refuse(replies.INVALID_ARGUMENTS)
        elif not is_expected or (self._sender and self._sender.body_type == "BINARYMIME"):
            self._refuse_out_of_turn()
        else:
            self._body = DottedBody(self._limits().message_size_bytes)
            self._connection.reader = partial(self._read_data, self._body)
            self._connection.say(replies.START_INPUT)

    def _read_data(self, body: Body) -> bool:
        if not body.feed(self._connection.input):
            return False
        self._connection.reader = self._read_command
        self._settle(body)
        return True

    def take_bdat(self, argument: str) -> None:
        chunk = parse_chunk(argument)
        if isinstance(chunk, Malformed):
            self._connection.refuse(chunk.reply)
            return
        # The octets come whatever we think of them: a chunk out of turn is read and refused.
        body = self._body if isinstance(self._body, ChunkedBody) else ChunkedBody(self._limits().message_size_bytes)
        self._body = body if self._sender and self._recipients else None
        body.expect(chunk[0])
        self._connection.reader = partial(self._read_chunk, body, *chunk)
        if chunk[0] == 0:
            self._read_chunk(body, *chunk)

    def _read_chunk(self, body: ChunkedBody, size_bytes: int, is_last: bool) -> bool:
        if not body.feed(self._connection.input):
            return False
        self._connection.reader = self._read_command
        if self._body is not body:
            self._refuse_out_of_turn()
        elif is_last:
            self._settle(body)
        else:
            self._connection.say(replies.chunk_received(size_bytes))
        return True

    def _settle(self, body: Body) -> None:
        """Answer a message that has arrived whole, and end its transaction."""
        assert self.admission is not None
        assert self._sender is not None
        arrival = Arrival(self.admission, self._sender.address, tuple(self._recipients), body.content())
        self.forget()
        dialogue = self._connection.dialogue
        dialogue.note_event(f"a message of {len(arrival.content or b'')} octets")
        verdict = self._judge.judge(arrival)
        if verdict.reply:
            dialogue.note_server(verdict.reply)
        elif verdict.hangs_up:
            dialogue.note_event("the connection breaks without an answer")
        if verdict.is_stored:
            self._judge.store(arrival)
        self._act_on(verdict)

    def _act_on(self, verdict: Verdict) -> None:
        if verdict.is_delayed:
            self._connection.wait()
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._judge.slow_seconds, self._answer_late, verdict)
            self._connection.ended.add_done_callback(lambda _: timer.cancel())
        elif verdict.reply or verdict.hangs_up:
            self._answer(verdict)
        else:
            self._fall_silent()

    def _answer(self, verdict: Verdict) -> None:
        if verdict.reply:
            self._connection.write(verdict.reply)
        else:
            self._connection.abort()
        if verdict.hangs_up:
            self._connection.hang_up()

    def _answer_late(self, verdict: Verdict) -> None:
        self._connection.reader = self._read_command
        self._answer(verdict)
        self._connection.advance()
