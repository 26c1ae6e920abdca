"""Who a message is from and to: the envelope, and the fields that go on top of what was handed in."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from postroom.cli.sendmail_arguments import Arguments
from postroom.cli.sendmail_ending import SendmailError
from postroom.cli.sendmail_message import Message
from postroom.cli.sendmail_recipients import read_list, recipients_of

NAME_LIMIT = 200
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ \-]+")


class Caller(NamedTuple):
    """The user who called, as this machine knows it."""

    login: str
    full_name: str


class Envelope(NamedTuple):
    """What is said before the content."""

    sender: str
    """Empty for the null sender; without `@`, a user of this machine."""
    recipients: tuple[str, ...]
    is_eight_bit: bool = False
    notify: tuple[str, ...] = ()
    return_content: str = ""
    envelope_id: str = ""

    @property
    def needs_smtputf8(self) -> bool:
        return not all(address.isascii() for address in (self.sender, *self.recipients))


def this_caller(environment: Mapping[str, str]) -> Caller:
    """By the user id, which cannot be pretended; NAME is only what the person likes to be called."""
    import pwd

    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a container's user that nobody wrote down
        return Caller(f"uid-{uid}", environment.get("NAME", ""))
    # The ampersand stands for the login (passwd(5) of BSD).
    known_as = entry.pw_gecos.split(",")[0].replace("&", entry.pw_name.capitalize())
    return Caller(entry.pw_name, environment.get("NAME", "") or known_as)


def envelope_of(arguments: Arguments, caller: Caller, message: Message | None) -> Envelope:
    """SendmailError when it is not clear who is meant, or nobody is."""
    sender = caller.login if arguments.sender is None else _one_sender(arguments.sender)
    recipients = [address for text in arguments.recipients for address in read_list(text, "The command line")]
    if arguments.reads_recipients and message is not None:
        recipients += recipients_of(message.fields)
    if not recipients:
        raise SendmailError(os.EX_DATAERR, "The message names no recipient in To, Cc or Bcc; it was not sent.")
    return Envelope(
        sender=sender,
        recipients=tuple(dict.fromkeys(recipients)),
        is_eight_bit=arguments.is_eight_bit or (message is not None and message.is_eight_bit),
        notify=arguments.notify,
        return_content=arguments.return_content,
        envelope_id=arguments.envelope_id,
    )


def _one_sender(text: str) -> str:
    found = read_list(text, "The option -f")
    if len(found) > 1:
        raise SendmailError(os.EX_USAGE, "The option -f names more than one sender.")
    return found[0] if found else ""


def with_domain(envelope: Envelope, domain: str) -> Envelope:
    """Another machine cannot know whom this one's names without a domain mean."""
    if not domain:
        from socket import getfqdn

        domain = getfqdn()

    def complete(address: str) -> str:
        return f"{address}@{domain}" if address and "@" not in address else address

    return envelope._replace(sender=complete(envelope.sender), recipients=tuple(map(complete, envelope.recipients)))


def fields_to_add(arguments: Arguments, caller: Caller, envelope: Envelope, message: Message) -> tuple[str, ...]:
    """From, when the message has none: what reads it must be able to say who wrote."""
    fields = []
    if not message.has("from"):
        name = arguments.full_name or caller.full_name
        fields.append(f"From: {format_mailbox(name, envelope.sender or caller.login)}")
    return tuple(fields)


def format_mailbox(name: str, address: str) -> str:
    """`Name <address>` as RFC 5322 3.4 and RFC 2047 have it, whatever the name."""
    kept = "".join(letter for letter in name if letter.isprintable())[:NAME_LIMIT].strip()
    if not kept:
        return address
    looks_encoded = "=?" in kept
    if _PLAIN_NAME.fullmatch(kept) and not looks_encoded:
        return f"{kept} <{address}>"
    if kept.isascii() and not looks_encoded:
        quoted = re.sub(r'(["\\])', r"\\\1", kept)
        return f'"{quoted}" <{address}>'
    return f"{' '.join(_encoded_words(kept))} <{address}>"


def _encoded_words(text: str) -> Iterable[str]:
    """Each at most 75 characters long (RFC 2047 2.), and so at most 45 bytes that stand in it."""
    from binascii import b2a_base64

    part = b""
    for letter in text:
        octets = letter.encode("utf-8", "replace")
        if len(part) + len(octets) > 45:
            yield f"=?utf-8?B?{b2a_base64(part, newline=False).decode()}?="
            part = b""
        part += octets
    yield f"=?utf-8?B?{b2a_base64(part, newline=False).decode()}?="
