"""The one door in: every message, however it comes, is handed in through a `Submission`.

Open it for a sender, add recipients, write the bytes, commit. Each step may raise `Refusal`, so that what cannot be
taken is known before a body exists. What `commit` returned is on the disk; what was never committed leaves no row.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from postroom.accept import policy, refusals
from postroom.accept.app_limits import AppLimits
from postroom.accept.head_facts import HeadFacts, read_facts
from postroom.accept.received import format_received, own_comment
from postroom.accept.repair import RepairPlan, repair_head
from postroom.accept.rule_book import RuleBook
from postroom.clock import Clock
from postroom.errors import AlreadyKeptError, StoreFullError, StoreUnavailableError
from postroom.message import DsnRequest, Lane, Reception, RecipientDsn
from postroom.metrics import Metrics
from postroom.store import Store
from postroom.store.records import App, IdempotencyKey, NewMessage, StoredBody
from postroom.wire.head import HEAD_LIMIT_BYTES, Head, HeadError, find_head_end, read_head
from postroom.wire.line_fixer import LineFixer
from postroom.wire.lines import LineError, LineScanner


class SubmissionOptions(msgspec.Struct, frozen=True):
    """What the sender may ask for besides."""

    lane: Lane = Lane.NORMAL
    send_at_us: int | None = None
    expires_at_us: int | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    dsn_return: str = ""
    """RET of RFC 3461."""
    dsn_envelope_id: str = ""
    """ENVID of RFC 3461."""
    idempotency: IdempotencyKey | None = None
    is_canary: bool = False
    """Our own proof that mail leaves."""
    is_notice: bool = False
    """Our own report about another message."""
    mail_server_id: int | None = None
    """By which mail server it goes, whatever the rules say."""
    lifetime_us: int | None = None
    """How long it may wait while it could be sent; None: as for all."""


NO_OPTIONS = SubmissionOptions()


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

    def __init__(
        self,
        store: Store,
        clock: Clock,
        host_name: str,
        size_limit_bytes: int,
        default_domain: str = "",
        metrics: Metrics | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.host_name = host_name
        """In our Received fields and in the Message-IDs that we add."""
        self.size_limit_bytes = size_limit_bytes
        self.rule_book = RuleBook(store, clock, default_domain)
        self.app_limits = AppLimits(clock, store.apps.use_by_minute)
        self.metrics = metrics or Metrics()

    def size_limit_of(self, app: App) -> int:
        """The largest message that it may hand in, in bytes."""
        return min(self.size_limit_bytes, app.size_limit_bytes or self.size_limit_bytes)

    async def open(
        self,
        app: App,
        sender: str,
        reception: Reception,
        *,
        size_bytes: int | None = None,
        is_eight_bit: bool = False,
        needs_smtputf8: bool = False,
        options: SubmissionOptions = NO_OPTIONS,
        listener: str = "",
    ) -> "Submission":
        """Begin a message from `sender`; the empty string is the null sender.

        `size_bytes` is what the client announced. `needs_smtputf8` says that it knows of addresses and headers in
        UTF-8 (RFC 6531); the message is kept as needing that only if it really has some. `listener` is what monitors
        know the way by, where the reception's way does not say enough. Refusal: sender not allowed or no address, too
        large, a limit of the app's, store full, no mail server yet.
        """
        with _storage_trouble_refused():
            used_sender = await self.rule_book.decide(app, lambda rules: policy.decide_envelope_sender(rules, sender))
            rules = await self.rule_book.rules_of(app)
            has_room = await self.store.outbox.has_room()
        limit_bytes = self.size_limit_of(rules.app)
        if size_bytes is not None and size_bytes > limit_bytes:
            raise refusals.message_too_large(limit_bytes, size_bytes)
        if not sender.isascii() and not needs_smtputf8:
            raise refusals.smtputf8_missing(sender)
        if not has_room:
            raise refusals.storage_full()
        with _storage_trouble_refused():
            await self.app_limits.take(rules.app, reception.local_user or "")
        submission = Submission(
            self, rules, used_sender, reception, is_eight_bit, needs_smtputf8, options, listener or reception.way
        )
        if used_sender != sender:
            submission.note_repair(f"The envelope's sender {sender or '<>'} was replaced by {used_sender}.")
        return submission


class Submission:
    """One message on its way in. After a `Refusal` from `write` or `commit` only `abandon` makes sense."""

    def __init__(
        self,
        intake: Intake,
        rules: policy.AppRules,
        sender: str,
        reception: Reception,
        is_eight_bit: bool,
        uses_smtputf8: bool,
        options: SubmissionOptions,
        listener: str,
    ) -> None:
        self._intake = intake
        self._rules = rules
        self._sender = sender
        self._reception = reception
        self._is_eight_bit = is_eight_bit
        self._uses_smtputf8 = uses_smtputf8
        self._options = options
        self._listener = listener
        self._limit_bytes = intake.size_limit_of(rules.app)
        self._recipients: dict[str, RecipientDsn | None] = {}
        self.message_id = intake.store.ids.make_id()
        self.internet_message_id = ""
        """The Message-ID field, once the head was read."""
        self.received_at_us = 0
        """Once all of it has come."""
        self.is_replay = False
        """Whether the same request was taken before: `commit` then told the earlier message's id."""
        self._writer = intake.store.bodies.spool()
        self._lines = LineScanner()
        self._fixer = LineFixer() if rules.app.fixes_lines else None
        self._size_bytes = 0
        self._head: bytearray | None = bytearray()
        self._has_eight_bit_head = False
        self._header_from = self._subject = ""
        self._names_only_recipients = False
        self._repairs: list[str] = []
        self._is_kept = False
        self._is_abandoned = False

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(self._recipients)

    def note_repair(self, sentence: str) -> None:
        """Tell people what was changed."""
        self._repairs.append(sentence)

    def name_request(self, idempotency: IdempotencyKey) -> None:
        """By which a repeat is known again, where that is known only when all bytes have come."""
        self._options = msgspec.structs.replace(self._options, idempotency=idempotency)

    async def add_recipient(self, address: str, dsn: RecipientDsn | None = None) -> None:
        """One address of the envelope; the same one twice is one recipient.

        Refusal: no address, not one of the app's domains, too many. Only from a user of this machine an address may
        lack its domain: `root` is that of the default domain.
        """
        if self._reception.local_user is not None:
            address = policy.with_domain(address, self._rules.default_domain)
        policy.check_recipient(self._rules, address)
        if not address.isascii() and not self._uses_smtputf8:
            raise refusals.smtputf8_missing(address)
        if address in self._recipients:
            return
        if len(self._recipients) >= policy.RECIPIENT_LIMIT:
            raise refusals.too_many_recipients(policy.RECIPIENT_LIMIT)
        self._recipients[address] = dsn

    async def write(self, chunk: bytes) -> None:
        """The message's next bytes, unstuffed. Refusal: size, lines, header, sender in the header, store full."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._limit_bytes:
            raise refusals.message_too_large(self._limit_bytes)
        if self._fixer is None:
            await self._take(chunk)
        else:
            await self._fix(self._fixer, chunk)

    async def commit(self) -> int:
        """The message's id, once it is on the disk. Refusal: as `write`, no recipients, store full or away."""
        new = await self.complete()
        with _storage_trouble_refused():
            try:
                await self._intake.store.outbox.keep(new)
            except AlreadyKeptError as kept:
                return await self._replay(kept)
            self.note_kept()
        return self.message_id

    async def complete(self) -> NewMessage:
        """The message with its last byte, ready to be kept, for who keeps several together."""
        if not self._recipients:
            raise refusals.no_recipients()
        await self._end_body()
        self.received_at_us = self._intake.clock.now_us()
        with _storage_trouble_refused():
            return self._as_message(await self._writer.finish())

    def note_kept(self) -> None:
        """It is on the disk."""
        self._is_kept = True
        self._intake.metrics.note_received(self._listener, self._rules.app.name)

    async def abandon(self) -> None:
        """Give the message up; what was written goes. Harmless after a commit, in one, and a second time."""
        if self._is_kept or self._is_abandoned:
            return
        self._is_abandoned = True
        self._intake.app_limits.give_back(self._rules.app, self._reception.local_user or "")
        await self._writer.discard()  # leaves alone what a commit under way may own

    async def _replay(self, kept: AlreadyKeptError) -> int:
        await self.abandon()
        if not kept.is_same_request:
            raise refusals.idempotency_key_reused()
        self.is_replay = True
        return kept.message_id

    async def _fix(self, fixer: LineFixer, chunk: bytes) -> None:
        """Piece by piece: what the head says may forbid to change the body."""
        try:
            for piece in fixer.feed(chunk):
                await self._take(piece)
        except LineError as trouble:
            raise refusals.line_not_allowed(trouble.kind, trouble.line, fixer.why_not) from None

    async def _take(self, chunk: bytes) -> None:
        """Bytes whose lines may still be judged, but are not put right any more."""
        try:
            self._lines.scan(chunk)
        except LineError as trouble:
            raise refusals.line_not_allowed(trouble.kind, trouble.line) from None
        if self._head is not None:
            await self._write_head(self._head, chunk)
        else:
            await self._keep_bytes(chunk)

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
        facts = read_facts(head, self._rules.default_domain)
        if self._fixer is not None and facts.why_body_must_stay:
            self._fixer.forbid(facts.why_body_must_stay)
        policy.check_trace(facts.received, own_comment(self._intake.host_name).encode())
        self._has_eight_bit_head = not content.isascii()
        self._subject = facts.subject
        self._name_by_header(facts)
        await self._repair(head, facts, await self._decide_sender(facts))

    async def _decide_sender(self, facts: HeadFacts) -> str:
        def decide(rules: policy.AppRules) -> str:
            return policy.decide_header_sender(rules, facts.from_addresses, facts.sender_addresses)

        with _storage_trouble_refused():
            return await self._intake.rule_book.decide(self._rules.app, decide)

    async def _repair(self, head: Head, facts: HeadFacts, new_sender: str) -> None:
        host_name, now_us = self._intake.host_name, self._intake.clock.now_us()
        received = format_received(
            self._reception,
            message_id=self.message_id,
            host_name=host_name,
            now_us=now_us,
            uses_smtputf8=self._uses_smtputf8,
        )
        plan = RepairPlan(
            message_id=self.message_id,
            host_name=host_name,
            now_us=now_us,
            received=received,
            recipients=self.recipients,
            new_sender=new_sender,
            knows_smtputf8=self._uses_smtputf8,
        )
        repaired = repair_head(head, facts, plan)
        self._header_from = ", ".join(repaired.from_addresses)
        if facts.named_recipients is not None:
            known = {recipient.lower() for recipient in self._recipients}
            self._names_only_recipients = all(address.lower() in known for address in facts.named_recipients)
        self.internet_message_id = repaired.message_id
        self._repairs += repaired.repairs
        await self._keep_bytes(repaired.content)

    def _name_by_header(self, facts: HeadFacts) -> None:
        """An X-Idempotency-Key in the header. What a program sends again has another Date, so only its gist counts."""
        if facts.idempotency_key and self._options.idempotency is None:
            gist = (self._sender, sorted(self._recipients), facts.from_addresses, facts.subject)
            request_hash = hashlib.sha256(repr(gist).encode("utf-8", "surrogatepass")).digest()
            # Users of this machine may share an app: none can use up another's key.
            user = self._reception.local_user
            key = facts.idempotency_key if user is None else f"{user} {facts.idempotency_key}"
            self.name_request(IdempotencyKey(key, request_hash))

    async def _end_body(self) -> None:
        """A last line without its end gets one; a head without a body is complete now."""
        if self._fixer is not None:
            try:
                await self._take(self._fixer.finish())
            except LineError as trouble:
                raise refusals.line_not_allowed(trouble.kind, trouble.line, self._fixer.why_not) from None
            self._repairs += self._fixer.describe_fixes()
        try:
            self._lines.finish()
        except LineError as trouble:
            raise refusals.line_not_allowed(trouble.kind, trouble.line) from None
        if self._size_bytes and not self._lines.ends_with_line_end:
            await self._take(b"\r\n")
            self._repairs.append("Ended the last line, which had no CR LF.")
        if self._head is not None:
            await self._finish_head(bytes(self._head))

    async def _keep_bytes(self, content: bytes) -> None:
        with _storage_trouble_refused():
            await self._writer.write(content)

    def _as_message(self, body: StoredBody) -> NewMessage:
        options = self._options
        return NewMessage(
            message_id=self.message_id,
            app_id=self._rules.app.app_id,
            envelope_sender=self._sender,
            recipients=self.recipients,
            header_from=self._header_from,
            subject=self._subject,
            internet_message_id=self.internet_message_id,
            body=body,
            reception=self._reception,
            received_at_us=self.received_at_us,
            repairs=tuple(self._repairs),
            lane=options.lane,
            is_eight_bit=self._is_eight_bit or self._lines.is_eight_bit,
            needs_smtputf8=self._uses_smtputf8 and self._has_letters_beyond_ascii(),
            send_at_us=options.send_at_us,
            expires_at_us=options.expires_at_us,
            tags=options.tags,
            metadata=options.metadata,
            dsn=self._dsn(),
            idempotency=options.idempotency,
            is_canary=options.is_canary,
            is_notice=options.is_notice,
            lifetime_us=options.lifetime_us,
            mail_server_id=options.mail_server_id,
            names_only_recipients=self._names_only_recipients,
        )

    def _dsn(self) -> DsnRequest | None:
        of_recipients = {address: dsn for address, dsn in self._recipients.items() if dsn is not None}
        if not (of_recipients or self._options.dsn_return or self._options.dsn_envelope_id):
            return None
        return DsnRequest(self._options.dsn_return, self._options.dsn_envelope_id, of_recipients)

    def _has_letters_beyond_ascii(self) -> bool:
        """An 8-bit header from a client that does not speak SMTPUTF8 goes on as it came, as 8-bit content."""
        return self._has_eight_bit_head or not all(a.isascii() for a in (self._sender, *self._recipients))


async def commit_together(intake: Intake, submissions: Sequence[Submission]) -> None:
    """Keep all of them or none. Refusal: as `commit`; AlreadyKeptError when one was kept before."""
    messages = [await submission.complete() for submission in submissions]
    with _storage_trouble_refused():
        await intake.store.outbox.keep_together(messages)
    for submission in submissions:
        submission.note_kept()
