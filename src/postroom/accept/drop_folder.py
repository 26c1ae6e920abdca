"""The drop folder: mail that `sendmail` left while the server was down, taken in as if it had come by the socket.

Anybody on this machine may put a file there, so nothing about one is believed but whose it is, as the system says.
"""

import asyncio
import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
import structlog

from postroom.accept.local_users import user_name
from postroom.accept.submission import Intake, Submission, SubmissionOptions
from postroom.clock import DAY_US, MICROSECONDS
from postroom.errors import PostroomError, Refusal, SettingsError
from postroom.ids import public_id
from postroom.message import Reception, RecipientDsn
from postroom.store.records import IdempotencyKey
from postroom.wire.commands import CommandError, MailFrom, RcptTo, parse_command, parse_mail, parse_rcpt
from postroom.wire.drop_file import (
    ENVELOPE_LIMIT_BYTES,
    NAME,
    READY,
    REASON,
    REFUSED,
    UNFINISHED,
    DropFileError,
    parse_envelope,
)
from postroom.wire.head import HEAD_LIMIT_BYTES

LOOK_EVERY_SECONDS = 3
FOLDER_MODE = 0o3733
"""Everybody may add a file and nobody list them; only its owner and we can take one away (sticky), and each file is
our group's (set-group-id), so that nobody else needs to be able to read it."""
CHUNK_BYTES = 256 * 1024
FIRST_PAUSE_SECONDS = 5
PAUSE_LIMIT_SECONDS = 300

_NEVER_READABLE = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})
"""A link, another's secret, a socket: whatever it is, it is no mail that was left for us."""

_OWN_KEY = re.compile(rb"^x-idempotency-key[ \t]*:", re.IGNORECASE | re.MULTILINE)

log = structlog.stdlib.get_logger("postroom.accept")


def prepare_folder(folder: Path) -> None:
    """Make it if it is missing, and see that its rights are those it needs. SettingsError."""
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise SettingsError(f"The sendmail.drop_folder {folder} is no folder. Move it away, or choose another.")
        if found.st_uid != os.geteuid():
            raise SettingsError(
                f"The sendmail.drop_folder {folder} belongs to another user, so what was taken from it could not be "
                "removed. Give it to the user that runs Postroom (chown), or choose another."
            )
        if stat.S_IMODE(found.st_mode) != FOLDER_MODE:
            _give_rights(folder)
    except OSError as trouble:
        raise SettingsError(
            f"The sendmail.drop_folder {folder} cannot be made: {trouble.strerror}. Choose another."
        ) from None


def _give_rights(folder: Path) -> None:
    os.chown(folder, -1, os.getegid())
    try:
        folder.chmod(FOLDER_MODE)
    except PermissionError:  # a service may be forbidden to set such bits; the names of files still keep them private
        folder.chmod(FOLDER_MODE & ~stat.S_ISGID)


class DroppedFile(msgspec.Struct, frozen=True):
    """A file that is open, regular, and has one name."""

    name: str
    descriptor: int
    size_bytes: int
    user_id: int
    commands: tuple[str, ...]
    content_start: int


class DroppedMail(msgspec.Struct, frozen=True):
    """A file that was read, and whose message cannot be taken now."""

    name: str
    user_id: int
    size_bytes: int
    sender: str
    recipients: tuple[str, ...]
    reason: str
    next_try_at_us: int

    @property
    def dropped_at_us(self) -> int:
        return int(self.name[:16])


class DropFolder:
    """Looks into the folder now and then; `run` does so until it is cancelled."""

    def __init__(self, intake: Intake, folder: Path, find_user: Callable[[int], str] = user_name) -> None:
        self._intake = intake
        self._folder = folder
        self._find_user = find_user
        self._pauses: dict[str, _Pause] = {}
        self._left_alone: set[str] = set()
        """What is done with, but cannot be removed or renamed."""

    async def run(self) -> None:
        while True:
            try:
                await self.pick_up()
            except Exception as trouble:  # mail by the other ways must go on
                is_expected = isinstance(trouble, OSError | PostroomError)
                log.warning("drop folder not read", reason=str(trouble), exc_info=not is_expected)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def pick_up(self) -> None:
        """Take everything that is complete and due, oldest first."""
        names = await asyncio.to_thread(self._look)
        self._left_alone &= set(names)
        self._pauses = {name: pause for name, pause in self._pauses.items() if name in names}
        for name in names:
            if name not in self._left_alone and not self._is_paused(name):
                await self._take(name)

    def waiting(self) -> list[DroppedMail]:
        """What was put off, oldest first."""
        return [pause.mail for _, pause in sorted(self._pauses.items()) if pause.mail is not None]

    def _look(self) -> list[str]:
        """Names without their endings; what a writer began a day ago and never finished goes."""
        names = []
        oldest_us = self._intake.clock.now_us() - DAY_US
        for file_name in os.listdir(self._folder):
            name, ending = os.path.splitext(file_name)
            if not NAME.fullmatch(name):
                continue
            if ending == READY:
                names.append(name)
            elif ending == UNFINISHED and int(name[:16]) < oldest_us:
                with contextlib.suppress(OSError):
                    self._path(name, UNFINISHED).unlink()
        return sorted(names)

    def _path(self, name: str, ending: str) -> Path:
        return self._folder / (name + ending)

    def _is_paused(self, name: str) -> bool:
        pause = self._pauses.get(name)
        return pause is not None and self._intake.clock.now_us() < pause.until_us

    async def _take(self, name: str) -> None:
        """One file, whatever it is: handed in, refused, or left for later."""
        try:
            file = await asyncio.to_thread(self._open, name)
        except FileNotFoundError:
            return  # its owner took it back
        except DropFileError as trouble:
            await self._keep_refused(name, f"The file was not read: {trouble}.")
            return
        except OSError as trouble:
            if trouble.errno in _NEVER_READABLE:
                await self._keep_refused(name, f"The file was not read: {trouble.strerror}.")
            else:
                self._pause(name, trouble.strerror or "")
            return
        try:
            refused = await self._hand_in(file)
            self._pauses.pop(name, None)
            await (self._keep_refused(name, refused) if refused else asyncio.to_thread(self._remove, file))
        except Refusal as refusal:
            await self._answer_refusal(file, refusal)
        except (CommandError, DropFileError) as trouble:
            await self._keep_refused(name, f"The file was not understood: {trouble}.")
        except OSError as trouble:
            self._pause(name, trouble.strerror or "")
        except PostroomError:
            raise  # the store is away: that concerns all files
        except Exception:  # one file must not stand in the way of all others
            log.exception("dropped mail not taken", file=name)
            self._pause(name, "see the traceback", PAUSE_LIMIT_SECONDS)
        finally:
            os.close(file.descriptor)

    def _open(self, name: str) -> DroppedFile:
        """OSError, or DropFileError for what may be a trap: a link to somebody else's file, or no file at all."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._path(name, READY), flags)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise DropFileError("it is not a regular file")
            if found.st_nlink != 1:
                raise DropFileError("it has another name elsewhere, so it may be somebody else's")
            if found.st_size > self._intake.size_limit_bytes + ENVELOPE_LIMIT_BYTES:
                raise DropFileError("it is larger than any message may be")
            start = os.pread(descriptor, ENVELOPE_LIMIT_BYTES, 0)
            commands, content_start = parse_envelope(start, found.st_size)
        except BaseException:
            os.close(descriptor)
            raise
        return DroppedFile(name, descriptor, found.st_size, found.st_uid, tuple(commands), content_start)

    async def _hand_in(self, file: DroppedFile) -> str:
        """Commit it; the reason why some recipients did not get it, if there are any. Refusal, and as `_open`."""
        user = await asyncio.to_thread(self._find_user, file.user_id)
        mail, recipients = _parse_commands(file.commands)
        start = await asyncio.to_thread(_read, file, file.content_start)
        submission = await self._intake.open(
            await self._intake.store.apps.of_local_user(user),
            mail.sender,
            Reception(way="sendmail", local_user=user),
            size_bytes=file.size_bytes - file.content_start,
            is_eight_bit=mail.is_eight_bit,
            needs_smtputf8=mail.uses_smtputf8,
            options=_options(file, mail, start),
        )
        try:
            refused = await _add_recipients(submission, recipients)
            await _write_content(submission, file, start)
            message_id = await submission.commit()
        finally:
            await submission.abandon()  # harmless once it is kept
        log.info("dropped mail taken", file=file.name, user=user, message=public_id(message_id))
        return f"Taken as {public_id(message_id)}, but not for {'; '.join(refused)}" if refused else ""

    async def _answer_refusal(self, file: DroppedFile, refusal: Refusal) -> None:
        reply = refusal.reply
        self._intake.metrics.note_refused("sendmail", reply.code)
        if reply.is_temporary:
            self._pause(file.name, reply.smtp_reply, reply.retry_after_seconds, file)
        else:
            await self._keep_refused(file.name, reply.smtp_reply)

    def _pause(self, name: str, reason: str, seconds: int | None = None, file: DroppedFile | None = None) -> None:
        """Come back later: a little later each time, unless the refusal said when."""
        tries = self._pauses[name].tries + 1 if name in self._pauses else 1
        if seconds is None:
            seconds = min(FIRST_PAUSE_SECONDS * 2 ** (tries - 1), PAUSE_LIMIT_SECONDS)
        until_us = self._intake.clock.now_us() + seconds * MICROSECONDS
        self._pauses[name] = _Pause(tries, until_us, _as_mail(file, reason, until_us) if file is not None else None)
        log.warning("dropped mail waits", file=name, reason=reason, seconds=seconds)

    async def _keep_refused(self, name: str, reason: str) -> None:
        """Nobody waits for an answer, so it stays for a person to see, with the reason beside it."""
        log.warning("dropped mail refused", file=name, reason=reason)
        await asyncio.to_thread(self._set_aside, name, reason)

    def _set_aside(self, name: str, reason: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileExistsError):  # an earlier try got as far as this
                descriptor = os.open(self._path(name, REASON), flags, 0o600)
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(reason + "\n")
            self._path(name, READY).rename(self._path(name, REFUSED))
        except OSError as trouble:
            self._left_alone.add(name)
            log.error("dropped mail cannot be set aside", file=name, reason=trouble.strerror)

    def _remove(self, file: DroppedFile) -> None:
        """Only the file that was read: its owner may have put another in its place."""
        path = self._path(file.name, READY)
        try:
            if os.path.samestat(path.lstat(), os.fstat(file.descriptor)):
                path.unlink()
        except FileNotFoundError:
            return
        except OSError as trouble:
            self._left_alone.add(file.name)
            log.error("dropped mail was taken but cannot be removed", file=file.name, reason=trouble.strerror)


class _Pause(msgspec.Struct, frozen=True):
    tries: int
    until_us: int
    mail: DroppedMail | None


def _as_mail(file: DroppedFile, reason: str, until_us: int) -> DroppedMail:
    mail, recipients = _parse_commands(file.commands)
    return DroppedMail(
        name=file.name,
        user_id=file.user_id,
        size_bytes=file.size_bytes - file.content_start,
        sender=mail.sender,
        recipients=tuple(rcpt.recipient for rcpt in recipients),
        reason=reason,
        next_try_at_us=until_us,
    )


def _parse_commands(commands: Sequence[str]) -> tuple[MailFrom, list[RcptTo]]:
    """DropFileError, CommandError."""
    parsed = [parse_command(command.encode()) for command in commands]
    if not parsed or parsed[0].verb != "MAIL" or any(command.verb != "RCPT" for command in parsed[1:]):
        raise DropFileError("its envelope is not MAIL and RCPT")
    return parse_mail(parsed[0].argument), [parse_rcpt(command.argument) for command in parsed[1:]]


def _options(file: DroppedFile, mail: MailFrom, start: bytes) -> SubmissionOptions:
    """A file that was committed and not removed before a crash is known again by its key, or else by its name."""
    head = start[:HEAD_LIMIT_BYTES].partition(b"\r\n\r\n")[0]
    by_name = IdempotencyKey(f"drop-{file.name}", sha256(file.name.encode()).digest())
    return SubmissionOptions(
        dsn_return=mail.return_content,
        dsn_envelope_id=mail.envelope_id,
        idempotency=None if _OWN_KEY.search(head) else by_name,
    )


async def _add_recipients(submission: Submission, recipients: Sequence[RcptTo]) -> list[str]:
    """Those that are refused for good, with the reasons; a temporary Refusal puts the whole message off."""
    refused: list[str] = []
    for rcpt in recipients:
        says_something = rcpt.notify or rcpt.original_recipient
        dsn = RecipientDsn(rcpt.notify, rcpt.original_recipient) if says_something else None
        try:
            await submission.add_recipient(rcpt.recipient, dsn)
        except Refusal as refusal:
            if refusal.reply.is_temporary or len(refused) + 1 == len(recipients):
                raise
            refused.append(f"{rcpt.recipient}: {refusal.reply.smtp_reply}")
    return refused


async def _write_content(submission: Submission, file: DroppedFile, chunk: bytes) -> None:
    """What its size promised; DropFileError when its owner changed it meanwhile."""
    position = file.content_start
    while position < file.size_bytes:
        if not chunk:
            raise DropFileError("it became shorter while it was read")
        await submission.write(chunk)
        position += len(chunk)
        chunk = await asyncio.to_thread(_read, file, position)


def _read(file: DroppedFile, position: int) -> bytes:
    return os.pread(file.descriptor, min(CHUNK_BYTES, file.size_bytes - position), position)
