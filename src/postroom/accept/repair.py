"""What we change in a message: the head only, and only what a submission server may change (RFC 6409 8.). No I/O.

A body that is signed or encrypted stays byte for byte, and so do the fields that describe it; the fields around it are
not covered by such a signature (RFC 8551 3.1, RFC 3156). A DKIM signature does cover fields: what must be repaired all
the same takes the signature away, what can wait is left alone.
"""

from collections.abc import Iterable

import msgspec

from postroom.accept.head_facts import IDEMPOTENCY_FIELD, HeadFacts
from postroom.accept.phrases import format_name, safe_name
from postroom.accept.readable import readable_text
from postroom.accept.received import format_date, parse_date
from postroom.clock import DAY_US
from postroom.ids import public_id
from postroom.wire.head import Field, Head
from postroom.wire.signatures import broken_fields

_PRIVATE = "its addresses are nobody else's business"
_REMOVED = {
    b"bcc": ("Bcc", _PRIVATE),
    b"resent-bcc": ("Resent-Bcc", _PRIVATE),
    b"return-path": ("Return-Path", "it is written where a message arrives"),
    IDEMPOTENCY_FIELD: ("X-Idempotency-Key", "it is for this server only"),
}
CLOCK_TOLERANCE_US = DAY_US
"""A Date that is further away comes from a clock that was never set."""


class RepairPlan(msgspec.Struct, frozen=True):
    """What is to be changed, as policy and circumstances say."""

    message_id: int
    host_name: str
    now_us: int
    received: str
    """Our trace field, which stands on top."""
    recipients: tuple[str, ...] = ()
    """The envelope's."""
    new_sender: str = ""
    """Takes the place of what From says; empty when that may stay."""
    knows_smtputf8: bool = False


class RepairedHead(msgspec.Struct, frozen=True):
    content: bytes
    message_id: str
    from_addresses: tuple[str, ...]
    repairs: tuple[str, ...]
    """One sentence for each change."""


def repair_head(head: Head, facts: HeadFacts, plan: RepairPlan) -> RepairedHead:
    """The head with `received` on top and the changes that it needs; everything else byte for byte."""
    return _Repair(head, facts, plan).run()


