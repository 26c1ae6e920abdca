"""Users of this machine, by the number that the system vouches for."""

import os
import pwd
import socket
import struct

import msgspec

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group


class LocalUser(msgspec.Struct, frozen=True):
    """Whose process it is that speaks to us."""

    user_id: int
    name: str

    @property
    def may_see_all(self) -> bool:
        """root, and who runs this server: they could read it all anyway."""
        return self.user_id in (0, os.geteuid())


def user_name(user_id: int) -> str:
    """Its login; a number with a word before it for a container's user that nobody wrote down."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"uid-{user_id}"


def peer_user_id(connection: socket.socket) -> int:
    """The user whose process opened the other end of a Unix socket: it cannot be pretended."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])
