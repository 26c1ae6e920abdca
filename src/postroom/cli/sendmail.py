"""`sendmail`: hand in a message as every Unix program expects it; `mailq` and `newaliases` beside it.

cron starts this for each mail: only the standard library is loaded, and of it as little as the way needs.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from postroom.cli.sendmail_arguments import Arguments, parse_arguments
from postroom.cli.sendmail_config import Config, read_config
from postroom.cli.sendmail_dialogue import Dialogue, Sending
from postroom.cli.sendmail_drop import drop_message
from postroom.cli.sendmail_ending import SendmailError, ServerAwayError, exit_code_of
from postroom.cli.sendmail_envelope import envelope_of, fields_to_add, this_caller, with_domain
from postroom.cli.sendmail_message import Message, read_message
from postroom.cli.sendmail_way import connect_remote, connect_socket, open_dialogue

SHOWN_REFUSALS = 3


def main(name: str, words: Sequence[str]) -> int:
    """Do what the arguments ask for; the exit code of sysexits(3). One line on standard error says what went wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a language without these letters is no reason to fail
    try:
        # Whatever the caller's language, bytes of an address are those of UTF-8.
        exit_code = _run(
            parse_arguments(name, [os.fsencode(word).decode("utf-8", "surrogateescape") for word in words])
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except SendmailError as trouble:
        _complain(name, str(trouble))
        return trouble.exit_code
    except KeyboardInterrupt:
        return 130  # as a shell has it
    except BrokenPipeError:
        # Who read our output has gone; Python must not try again to write it when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_IOERR
    except Exception as trouble:  # a traceback says nothing to who reads a cron job's mail
        _complain(name, f"Something went wrong here ({type(trouble).__name__}: {trouble}).")
        return os.EX_SOFTWARE
    return exit_code


def _complain(name: str, sentence: str) -> None:
    if sys.stderr is not None:
        line = "".join(letter if letter.isprintable() else " " for letter in sentence)
        print(f"{name}: {line}", file=sys.stderr)


def _run(arguments: Arguments) -> int:
    match arguments.mode:
        case "nothing":
            return os.EX_OK
        case "send":
            return _send(arguments, read_config(os.environ))
        case "check":
            return _check(arguments, read_config(os.environ))
        case "smtp":
            return _carry(read_config(os.environ))
        case "list" | "flush":
            return _ask_queue(arguments, read_config(os.environ))


def _send(arguments: Arguments, config: Config) -> int:
    message = read_message(_standard_input().buffer, ends_at_dot=arguments.ends_at_dot)
    sending = _sending(arguments, config, message)
    try:
        dialogue = open_dialogue(config)
        try:
            sending.hand_over(dialogue)
        finally:
            dialogue.close()
    except ServerAwayError as away:
        _leave_for_later(config, sending, str(away))
    if arguments.is_verbose:
        for queue_id in sending.queue_ids:
            print(f"Queued as {queue_id}")
    return _tell_refused(sending)


def _standard_input() -> TextIO:
    if sys.stdin is None:
        raise SendmailError(os.EX_NOINPUT, "There is no standard input to read the message from.")
    return sys.stdin


def _sending(arguments: Arguments, config: Config, message: Message) -> Sending:
    caller = this_caller(os.environ)
    envelope = envelope_of(arguments, caller, message)
    if config.host:
        envelope = with_domain(envelope, config.default_domain)
    fields = fields_to_add(arguments, caller, envelope, message)
    # A key of our own makes it safe to go a second way when nobody knows whether the first one worked.
    key = arguments.idempotency_key or ("" if config.host else f"sendmail-{os.urandom(16).hex()}")
    if message.has("x-idempotency-key") and not arguments.idempotency_key:
        key = ""

    def fields_on_top(number: int) -> str:
        numbered = key if number == 1 else f"{key}/{number}"
        own = (*fields, f"X-Idempotency-Key: {numbered}") if key else fields
        return "".join(f"{field}\r\n" for field in own)

    return Sending(message, envelope, fields_on_top)


def _leave_for_later(config: Config, sending: Sending, why: str) -> None:
    if config.host:
        text = f"The mail was not sent ({why}). Send it again later; see host and port in sendmail.toml."
        raise SendmailError(os.EX_TEMPFAIL, text)
    try:
        drop_message(config.drop_folder, sending)
    except ServerAwayError as trouble:
        text = (
            f"The mail was not taken: Postroom is not there ({why}), and the drop folder cannot be used ({trouble}). "
            "Start Postroom (systemctl start postroom), then send again."
        )
        raise SendmailError(os.EX_TEMPFAIL, text) from None
    sending.queue_ids.append("a file of the drop folder")


def _tell_refused(sending: Sending) -> int:
    """Those who could get it got it; of the others the caller learns."""
    if not sending.refused:
        return os.EX_OK
    shown = [f"{address}: {reply.words}" for address, reply in sending.refused[:SHOWN_REFUSALS]]
    more = len(sending.refused) - len(shown)
    text = "; ".join([*shown, *([f"and {more} more"] if more else [])])
    raise SendmailError(exit_code_of(sending.refused[0][1]), text)


def _check(arguments: Arguments, config: Config) -> int:
    """Ask the server about each address, and hand in nothing."""
    sending = _sending(arguments, config, Message(io.BytesIO(), 0, (), False))
    dialogue = _open_or_fail(config, os.EX_TEMPFAIL)
    try:
        for address in sending.check(dialogue):
            print(f"{address}: would be taken")
    except ServerAwayError as away:
        raise SendmailError(os.EX_TEMPFAIL, f"Postroom broke off ({away}). Try again.") from None
    finally:
        dialogue.close()
    return _tell_refused(sending)


def _carry(config: Config) -> int:
    """Let the caller speak SMTP itself. It cannot be left for later: only the caller knows what it wants to say."""
    from postroom.cli.sendmail_pipe import carry

    try:
        connection = connect_remote(config) if config.host else connect_socket(config)
    except ServerAwayError as away:
        print(f"421 4.3.2 Postroom is not there ({away}); try again later", end="\r\n", flush=True)
        return os.EX_TEMPFAIL
    if config.host:  # its greeting was heard when we signed in
        print(f"220 {config.host} ESMTP Postroom", end="\r\n", flush=True)
    try:
        carry(connection, _standard_input().fileno(), sys.stdout.fileno())
    except OSError as trouble:
        raise SendmailError(os.EX_IOERR, f"The conversation broke off: {trouble.strerror}.") from None
    finally:
        connection.close()
    return os.EX_OK


def _ask_queue(arguments: Arguments, config: Config) -> int:
    from postroom.cli.mailq import flush_queue, print_queue

    if config.host:
        text = f"The queue is on {config.host}: see its console, or ask mailq there."
        raise SendmailError(os.EX_UNAVAILABLE, text)
    dialogue = _open_or_fail(config, os.EX_UNAVAILABLE)
    try:
        if arguments.mode == "list":
            print_queue(dialogue, sys.stdout)
        else:
            flush_queue(dialogue, arguments.flush_only, sys.stdout, is_verbose=arguments.is_verbose)
    except ServerAwayError as away:
        raise SendmailError(os.EX_TEMPFAIL, f"Postroom broke off ({away}). Try again.") from None
    finally:
        dialogue.close()
    return os.EX_OK


def _open_or_fail(config: Config, exit_code: int) -> Dialogue:
    try:
        return open_dialogue(config)
    except ServerAwayError as away:
        text = f"Postroom is not there ({away}). Start it: systemctl start postroom."
        raise SendmailError(exit_code, text) from None
