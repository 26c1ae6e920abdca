"""The drop folder: where mail waits in files while the server is down. Anybody may add one, nobody may list them."""

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence

from postroom.cli.sendmail_dialogue import Sending, mail_command, rcpt_command
from postroom.cli.sendmail_ending import ServerAwayError
from postroom.wire.drop_file import READY, RECIPIENT_LIMIT, UNFINISHED, format_envelope

_OFFERED = frozenset({"8BITMIME", "DSN"})
"""What may stand in a file: all that the server understands, but for the size, which a file has anyway."""


def drop_message(folder: str, sending: Sending) -> None:
    """What of it still waits is on the disk, all of it or nothing, when this returns. ServerAwayError: it cannot be."""
    waiting = sending.waiting
    groups = [waiting[at : at + RECIPIENT_LIMIT] for at in range(0, len(waiting), RECIPIENT_LIMIT)]
    files: list[tuple[int, str]] = []
    try:
        for number, group in enumerate(groups, sending.number):
            files.append(_create(folder))
            for content in _file_content(sending, group, number):
                _write(files[-1][0], content)
            os.fsync(files[-1][0])
        for _, path in files:
            os.rename(path + UNFINISHED, path + READY)
        _sync_names(folder, files)
    except OSError as trouble:
        _take_back(files)
        raise ServerAwayError(f"{folder}: {trouble.strerror}") from None
    finally:
        for descriptor, _ in files:
            os.close(descriptor)


def _create(folder: str) -> tuple[int, str]:
    path = os.path.join(folder, f"{time.time_ns() // 1000:016}-{os.urandom(16).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path + UNFINISHED, flags, 0o600)
    try:
        os.fchmod(descriptor, _readable_for_the_server(os.stat(folder), os.fstat(descriptor)))
    except OSError:
        os.close(descriptor)
        os.unlink(path + UNFINISHED)
        raise
    return descriptor, path


def _readable_for_the_server(folder: os.stat_result, file: os.stat_result) -> int:
    """The server is the folder's owner, and must be able to read what others left there.

    A folder with the set-group-id bit gives its group to the file, which nobody else then needs to be able to read.
    Without it the file is readable for whoever knows its name, which nobody does: it is random, and not listed.
    """
    if folder.st_mode & stat.S_ISGID:
        return 0o640
    return 0o600 if folder.st_uid in (0, file.st_uid) else 0o644


def _file_content(sending: Sending, recipients: Sequence[str], number: int) -> Iterator[bytes]:
    envelope, message = sending.envelope, sending.message
    offers = _OFFERED.__contains__
    top = sending.fields_on_top(number).encode()
    commands = [rcpt_command(envelope, address, offers) for address in recipients]
    yield format_envelope(mail_command(envelope, 0, offers), commands, len(top) + message.size_bytes)
    yield top
    yield from message.chunks()


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_names(folder: str, files: Sequence[tuple[int, str]]) -> None:
    """The new names must be on the disk too.

    Whoever may not list the folder cannot open it to sync it; syncing the renamed file writes the journal that has its
    name, on the file systems that keep one.
    """
    for descriptor, _ in files:
        os.fsync(descriptor)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_back(files: Sequence[tuple[int, str]]) -> None:
    for _, path in files:
        for ending in (UNFINISHED, READY):
            with contextlib.suppress(OSError):
                os.unlink(path + ending)
