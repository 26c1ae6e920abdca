"""The arguments of `sendmail`, read as the programs that call it mean them: sendmail's own, with Postfix's choices
where the two differ."""

import os
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from postroom.cli.sendmail_ending import SendmailError

Mode = Literal["send", "check", "smtp", "list", "flush", "nothing"]

ENVELOPE_ID_LIMIT = 100  # RFC 3461 4.4
KEY_LIMIT = 256


class Arguments(NamedTuple):
    """What is asked for."""

    mode: Mode = "send"
    recipients: tuple[str, ...] = ()
    """As they were given: each may be a list of addresses."""
    reads_recipients: bool = False
    """From the message's header, besides those that were given."""
    ends_at_dot: bool = True
    """A line with a dot alone ends the message."""
    sender: str | None = None
    """None when nothing was said; empty for the null sender."""
    full_name: str = ""
    is_eight_bit: bool = False
    notify: tuple[str, ...] = ()
    return_content: str = ""
    envelope_id: str = ""
    flush_only: str = ""
    """One queue id, or a site, for which alone to try again."""
    idempotency_key: str = ""
    is_verbose: bool = False


_MODES: dict[str, Mode] = {"m": "send", "s": "smtp", "p": "list", "v": "check", "i": "nothing"}
_DAEMON_MODES = ("d", "l", "D")
_WITH_VALUE = frozenset("ABCFLNORVXbefhopr")
_WITHOUT_VALUE = frozenset("GIUimntvc")
_VALUE_MAY_FOLLOW = frozenset("dq")  # attached, or not at all
_OPTIONS_WITH_VALUE = frozenset("ABCFHLMNOPQRSTUVWXYZ")
"""Of `-o`: capital letters take a value, which may stand apart; small ones have theirs attached, as in -odb."""
_RETURNED = {"hdrs": "HDRS", "full": "FULL"}
_NOTIFY = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})


def parse_arguments(name: str, words: Sequence[str]) -> Arguments:
    """What stands behind the program's `name`. SendmailError with EX_USAGE says which word is not understood."""
    parser = _Parser(words)
    parser.parse()
    found = parser.found._replace(recipients=tuple(parser.recipients))
    if name == "newaliases":
        return found._replace(mode="nothing")
    if name == "mailq" and found.mode == "send":
        found = found._replace(mode="list")
    if found.mode in ("send", "check") and not found.recipients and not found.reads_recipients:
        raise _usage("Nobody is named who should get the message. Name addresses, or say -t to read them from it.")
    return found