class _Repair:
    """One head under repair: what is added on top, what goes, and why."""

    def __init__(self, head: Head, facts: HeadFacts, plan: RepairPlan) -> None:
        self._head = head
        self._facts = facts
        self._plan = plan
        self._added: list[bytes] = []
        self._removed: set[Field] = set()
        self._changed: set[bytes] = set()
        self._repairs: list[str] = []

    def run(self) -> RepairedHead:
        self._remove_private()
        message_id = self._repair_message_id()
        self._repair_date()
        from_addresses = self._repair_sender()
        self._repair_recipients()
        self._repair_mime_version()
        self._remove_broken_signatures()
        content = self._plan.received.encode() + b"".join([*self._added, *self._kept_parts()])
        return RepairedHead(content, message_id, from_addresses, tuple(self._repairs))

    def _remove_private(self) -> None:
        found = [field for field in self._head.fields if field.name in _REMOVED]
        self._removed.update(found)
        for name in dict.fromkeys(field.name for field in found):
            shown, reason = _REMOVED[name]
            self._changed.add(name)
            self._repairs.append(f"Removed {shown}, because {reason}.")

    def _repair_message_id(self) -> str:
        if self._facts.message_id:
            return self._facts.message_id
        made = f"<{public_id(self._plan.message_id).lower()}@{self._plan.host_name}>"
        self._replace(b"message-id", f"Message-ID: {made}")
        self._repairs.append(f"Added Message-ID {made}, because there was none.")
        return made

    def _repair_date(self) -> None:
        now = format_date(self._plan.now_us)
        if not self._facts.date:
            self._replace(b"date", f"Date: {now}")
            self._repairs.append("Added Date, because there was none.")
            return
        said_us = parse_date(self._facts.date)
        is_near = said_us is not None and abs(said_us - self._plan.now_us) <= CLOCK_TOLERANCE_US
        if is_near or self._is_signed(b"date"):
            return
        shown = readable_text(self._facts.date)[:64]
        self._replace(b"date", f"Date: {now}", b"X-Original-Date: " + self._facts.date)
        self._repairs.append(f"Corrected Date, because the clock of the sender was wrong: it said {shown}.")

    # ---- who it is from ----

    def _repair_sender(self) -> tuple[str, ...]:
        if self._plan.new_sender:
            self._put_new_sender(self._plan.new_sender)
            return (self._plan.new_sender,)
        names = [_safe(sender.name, sender.address) for sender in self._facts.senders]
        incomplete = [sender.address for sender in self._facts.senders if not sender.has_own_domain]
        has_odd_names = any(name != sender.name for name, sender in zip(names, self._facts.senders, strict=True))
        if incomplete or has_odd_names:
            entries = [_entry(name, sender.address) for name, sender in zip(names, self._facts.senders, strict=True)]
            self._replace(b"from", "From: " + ",\r\n ".join(entries))
        if incomplete:
            self._repairs.append(f"Completed From to {', '.join(incomplete)}, because its domain was missing.")
        if has_odd_names:
            self._repairs.append("Changed the name in From, because Microsoft refuses names that hold an @.")
        return self._facts.from_addresses

    def _put_new_sender(self, new_sender: str) -> None:
        """The name stays, replies go where they went, and what stood there is kept."""
        old = next(iter(self._facts.senders), None)
        said = next((self._head.raw(field) for field in self._head.fields if field.name == b"from"), b"")
        name = _safe(old.name, old.address) if old is not None else ""
        self._replace(b"from", f"From: {_entry(name, new_sender)}")
        if said.strip():
            self._added.append(b"X-Original-From:" + said)
        if old is not None and old.has_own_domain and b"reply-to" not in self._facts.names and _is_plain(old.address):
            self._replace(b"reply-to", f"Reply-To: <{old.address}>")
        shown = old.address if old is not None else "missing"
        self._repairs.append(f"Replaced From, which was {shown}, by {new_sender}: this app may not send as another.")
        senders = [field for field in self._head.fields if field.name == b"sender"]
        if senders:
            self._removed.update(senders)
            self._changed.add(b"sender")
            self._repairs.append("Removed Sender, because From was replaced.")

    # ---- whom it is to, and the rest ----

    def _complete_recipients(self) -> None:
        """Cron writes `To: root`."""
        for name, shown in ((b"to", "To"), (b"cc", "Cc")):
            entries = self._facts.incomplete.get(name, ())
            if entries:
                self._replace(name, f"{shown}: " + ",\r\n ".join(_entry(it.name, it.address) for it in entries))
                addresses = ", ".join(it.address for it in entries)
                self._repairs.append(f"Completed {shown} to {addresses}, because its domain was missing.")

    def _repair_recipients(self) -> None:
        self._complete_recipients()
        if self._facts.names & {b"to", b"cc"} or not self._plan.recipients:
            return
        only = self._plan.recipients[0] if len(self._plan.recipients) == 1 else ""
        value = f"<{only}>" if only and (only.isascii() or self._plan.knows_smtputf8) else "undisclosed-recipients:;"
        self._replace(b"to", f"To: {value}")
        self._repairs.append(f"Added To: {value}, because the message named no recipient.")

    def _repair_mime_version(self) -> None:
        """Without it a reader may not take the message for MIME at all (RFC 2045 4.)."""
        has_mime = any(name.startswith(b"content-") for name in self._facts.names)
        if has_mime and b"mime-version" not in self._facts.names and not self._is_signed(b"mime-version"):
            self._replace(b"mime-version", "MIME-Version: 1.0")
            self._repairs.append("Added MIME-Version, because the message has parts that need it.")

    def _remove_broken_signatures(self) -> None:
        broken = broken_fields(self._head, self._facts.signatures, self._changed)
        if not broken:
            return
        self._removed.update(broken)
        kinds = ", ".join(dict.fromkeys("ARC" if field.name.startswith(b"arc-") else "DKIM" for field in broken))
        self._repairs.append(f"Removed the {kinds} signature, because it covered what had to be changed.")

    def _is_signed(self, name: bytes) -> bool:
        return any(name in signature.names for signature in self._facts.signatures)

    def _replace(self, name: bytes, line: str, *others: bytes) -> None:
        """Put a field on top; whatever had its name goes, also an empty one."""
        self._removed.update(field for field in self._head.fields if field.name == name)
        self._changed.add(name)
        self._added.append(line.encode(errors="surrogateescape") + b"\r\n")
        self._added.extend(other + b"\r\n" for other in others)

    def _kept_parts(self) -> Iterable[bytes]:
        content = self._head.content
        position = 0
        for field in sorted(self._removed, key=lambda field: field.start):
            yield content[position : field.start]
            position = field.end
        yield content[position:]


def _safe(name: str, address: str) -> str:
    """The name as it stood there, unless it holds an `@`."""
    if "@" not in name and "=?" not in name:
        return name
    shown = readable_text(name.encode(errors="surrogateescape"))
    if shown.startswith('"') and shown.endswith('"') and len(shown) >= 2:
        shown = shown[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return format_name(safe_name(shown, address)) if "@" in shown else name


def _entry(name: str, address: str) -> str:
    return f"{name} <{address}>" if name else f"<{address}>"


def _is_plain(address: str) -> bool:
    """Fit to be written into a field of our own."""
    return address.isascii() and address.isprintable() and not set(' <>,;"') & set(address)
