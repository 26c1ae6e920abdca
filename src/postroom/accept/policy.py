"""What an app may send: decided here for every way in. No I/O."""

from collections.abc import Iterable

import msgspec

from postroom.accept import refusals
from postroom.store.records import App, Mailbox, MailServer, SenderPolicy
from postroom.wire.paths import AddressError, check_address

RECIPIENT_LIMIT = 500
"""Recipients of one message, as in Exchange Online's default for a mailbox."""

RECEIVED_LIMIT = 50
OWN_RECEIVED_LIMIT = 2


class AppRules(msgspec.Struct, frozen=True):
    """What an app may do, with what the mail server adds to it."""

    app: App
    senders: tuple[str, ...]
    """As people wrote them: addresses, or `@example.com` for all of a domain."""
    forms: frozenset[str]
    """The same, as they are compared."""
    fallback_sender: str
    """Takes the place of a sender that is not allowed, where the app's policy is to rewrite; may be empty."""
    recipient_domains: frozenset[str]
    default_domain: str
    """Put behind an address without a domain; may be empty."""

    @property
    def name(self) -> str:
        return self.app.name

    def allows(self, address: str) -> bool:
        """Whether the app's list names the address or its domain."""
        form = same_form(address)
        return form in self.forms or "@" + form.rpartition("@")[2] in self.forms


def app_rules(app: App, mail_server: MailServer, mailbox: Mailbox, default_domain: str = "") -> AppRules:
    """The app's own list, or all that the mailbox itself is called; Refusal when neither is there yet."""
    own = tuple(dict.fromkeys(filter(None, (mail_server.sender, mailbox.username, mailbox.address))))
    senders = app.senders or own
    aliases = mailbox.user.addresses if mailbox.user is not None and not app.senders else ()
    if not senders:
        raise refusals.mail_server_not_set_up(app.name)
    addresses = [sender for sender in app.senders if not sender.startswith("@")]
    fallback = (*addresses, *own, "")[0]
    return AppRules(
        app=app,
        senders=senders,
        forms=frozenset(map(same_form, (*senders, *aliases))),
        fallback_sender=fallback,
        recipient_domains=frozenset(same_form("@" + domain.lstrip("@")) for domain in app.recipient_domains),
        default_domain=default_domain or (own or ("",))[0].rpartition("@")[2],
    )


def with_domain(address: str, default_domain: str) -> str:
    """`root` becomes `root@example.com`, where a default is known."""
    return f"{address}@{default_domain}" if address and "@" not in address and default_domain else address


def decide_envelope_sender(rules: AppRules, address: str) -> str:
    """The sender that the message leaves with; Refusal when it may not leave.

    The null sender, of notices and automatic replies, is everybody's (RFC 5321 4.5.5).
    """
    if not address:
        return address
    address = with_domain(address, rules.default_domain)
    try:
        check_address(address)
    except AddressError as trouble:
        if rules.app.sender_policy is SenderPolicy.REWRITE and rules.fallback_sender:
            return rules.fallback_sender
        raise refusals.sender_not_an_address(str(trouble), rules.senders) from None
    return address if _may_stay(rules, address, "the envelope") else rules.fallback_sender


def decide_header_sender(rules: AppRules, from_addresses: Iterable[str], sender_addresses: Iterable[str]) -> str:
    """The address to put into From; empty when each address that the message shows as its sender may stay."""
    shown = [*((address, "From") for address in from_addresses), *((address, "Sender") for address in sender_addresses)]
    if not any(place == "From" for _, place in shown):
        if rules.app.sender_policy is SenderPolicy.REFUSE:
            raise refusals.from_missing()
        return rules.fallback_sender
    stays = [_may_stay(rules, address, place) for address, place in shown]
    return "" if all(stays) else rules.fallback_sender


def _may_stay(rules: AppRules, address: str, place: str) -> bool:
    if rules.allows(address) or rules.app.sender_policy is SenderPolicy.KEEP:
        return True
    if rules.app.sender_policy is SenderPolicy.REWRITE and rules.fallback_sender:
        return False
    raise refusals.sender_not_allowed(rules.name, rules.senders, address, place)


def check_recipient(rules: AppRules, address: str) -> str:
    """The address, when it has the form of one and the app may send to its domain."""
    try:
        checked = check_address(address)
    except AddressError as trouble:
        raise refusals.recipient_not_an_address(str(trouble)) from None
    domain = same_form(checked).rpartition("@")[2]
    if rules.recipient_domains and "@" + domain not in rules.recipient_domains:
        raise refusals.recipient_not_allowed(rules.name, rules.app.recipient_domains, checked)
    return checked


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
    return local_part.casefold() + at + ascii_domain(domain.casefold())


def ascii_domain(domain: str) -> str:
    """A domain beyond ASCII as DNS knows it (RFC 3490); as it is when it cannot be written so."""
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain
