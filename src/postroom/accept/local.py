"""The way in for programs of this machine: a Unix socket that speaks SMTP, and knows each client by its user id."""

import json
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import structlog

from postroom.accept import refusals
from postroom.accept.drop_folder import DroppedMail
from postroom.accept.local_users import LocalUser
from postroom.clock import MICROSECONDS
from postroom.errors import SettingsError, WrongStateError
from postroom.ids import parse_public_id, public_id
from postroom.message import RecipientState
from postroom.store import Store
from postroom.store.records import OpenMessage, RecipientRow

PATH_LIMIT_BYTES = 107
"""What unix(7) leaves for a path, with the NUL behind it."""
FOLDER_MODE = 0o755
SOCKET_MODE = 0o666
PRIVATE_MODE = 0o600
_BACKLOG = 512

log = structlog.stdlib.get_logger("postroom.accept")


class LocalSocket:
    """A socket with a name in a folder: whoever can see it may connect; who it is, the system tells."""

    def __init__(self, path: Path, bound: socket.socket) -> None:
        self._path = path
        self._made = path.lstat()
        self.socket = bound

    @classmethod
    def bind(cls, path: Path, *, is_private: bool = False) -> Self:
        """Listen at `path`, in the place of a socket that a killed server left; a private one is ours alone.

        SettingsError.
        """
        key = "data_folder" if is_private else "sendmail.socket"
        try:
            if len(os.fsencode(path)) > PATH_LIMIT_BYTES:
                raise _Unusable(f"its path has more than {PATH_LIMIT_BYTES} bytes, which no socket may have")
            if not is_private:
                _prepare_folder(path.parent)
            _remove_stale(path)
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                bound.bind(os.fspath(path))
                path.chmod(PRIVATE_MODE if is_private else SOCKET_MODE)  # before anybody can connect
                bound.listen(_BACKLOG)
                return cls(path, bound)
            except BaseException:
                bound.close()
                raise
        except (OSError, _Unusable) as trouble:
            why = getattr(trouble, "strerror", None) or str(trouble)
            text = f"The socket {path} cannot be made: {why}. Choose another {key}"
            raise SettingsError(text + ("." if is_private else ", or say sendmail.enabled = false.")) from None

    def remove(self) -> None:
        """Take the name away, unless somebody else has it by now; the socket is closed by who serves it."""
        try:
            if os.path.samestat(self._path.lstat(), self._made):
                self._path.unlink()
        except OSError as trouble:
            log.warning("socket not removed", path=str(self._path), reason=trouble.strerror)


class _Unusable(Exception):
    """Half a sentence: why this path is not for a socket of ours."""


def _prepare_folder(folder: Path) -> None:
    """Others must be able to come in, and nobody to put a socket of their own in our place."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(FOLDER_MODE)
    found = folder.stat()
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise _Unusable(f"everybody may write to its folder, and so put another there (chmod o-w {folder})")
    if not found.st_mode & stat.S_IXOTH:
        log.warning("other users cannot reach the socket of sendmail", folder=str(folder), remedy=f"chmod 755 {folder}")


def _remove_stale(path: Path) -> None:
    """What a killed server left goes; what answers, or is no socket, is not ours to take away."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise _Unusable("something that is no socket stands there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise _Unusable("another Postroom answers there")


class QueueDesk:
    """What `mailq` and `sendmail -q` ask, answered for who asks: a curious colleague learns nothing."""

    def __init__(self, store: Store, dropped: Callable[[], Sequence[DroppedMail]] = tuple) -> None:
        """`dropped` tells what waits in the drop folder because it cannot be taken now."""
        self._store = store
        self._dropped = dropped

    async def list(self, user: LocalUser) -> list[str]:
        """A line for people, and one JSON object, all ASCII, for each message that waits."""
        dropped = [mail for mail in self._dropped() if user.may_see_all or mail.user_id == user.user_id]
        messages = await self._store.messages.open_messages(None if user.may_see_all else user.name)
        waiting = [*map(_waiting_outside, dropped), *map(_waiting, messages)]
        return [f"{len(waiting)} messages", *map(json.dumps, waiting)]

    async def flush(self, user: LocalUser, only: str = "") -> str:
        """Try again now what was put off, of everybody or of the id or site in `only`: what came of it. Refusal."""
        if not user.may_see_all:
            raise refusals.flush_not_allowed(user.name)
        flushed = 0
        for message in await self._store.messages.open_messages():
            if _is_put_off(message) and _is_meant(message, only):
                try:
                    await self._store.outbox.hurry(message.message_id, user.name)
                except WrongStateError:
                    continue  # it went meanwhile
                flushed += 1
        return f"{flushed} messages are tried again"


def _is_put_off(message: OpenMessage) -> bool:
    return any(recipient.state is RecipientState.DEFERRED for recipient in message.recipients)


def _is_meant(message: OpenMessage, only: str) -> bool:
    try:
        return not only or message.message_id == parse_public_id(only)
    except ValueError:
        sites = {recipient.address.rpartition("@")[2].casefold() for recipient in message.recipients}
        return only.casefold() in sites


def _waiting(message: OpenMessage) -> dict[str, Any]:
    """As `postroom.cli.mailq` reads it."""
    return {
        "id": public_id(message.message_id),
        "state": message.state.value,
        "size_bytes": message.size_bytes,
        "received_at": message.received_at_us // MICROSECONDS,
        "sender": message.envelope_sender,
        "recipients": [_waiting_recipient(message, recipient) for recipient in message.recipients],
    }


def _waiting_outside(mail: DroppedMail) -> dict[str, Any]:
    next_try_at = mail.next_try_at_us // MICROSECONDS
    return {
        "id": f"drop-{mail.name[-8:]}",
        "state": RecipientState.DEFERRED.value,
        "size_bytes": mail.size_bytes,
        "received_at": mail.dropped_at_us // MICROSECONDS,
        "sender": mail.sender,
        "recipients": [(address, mail.reason, next_try_at) for address in mail.recipients],
    }


def _waiting_recipient(message: OpenMessage, recipient: RecipientRow) -> tuple[str, str, int | None]:
    why = recipient.reply or (recipient.failure.text if recipient.failure is not None else "")
    if message.waits_for is not None and recipient.state is RecipientState.QUEUED:
        why = f"waits for {message.waits_for}"
    next_at_us = recipient.next_attempt_at_us
    return recipient.address, why, next_at_us // MICROSECONDS if next_at_us is not None else None
