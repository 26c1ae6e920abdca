"""Which app an address or a user of this machine belongs to, remembered until an app changes."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from postroom.store.records import App

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANY_USER = "*"


class _Pages(NamedTuple):
    networks: list[tuple[Network, App]]
    """The narrowest first."""
    users: dict[str, App]


class AppBook:
    """Asked for each connection, so it reads the store only after a change."""

    def __init__(self, read_apps: Callable[[], Awaitable[list[App]]]) -> None:
        self._read_apps = read_apps
        self._pages: _Pages | None = None
        self._edition = 0

    def forget(self) -> None:
        """Something changed: the next question reads anew."""
        self._pages = None
        self._edition += 1

    async def at_address(self, address: str) -> App | None:
        """The enabled app of the narrowest network that holds the address; None for what is no address."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return None
        pages = await self._open()
        return next((app for network, app in pages.networks if found in network), None)

    async def of_local_user(self, user: str) -> App | None:
        """The app that names the user, or the one that names any, also when it is disabled: intake says so then."""
        users = (await self._open()).users
        return users.get(user) or users.get(ANY_USER)

    async def _open(self) -> _Pages:
        pages = self._pages
        if pages is None:
            edition = self._edition
            pages = _make_pages(await self._read_apps())
            if edition == self._edition:
                self._pages = pages
        return pages


def _make_pages(apps: list[App]) -> _Pages:
    networks = [
        (ipaddress.ip_network(network, strict=False), app)
        for app in sorted(apps, key=lambda app: app.app_id)
        for network in app.addresses
        if app.is_enabled
    ]
    networks.sort(key=lambda pair: -pair[0].prefixlen)
    return _Pages(networks, {user: app for app in reversed(apps) for user in app.local_users})
