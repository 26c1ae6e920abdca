"""What old devices may be allowed, and only inside: pure rules for console, command line, API and listener alike."""

import msgspec

from postroom.accept.networks import Network, holds, is_inside, is_inside_network, parse_network
from postroom.store.records import App, AppSettings

WIDEST_IPV4 = 16
"""Bits of the widest network that one device may be said to stand in."""
WIDEST_IPV6 = 64


class Permissions(msgspec.Struct, frozen=True):
    """What a client may do because of its address alone."""

    needs_no_sign_in: bool = False
    plain_text: bool = False
    old_tls: bool = False
    cram_md5: bool = False


NO_PERMISSIONS = Permissions()


def permissions_at(app: App, address: str) -> Permissions:
    """What the app's settings permit to a client at this address. They are judged again, whatever is stored."""
    if not (is_inside(address) and names(app, address) and why_not_allowed(app) is None):
        return NO_PERMISSIONS
    return Permissions(not app.needs_sign_in, app.allows_plain_text, app.allows_old_tls, app.allows_cram_md5)


def names(app: AppSettings, address: str) -> bool:
    """Whether the app names this address."""
    return holds(map(parse_network, app.addresses), address)


def why_not_allowed(settings: AppSettings) -> str | None:
    """A sentence when these settings would open the server; None when they are safe."""
    try:
        networks = [parse_network(text) for text in settings.addresses]
    except ValueError as trouble:
        return str(trouble)
    if not settings.needs_sign_in and not networks:
        return "An app that does not sign in needs the address that it connects from."
    if settings.is_legacy and not networks:
        return "Plain text, old TLS and CRAM-MD5 are allowed to a named address only: enter the device's address."
    if settings.is_legacy or not settings.needs_sign_in:
        return next((why for why in map(_why_too_open, networks) if why), None)
    return None


def _why_too_open(network: Network) -> str | None:
    if not is_inside_network(network):
        return f"{network} is a public address: a device that does not sign in safely must stand in your own network."
    widest = WIDEST_IPV4 if network.version == 4 else WIDEST_IPV6
    if network.prefixlen < widest:
        return f"{network} is too wide: name the device's address, or a network of at least /{widest}."
    return None
