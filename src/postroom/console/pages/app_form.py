"""The rules of an app as a form shows them: read with a sentence for each field that cannot be used."""

from collections.abc import Mapping

from postroom.accept.legacy import why_not_allowed
from postroom.accept.networks import parse_network
from postroom.console.forms import Form, Troubles, address_trouble
from postroom.console.language import _
from postroom.store.records import AppSettings, SenderPolicy

KINDS = ("Printer or scanner", "Monitoring", "Backup or storage", "Web application", "Script", "Other")
POLICIES = {
    SenderPolicy.REFUSE: (
        "Refuse it",
        "The program or device gets an answer that says which senders it may use.",
    ),
    SenderPolicy.REWRITE: (
        "Send it under our own sender",
        "Replies still go to the old address, which stays in the header X-Original-From. For devices with odd senders.",
    ),
    SenderPolicy.KEEP: (
        "Leave it as it is",
        "Microsoft decides whether the mailbox may send as that address. For programs that speak for many people.",
    ),
}
NOTICES = {
    "": ("By what it is", "The administrator for a device or our own sender, the sender for everything else."),
    "sender": ("The sender", "Whoever stands in its mail gets a report."),
    "administrator": ("The administrator", "The address under Admin, Sending."),
    "nobody": ("Nobody", "It stands in Deliveries only."),
}
METHODS = {
    "made": ("A new user name and password", "Made now and shown once. For everything that lets you type them."),
    "kept": (
        "The user name and password that it has already",
        "For programs in which they are built in. A password that a person chose is weaker: renew it some day.",
    ),
    "address": (
        "No sign-in: its address is enough",
        "For old devices in your own network, on the device listener. Whoever takes its address sends as it.",
    ),
}
PERMISSIONS = {
    "fixes_lines": ("Put its lines right", "Bare line feeds, NUL and over-long lines are repaired, not refused."),
    "allows_plain_text": ("No TLS", "Its mail, and a password if it has one, can be read by anybody on the way."),
    "allows_old_tls": ("TLS 1.0 and 1.1", "Encryption that can be broken, but better than none."),
    "allows_cram_md5": ("CRAM-MD5", "An old way to sign in; its password is then kept readable, sealed by the vault."),
}
_MEGABYTE = 1024 * 1024
_SWITCHES = tuple(PERMISSIONS)


def defaults(address: str = "", domain: str = "") -> dict[str, str]:
    """What a new form shows; with an address, that of a device which was turned away there: it may send to `domain`."""
    values = {"sender_policy": SenderPolicy.REFUSE.value, "message_limit_a_minute": "60", "message_limit_a_day": "2000"}
    if not address:
        return values | {"kind": KINDS[0], "method": "made"}
    return values | {
        "name": address,
        "kind": KINDS[0],
        "method": "address",
        "addresses": address,
        "sender_policy": SenderPolicy.REWRITE.value,
        "recipient_domains": domain,
        "fixes_lines": "on",
    }


def values_of(settings: AppSettings) -> dict[str, str]:
    """The fields of an app that exists."""
    size = settings.size_limit_bytes
    return {
        "name": settings.name,
        "kind": settings.kind,
        "owner": settings.owner,
        "senders": "\n".join(settings.senders),
        "sender_policy": settings.sender_policy.value,
        "recipient_domains": "\n".join(settings.recipient_domains),
        "notices_to": settings.notices_to,
        "message_limit_a_minute": str(settings.message_limit_a_minute or ""),
        "message_limit_a_day": str(settings.message_limit_a_day or ""),
        "size_limit_mb": f"{size / _MEGABYTE:g}" if size else "",
        "addresses": "\n".join(settings.addresses),
        "local_users": "\n".join(settings.local_users),
        "method": "made" if settings.needs_sign_in else "address",
        **{name: "on" if getattr(settings, name) else "" for name in _SWITCHES},
    }


def read_settings(form: Form) -> tuple[AppSettings, Troubles]:
    """What was entered, and what is wrong with it."""
    troubles: Troubles = {}
    if not form.text("name"):
        troubles["name"] = _("Enter a name, such as HP 2nd floor.")
    senders = form.lines("senders")
    wrong = [sentence for sentence in map(_sender_trouble, senders) if sentence]
    if wrong:
        troubles["senders"] = wrong[0]
    domains = tuple(domain.lstrip("@") for domain in form.lines("recipient_domains"))
    if any("." not in domain or "@" in domain for domain in domains):
        troubles["recipient_domains"] = _("Write domains such as contoso.com, one a line.")
    settings = AppSettings(
        name=form.text("name"),
        kind=form.text("kind") if form.text("kind") in KINDS else KINDS[-1],
        owner=form.text("owner"),
        senders=senders,
        sender_policy=_policy(form),
        recipient_domains=domains,
        message_limit_a_minute=_number(form, "message_limit_a_minute", troubles),
        message_limit_a_day=_number(form, "message_limit_a_day", troubles),
        size_limit_bytes=_size(form, troubles),
        addresses=_addresses(form, troubles),
        needs_sign_in=form.text("method") != "address",
        local_users=form.lines("local_users"),
        fixes_lines=form.is_on("fixes_lines"),
        allows_plain_text=form.is_on("allows_plain_text"),
        allows_old_tls=form.is_on("allows_old_tls"),
        allows_cram_md5=form.is_on("allows_cram_md5"),
        notices_to=form.text("notices_to") if form.text("notices_to") in NOTICES else "",
    )
    unsafe = why_not_allowed(settings)
    if unsafe and "addresses" not in troubles:
        troubles["addresses"] = unsafe
    return settings, troubles


def given(form: Form) -> Mapping[str, str]:
    """What was typed, to be shown again."""
    return {name: value for name, value in form.values.items() if name != "kept_password"}


def _policy(form: Form) -> SenderPolicy:
    chosen = form.text("sender_policy")
    return SenderPolicy(chosen) if chosen in {policy.value for policy in SenderPolicy} else SenderPolicy.REFUSE


def _sender_trouble(sender: str) -> str | None:
    if sender.startswith("@"):
        return address_trouble(f"anybody{sender}", "sender") and _("Write a whole domain like @contoso.com.")
    return address_trouble(sender, "sender")


def _number(form: Form, name: str, troubles: Troubles) -> int | None:
    text = form.text(name)
    if not text:
        return None
    if text.isascii() and text.isdigit() and 0 < int(text[:10]) <= 100_000_000:
        return int(text)
    troubles[name] = _("Enter a number of messages, or leave it empty for no limit.")
    return None


def _size(form: Form, troubles: Troubles) -> int | None:
    text = form.text("size_limit_mb")
    if not text:
        return None
    try:
        size = int(float(text.replace(",", ".")) * _MEGABYTE)
    except (ValueError, OverflowError):
        size = 0
    if not 1024 <= size <= 1024 * _MEGABYTE:
        troubles["size_limit_mb"] = _("Enter a size in MB, such as 25, or leave it empty.")
        return None
    return size


def _addresses(form: Form, troubles: Troubles) -> tuple[str, ...]:
    found = []
    for text in form.lines("addresses"):
        try:
            network = parse_network(text)
        except ValueError as trouble:
            troubles["addresses"] = str(trouble)
            continue
        found.append(str(network.network_address) if network.num_addresses == 1 else str(network))
    return tuple(found)
