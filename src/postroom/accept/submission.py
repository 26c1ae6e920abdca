"""The one door in: every message, however it comes, is handed in through a `Submission`.

Open it for a sender, add recipients, write the bytes, commit. Each step may raise `Refusal`, so that what cannot be
taken is known before a body exists. What `commit` returned is on the disk; what was never committed leaves no row.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from postroom.accept import policy, refusals
from postroom.accept.head import HEAD_LIMIT_BYTES, HeadError, find_head_end, read_head
from postroom.accept.repair import HeadFacts, format_received, own_comment, read_facts, repair_head
from postroom.accept.sender_book import SenderBook
from postroom.clock import Clock
from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.message import Reception
from postroom.store import Store
from postroom.store.records import App, NewMessage, StoredBody
from postroom.wire.lines import LineError, LineScanner


@contextmanager
def _storage_trouble_refused() -> Iterator[None]:
    """Both are temporary: the client sends again."""
    try:
        yield
    except StoreFullError:
        raise refusals.storage_full() from None
    except StoreUnavailableError:
        raise refusals.storage_unavailable() from None


class Intake:
    """Opens submissions; holds what is the same for all of them."""

    def __init__(self, store: Store, clock: Clock, host_name: str, size_limit_bytes: int) -> None:
        self.store = store
        self.clock = clock
        self.host_name = host_name
        """In our Received fields and in the Message-IDs that we add."""
        self.size_limit_bytes = size_limit_bytes
        self.sender_book = SenderBook(store, clock)

    async def open(
        self,
        app: App,
        sender: str,
        reception: Reception,
        *,
        size_bytes: int | None = None,
        is_eight_bit: bool = False,
        needs_smtputf8: bool = False,
    ) -> "Submission":
        """Begin a message from `sender`; the empty string is the null sender.

        `size_bytes` is what the client announced. `needs_smtputf8` says that it knows of addresses and headers in
        UTF-8 (RFC 6531); the message is kept as needing that only if it really has some. Refusal: sender not allowed
        or no address, too large, store full, no mail server yet.
        """
        if size_bytes is not None and size_bytes > self.size_limit_bytes:
            raise refusals.message_too_large(self.size_limit_bytes, size_bytes)
        with _storage_trouble_refused():
            await self.sender_book.hold(app, lambda rules: policy.check_envelope_sender(rules, sender))
            has_room = await self.store.outbox.has_room()
        if not sender.isascii() and not needs_smtputf8:
            raise refusals.smtputf8_missing(sender)
        if not has_room:
            raise refusals.storage_full()
        return Submission(self, app, sender, reception, is_eight_bit, needs_smtputf8)


class Submission:
    """One message on its way in. After a `Refusal` from `write` or `commit` only `abandon` makes sense."""

    def __init__(
        self,
        intake: Intake,
        app: App,
        sender: str,
        reception: Reception,
        is_eight_bit: bool,
        uses_smtputf8: bool,
    ) -> None:
        self._intake = intake
        self._app = app
        self._sender = sender
        self._reception = reception
        self._is_eight_bit = is_eight_bit
        self._uses_smtputf8 = uses_smtputf8
        self._recipients: dict[str, None] = {}
        self._message_id = intake.store.ids.make_id()
        self._writer = intake.store.bodies.spool()
        self._lines = LineScanner()
        self._size_bytes = 0
        self._head: bytearray | None = bytearray()
        self._has_eight_bit_head = False
        self._header_from = self._subject = self._internet_message_id = ""
        self._repairs: tuple[str, ...] = ()
        self._is_kept = False

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(self._recipients)

    async def add_recipient(self, address: str) -> None:
        """One address of the envelope; the same one twice is one recipient. Refusal: no address, too many."""
        policy.check_recipient(address)
        if not address.isascii() and not self._uses_smtputf8:
            raise refusals.smtputf8_missing(address)
        if address in self._recipients:
            return
        if len(self._recipients) >= policy.RECIPIENT_LIMIT:
            raise refusals.too_many_recipients(policy.RECIPIENT_LIMIT)
        self._recipients[address] = None

    async def write(self, chunk: bytes) -> None:
        """The message's next bytes, unstuffed. Refusal: size, lines, header, sender in the header, store full."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._intake.size_limit_bytes:
            raise refusals.message_too_large(self._intake.size_limit_bytes)
        try:
            self._lines.scan(chunk)
        except LineError as trouble:
            raise refusals.line_not_allowed(trouble.kind, trouble.line) from None
        if self._head is not None:
            await self._write_head(self._head, chunk)
        else:
            await self._keep_bytes(chunk)

    async def commit(self) -> int:
        """The message's id, once it is on the disk. Refusal: as `write`, no recipients, store full or away."""
        if not self._recipients:
            raise refusals.no_recipients()
        await self._end_body()
        with _storage_trouble_refused():
            body = await self._writer.finish()
            await self._intake.store.outbox.keep(self._as_message(body))
            self._is_kept = True
        return self._message_id

    async def abandon(self) -> None:
        """Give the message up; what was written goes. Harmless after a commit, in one, and a second time."""
        if not self._is_kept:
            await self._writer.discard()  # leaves alone what a commit under way may own

    async def _write_head(self, head: bytearray, chunk: bytes) -> None:
        """Hold the head back until it is complete: what we add stands on top."""
        searched = len(head)
        head += chunk
        end = find_head_end(head, searched)
        if (end or len(head)) > HEAD_LIMIT_BYTES:
            raise refusals.head_not_readable(f"it is larger than {HEAD_LIMIT_BYTES // 1024} KiB")
        if end is None:
            return
        await self._finish_head(bytes(head[:end]))
        rest = bytes(head[end:])
        if rest:
            await self._keep_bytes(rest)

    async def _finish_head(self, content: bytes) -> None:
        self._head = None
        try:
            head = read_head(content)
        except HeadError as trouble:
            raise refusals.head_not_readable(str(trouble)) from None
        facts = read_facts(head)
        with _storage_trouble_refused():
            await self._intake.sender_book.hold(self._app, lambda rules: _check_senders(rules, facts))
        host_name = self._intake.host_name
        policy.check_trace(facts.received, own_comment(host_name).encode())
        self._has_eight_bit_head = not content.isascii()
        now_us = self._intake.clock.now_us()
        received = format_received(
            self._reception,
            message_id=self._message_id,
            host_name=host_name,
            now_us=now_us,
            uses_smtputf8=self._uses_smtputf8,
        )
        repaired = repair_head(
            head, facts, message_id=self._message_id, host_name=host_name, now_us=now_us, received=received
        )
        self._header_from = ", ".join(facts.from_addresses)
        self._subject = facts.subject
        self._internet_message_id = repaired.message_id
        self._repairs += repaired.repairs
        await self._keep_bytes(repaired.content)

    async def _end_body(self) -> None:
        """A last line without its end gets one; a head without a body is complete now."""
        try:
            self._lines.finish()
        except LineError as trouble:
            raise refusals.line_not_allowed(trouble.kind, trouble.line) from None
        if self._size_bytes and not self._lines.ends_with_line_end:
            await self.write(b"\r\n")
            self._repairs += ("Ended the last line, which had no CR LF.",)
        if self._head is not None:
            await self._finish_head(bytes(self._head))

    async def _keep_bytes(self, content: bytes) -> None:
        with _storage_trouble_refused():
            await self._writer.write(content)

    def _as_message(self, body: StoredBody) -> NewMessage:
        return NewMessage(
            message_id=self._message_id,
            app_id=self._app.app_id,
            envelope_sender=self._sender,
            recipients=self.recipients,
            header_from=self._header_from,
            subject=self._subject,
            internet_message_id=self._internet_message_id,
            body=body,
            reception=self._reception,
            received_at_us=self._intake.clock.now_us(),
            repairs=self._repairs,
            is_eight_bit=self._is_eight_bit or self._lines.is_eight_bit,
            needs_smtputf8=self._uses_smtputf8 and self._has_letters_beyond_ascii(),
        )

    def _has_letters_beyond_ascii(self) -> bool:
        """An 8-bit header from a client that does not speak SMTPUTF8 goes on as it came, as 8-bit content."""
        return self._has_eight_bit_head or not all(a.isascii() for a in (self._sender, *self._recipients))


def _check_senders(rules: policy.SenderRules, facts: HeadFacts) -> None:
    policy.check_header_senders(rules, facts.from_addresses, facts.sender_addresses)
