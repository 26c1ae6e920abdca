"""What an app may send: decided here for every way in. No I/O."""

from collections.abc import Iterable

import msgspec

from postroom.accept import refusals
from postroom.store.records import App, Mailbox, MailServer
from postroom.wire.paths import AddressError, check_address

RECIPIENT_LIMIT = 500
"""Recipients of one message, as in Exchange Online's default for a mailbox."""

RECEIVED_LIMIT = 50
OWN_RECEIVED_LIMIT = 2


class SenderRules(msgspec.Struct, frozen=True):
    """Which addresses an app may send from."""

    app_name: str
    senders: tuple[str, ...]
    forms: frozenset[str]
    """The same addresses, as they are compared."""

    @classmethod
    def of(cls, app_name: str, senders: tuple[str, ...]) -> "SenderRules":
        return cls(app_name, senders, frozenset(map(same_form, senders)))


def sender_rules(app: App, mail_server: MailServer, mailbox: Mailbox) -> SenderRules:
    """The app's own list, or the mail server's sender and username; Refusal when neither is there yet."""
    senders = app.senders or tuple(dict.fromkeys(filter(None, (mail_server.sender, mailbox.username))))
    if not senders:
        raise refusals.mail_server_not_set_up(app.name)
    return SenderRules.of(app.name, senders)


def check_envelope_sender(rules: SenderRules, address: str) -> None:
    """The null sender, of notices and automatic replies, is everybody's (RFC 5321 4.5.5)."""
    if not address:
        return
    try:
        check_address(address)
    except AddressError as trouble:
        raise refusals.sender_not_an_address(str(trouble), rules.senders) from None
    _check_allowed(rules, address, "the envelope")


def check_header_senders(rules: SenderRules, from_addresses: Iterable[str], sender_addresses: Iterable[str]) -> None:
    """Each address that the message shows as its sender must be one of the app's."""
    for address in from_addresses:
        _check_allowed(rules, address, "From")
    for address in sender_addresses:
        _check_allowed(rules, address, "Sender")


def _check_allowed(rules: SenderRules, address: str, place: str) -> None:
    if same_form(address) not in rules.forms:
        raise refusals.sender_not_allowed(rules.app_name, rules.senders, address, place)


def check_recipient(address: str) -> str:
    """The address, when it has the form of one."""
    try:
        return check_address(address)
    except AddressError as trouble:
        raise refusals.recipient_not_an_address(str(trouble)) from None


def check_trace(received: Iterable[bytes], own_mark: bytes) -> None:
    """Refuse what travelled too far (RFC 5321 6.3), or came through this server twice before."""
    lines = list(received)
    if len(lines) > RECEIVED_LIMIT:
        raise refusals.mail_loop(f"it has {len(lines)} Received fields, and {RECEIVED_LIMIT} are the limit")
    if sum(own_mark in line for line in lines) >= OWN_RECEIVED_LIMIT:
        raise refusals.mail_loop("it has been through this server twice already")


def same_form(address: str) -> str:
    """Two addresses are one when this is equal: Exchange does not tell upper from lower case."""
    local_part, at, domain = address.rpartition("@")
    return local_part.casefold() + at + _ascii_domain(domain.casefold())


def _ascii_domain(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain
