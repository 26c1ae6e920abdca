"""Which listeners the settings ask for, and why some of them may not be: this server is never an open relay.

Nothing is looked up by name: what a listener must not be reached from is decided by addresses alone.
"""

import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from postroom.accept.legacy import why_not_allowed
from postroom.accept.networks import Network, is_inside, is_loopback, parse_address, parse_networks
from postroom.accept.profiles import DEVICE, IMPLICIT_TLS, LOCAL, SUBMISSION, ListenerProfile
from postroom.errors import SettingsError
from postroom.settings import Settings
from postroom.store.records import App

_LOCAL_ROUTE = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
_IPV4_ROUTES = Path("/proc/net/fib_trie")
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")

OwnAddresses = Callable[[], list[str] | None]


class ListenerPlan(msgspec.Struct, frozen=True):
    """One listener: what kind, and where."""

    profile: ListenerProfile
    hosts: str
    port: int

    @property
    def section(self) -> str:
        """Of the settings file."""
        return self.profile.name


class ListenerAddress(msgspec.Struct, frozen=True):
    """Where mail is handed in, as a device's settings name it."""

    name: str
    host: str
    host_name: str
    """In the certificate."""
    port: int
    encryption: str
    is_for_devices: bool


_SHOWN = {
    SUBMISSION: ("Submission", "STARTTLS"),
    IMPLICIT_TLS: ("Implicit TLS", "SSL/TLS"),
    DEVICE: ("Device", "none or STARTTLS"),
}
"""The local listener is for programs of this machine, which need no settings."""


def address_of(plan: ListenerPlan, host_name: str) -> ListenerAddress | None:
    """What people enter into a device; None for what is not meant for devices."""
    if plan.profile not in _SHOWN:
        return None
    name, encryption = _SHOWN[plan.profile]
    host = (plan.hosts.replace(",", " ").split() or [""])[0]
    host = host_name if host in ("0.0.0.0", "::", "*", "") else host  # noqa: S104 - looked for, not bound to
    return ListenerAddress(name, host, host_name, plan.port, encryption, plan.profile is DEVICE)


def fitting(addresses: Iterable[ListenerAddress], app: App) -> list[ListenerAddress]:
    """Where this app may hand in: a device that does not sign in has one listener; an old one that does has all."""
    if not app.needs_sign_in:
        return [address for address in addresses if address.is_for_devices]
    may_use_old = app.is_legacy and bool(app.addresses)
    return [address for address in addresses if may_use_old or not address.is_for_devices]


def own_addresses() -> list[str] | None:
    """The addresses of this machine's interfaces; None where the system does not simply tell them."""
    try:
        found = _LOCAL_ROUTE.findall(_IPV4_ROUTES.read_text(encoding="ascii"))
    except OSError:
        return None
    try:
        lines = _IPV6_ADDRESSES.read_text(encoding="ascii").splitlines()
    except OSError:  # a kernel without IPv6
        lines = []
    found += [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in lines]
    return list(dict.fromkeys(found))


def plan_listeners(settings: Settings, own: OwnAddresses = own_addresses) -> list[ListenerPlan]:
    """Those that are switched on. SettingsError when one may not listen where it should."""
    sections = (
        (SUBMISSION, settings.submission),
        (IMPLICIT_TLS, settings.implicit_tls),
        (LOCAL, settings.local),
        (DEVICE, settings.device),
    )
    plans = [ListenerPlan(profile, section.host, section.port) for profile, section in sections if section.enabled]
    for plan in plans:
        if not plan.hosts.split():
            raise SettingsError(f"{plan.section}.host is empty. Write an address, such as 127.0.0.1.")
        if plan.profile.serves_this_machine:
            _require_loopback(plan)
        if plan.profile.knows_devices:
            _require_inside(plan, own)
    return plans


def plan_proxies(settings: Settings) -> tuple[Network, ...]:
    """The load balancers. SettingsError when one is no address or network."""
    try:
        return tuple(parse_networks(settings.smtp.proxies))
    except ValueError as trouble:
        raise SettingsError(f"smtp.proxies: {trouble}") from None


def require_safe_apps(apps: Iterable[App]) -> None:
    """SettingsError when an app would make the device listener open to strangers."""
    for app in apps:
        trouble = why_not_allowed(app) if app.is_enabled else None
        if trouble is not None:
            raise SettingsError(
                f"The device listener cannot start, because of the app “{app.name}”: {trouble} "
                "Set device.enabled to false, start, and change the app under Apps & devices."
            )


def certificate_addresses(plans: Iterable[ListenerPlan], own: OwnAddresses = own_addresses) -> list[str]:
    """The addresses by which devices may know this server: those that listeners with TLS are bound to."""
    found: dict[str, None] = {}
    for plan in plans:
        if not plan.profile.needs_tls:
            continue
        for host in plan.hosts.split():
            address = parse_address(host)
            if address is None:
                continue
            if address.is_unspecified:
                same = (other for other in own() or [] if (":" in other) == (":" in host))
                found |= dict.fromkeys(other for other in same if not _is_link_local(other))
            else:
                found[str(address)] = None
    return list(found)


def _is_link_local(text: str) -> bool:
    address = parse_address(text)
    return address is not None and address.is_link_local


def _require_loopback(plan: ListenerPlan) -> None:
    for host in plan.hosts.split():
        if host != "localhost" and not is_loopback(host):
            raise SettingsError(
                f"{plan.section}.host is {host}, and whoever reaches that listener may send without a password. "
                "Write 127.0.0.1 or ::1; for other machines there are the submission and the device listener."
            )


def _require_inside(plan: ListenerPlan, own: OwnAddresses) -> None:
    for host in plan.hosts.split():
        address = parse_address(host)
        if address is None and host != "localhost":
            raise SettingsError(f"{plan.section}.host is {host}, which is no address. Write one, such as 10.2.3.4.")
        public = _public_addresses(host, own) if address is not None and address.is_unspecified else []
        if address is not None and not address.is_unspecified and not is_inside(host):
            public = [host]
        if public:
            raise SettingsError(
                f"{plan.section}.host is {host}, and so the device listener would be reached at {public[0]}, which is "
                "a public address: it takes mail by the client's address alone. Write a private address of this "
                "machine, such as 10.2.3.4."
            )


def _public_addresses(host: str, own: OwnAddresses) -> list[str]:
    found = own()
    if found is None:
        raise SettingsError(
            f"device.host is {host}, and this system does not tell which addresses that includes. "
            "Write the private address itself, such as 10.2.3.4."
        )
    return [other for other in found if (":" in other) == (":" in host) and not is_inside(other)]