class _Parser:
    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._position = 0
        self.recipients: list[str] = []
        self.found = Arguments()

    def parse(self) -> None:
        while (word := self._next_word()) is not None:
            if word == "--":
                self.recipients += self._words[self._position :]
                return
            if word.startswith("--"):
                self._take_long(word)
            elif word.startswith("-") and word != "-":
                self._take_letters(word[1:])
            else:
                self.recipients.append(word)

    def _next_word(self) -> str | None:
        if self._position >= len(self._words):
            return None
        self._position += 1
        return self._words[self._position - 1]

    def _value(self, attached: str, option: str) -> str:
        value = attached or self._next_word()
        if value is None:
            raise _usage(f"The option {option} needs a value behind it.")
        return value

    def _take_long(self, word: str) -> None:
        name, equals, attached = word.partition("=")
        if name != "--idempotency-key":
            raise _usage(f"The option {_shown(word)} is not known here. An address that begins so stands behind --.")
        key = attached if equals else self._value("", name)
        if not key or len(key) > KEY_LIMIT or not key.isascii() or not key.isprintable():
            raise _usage(f"An idempotency key has 1 to {KEY_LIMIT} printable ASCII characters.")
        self.found = self.found._replace(idempotency_key=key)

    def _take_letters(self, letters: str) -> None:
        """Letters of options may stand together, as in -ti; one that takes a value takes all that follows."""
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _VALUE_MAY_FOLLOW:
                self._take(letter, letters)
                return
            if letter in _WITH_VALUE:
                self._take(letter, self._value(letters, f"-{letter}"))
                return
            if letter not in _WITHOUT_VALUE:
                raise _usage(
                    f"The option -{_shown(letter)} is not known here. See docs/sendmail.md for those that are."
                )
            self._take(letter, "")

    def _take(self, letter: str, value: str) -> None:
        match letter:
            case "t":
                self.found = self.found._replace(reads_recipients=True)
            case "i":
                self.found = self.found._replace(ends_at_dot=False)
            case "v":
                self.found = self.found._replace(is_verbose=True)
            case "I":
                self.found = self.found._replace(mode="nothing")
            case "f" | "r":
                self.found = self.found._replace(sender=value.strip())
            case "F":
                self.found = self.found._replace(full_name=value)
            case "b":
                self.found = self.found._replace(mode=_mode(value))
            case "q":
                self._take_flush(value)
            case "o":
                self._take_option(value)
            case "B" | "N" | "R" | "V":
                self._take_notification(letter, value)

    def _take_flush(self, value: str) -> None:
        """`-q` alone, for one id (-qI) or one site (-qR); with a time it asks for a daemon."""
        if value[:1].isdigit():
            raise _daemon()
        if value[:1] not in ("", "I", "R") or not value.isascii() or not value.isprintable():
            raise _usage(f"The queue cannot be selected by -q{_shown(value)}; by -qI and an id, or -qR and a site.")
        self.found = self.found._replace(mode="flush", flush_only=value[1:])

    def _take_option(self, value: str) -> None:
        """`-oi` is -i; all others are settings of another mail system."""
        if value == "i":
            self.found = self.found._replace(ends_at_dot=False)
        elif len(value) == 1 and value in _OPTIONS_WITH_VALUE:
            self._next_word()

    def _take_notification(self, letter: str, value: str) -> None:
        match letter:
            case "B":
                if value.upper() not in ("7BIT", "8BITMIME"):
                    raise _usage(f"The body type -B {_shown(value)} is not known here; 7BIT and 8BITMIME are.")
                self.found = self.found._replace(is_eight_bit=value.upper() == "8BITMIME")
            case "N":
                self.found = self.found._replace(notify=_notify(value))
            case "R":
                if value.lower() not in _RETURNED:
                    raise _usage("What is returned with a notice is -R hdrs or -R full.")
                self.found = self.found._replace(return_content=_RETURNED[value.lower()])
            case "V":
                if not value or len(value) > ENVELOPE_ID_LIMIT or not value.isascii() or not value.isprintable():
                    raise _usage(f"An envelope id (-V) has 1 to {ENVELOPE_ID_LIMIT} printable ASCII characters.")
                self.found = self.found._replace(envelope_id=_xtext(value))


def _mode(value: str) -> Mode:
    if value[:1] in _DAEMON_MODES:
        raise _daemon()
    if value not in _MODES:
        raise _usage(f"The mode -b{_shown(value)} is not known here. See docs/sendmail.md for those that are.")
    return _MODES[value]


def _notify(value: str) -> tuple[str, ...]:
    words = tuple(value.upper().split(","))
    if not set(words) <= _NOTIFY or (len(words) > 1 and "NEVER" in words):
        raise _usage("Notices are asked for by -N never, or -N and some of success,failure,delay.")
    return words


def _xtext(text: str) -> str:
    """RFC 3461 4.: what has a meaning in a command line is written as its number."""
    return re.sub(r"[^!-*,-<>-~]", lambda found: f"+{ord(found[0]):02X}", text)


def _shown(text: str) -> str:
    """What a stranger wrote, safe for a terminal."""
    return ascii(text[:40])[1:-1]


def _usage(sentence: str) -> SendmailError:
    return SendmailError(os.EX_USAGE, sentence)


def _daemon() -> SendmailError:
    return _usage("This command is no daemon: use systemctl start postroom, or postroom serve.")
