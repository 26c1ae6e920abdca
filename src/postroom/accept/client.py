"""Who a connection comes from, and what that entitles it to, as far as it is known before anything is said."""

import ssl
from dataclasses import dataclass
from typing import Protocol

from postroom.accept.legacy import NO_PERMISSIONS, Permissions, permissions_at
from postroom.accept.local_users import LocalUser
from postroom.accept.networks import is_inside
from postroom.accept.profiles import ListenerProfile
from postroom.store.records import App


class AppBook(Protocol):
    """What a listener asks of the store's apps."""

    async def authenticate(self, login: str, password: str) -> App | None: ...

    async def cram_md5_secrets(self, login: str) -> list[tuple[App, str]]: ...

    async def note_use(self, app_id: int, address: str, tls: str, mechanism: str = "") -> None: ...

    async def at_address(self, address: str) -> App | None: ...

    async def of_local_user(self, user: str) -> App: ...


@dataclass(frozen=True)
class TlsContexts:
    """What clients are offered: all of them, and devices that are allowed TLS 1.0."""

    modern: ssl.SSLContext
    old: ssl.SSLContext | None = None


@dataclass(frozen=True)
class Client:
    """One end of a connection."""

    address: str | None
    """Behind a load balancer that of the client; None behind a Unix socket."""
    tls: ssl.SSLContext | None = None
    """What it is offered."""
    device: App | None = None
    """The app that names its address."""
    permissions: Permissions = NO_PERMISSIONS
    guest: App | None = None
    """Whose mail it is without a sign-in."""
    local_user: LocalUser | None = None
    needs_tls: bool = False

    @property
    def key(self) -> str:
        """By which its connections are counted."""
        return f"user {self.local_user.user_id}" if self.local_user is not None else self.address or ""


class ClientBook:
    """Asked for each connection before its first word, and again for each message of who did not sign in."""

    def __init__(self, apps: AppBook, tls: TlsContexts | None) -> None:
        self._apps = apps
        self._tls = tls

    async def look_up(
        self, profile: ListenerProfile, address: str | None, local_user: LocalUser | None, *, is_balancer: bool = False
    ) -> Client:
        """PostroomError when the store is away. A load balancer that speaks for itself is nobody's device."""
        tls = self._tls.modern if self._tls is not None else None
        if local_user is not None:
            return Client(None, guest=await self._apps.of_local_user(local_user.name), local_user=local_user)
        if profile.serves_this_machine:
            return Client(address, tls, guest=await self._apps.of_local_user(""))
        if profile.guest is not None:
            return Client(address, tls, guest=profile.guest, needs_tls=profile.needs_tls)
        if address is None or is_balancer or not is_inside(address):
            return Client(address, tls, needs_tls=profile.needs_tls)
        return self._at(profile, address, await self._apps.at_address(address))

    def _at(self, profile: ListenerProfile, address: str, device: App | None) -> Client:
        modern = self._tls.modern if self._tls is not None else None
        if device is None:
            return Client(address, modern, needs_tls=profile.needs_tls)
        permissions = permissions_at(device, address)
        if not profile.knows_devices:
            permissions = Permissions(cram_md5=permissions.cram_md5)
        takes_old = permissions.old_tls and self._tls is not None and self._tls.old is not None
        return Client(
            address,
            self._tls.old if takes_old and self._tls is not None else modern,
            device=device,
            permissions=permissions,
            guest=device if permissions.needs_no_sign_in else None,
            needs_tls=profile.needs_tls and not permissions.plain_text,
        )
