"""The Mail Server page while it is filled in: what a step read from a form makes of the draft, and what is missing.

Pure: forms and drafts go in, drafts and sentences come out. Any change of a field takes back the verification;
a change of who signs in, or where, takes back the sign-in.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec
from msgspec.structs import replace

from postroom.checks.prerequisites import can_work_together, tidy_draft
from postroom.checks.setup_block import MARK, read_setup_block
from postroom.console.forms import Form, Troubles
from postroom.console.language import _
from postroom.console.times import moment
from postroom.identity.addresses import is_same_address
from postroom.identity.providers import MICROSOFT
from postroom.store.records import Authentication, EmailType, MailServerDraft, SendRight

LONGEST_SECRET_DAYS = 730
"""The longest life of a client secret that Entra's page offers."""
SECRET_DAYS = (90, 180, 365, LONGEST_SECRET_DAYS)
GRAPH_HOST = "graph.microsoft.com"


def permissions_of(draft: MailServerDraft) -> tuple[str, ...]:
    """What this way of sending needs, and no more."""
    sending = (scope.rpartition("/")[2] for scope in MICROSOFT.sending_scopes(draft))
    return (*sending, "offline_access", "User.Read")


STEP_FIELDS: dict[str, frozenset[str]] = {
    "server": frozenset(
        {"name", "host", "port", "email_type", "use_tls", "ehlo_name", "authorities", "takes_large_mail"}
    ),
    "addresses": frozenset(
        {"sender", "sender_name", "username", "mailbox_address", "test_address", "send_right", "send_right_is_granted"}
    ),
    "app": frozenset({"tenant", "client_id", "client_secret", "secret_ends_on"}),
    "password": frozenset({"password"}),
}
"""Which step a field stands on."""
_ACCOUNT_FIELDS = ("tenant", "username", "authentication")
_SIGN_IN_FIELDS = (*_ACCOUNT_FIELDS, "client_id")


def change_draft(draft: MailServerDraft, **fields: object) -> MailServerDraft:
    """The draft with these fields."""
    changed = tidy_draft(replace(draft, **fields))
    if changed == draft:
        return draft
    changed = replace(changed, verified_at_us=None)
    if _differ(changed, draft, _SIGN_IN_FIELDS) or _needs_another_consent(changed, draft):
        changed = forget_sign_in(changed)
    if _differ(changed, draft, _ACCOUNT_FIELDS):
        changed = replace(changed, user=None)  # the next account to sign in is pinned anew
    return changed


def _needs_another_consent(changed: MailServerDraft, draft: MailServerDraft) -> bool:
    """Large mail was switched on, and the sign-in that there is does not cover it."""
    names = {scope.rpartition("/")[2].lower() for scope in changed.scopes}
    return changed.takes_large_mail and not draft.takes_large_mail and "mail.readwrite" not in names


def forget_sign_in(draft: MailServerDraft) -> MailServerDraft:
    """The draft as one that nobody signed in for; who is pinned stays pinned."""
    return replace(draft, refresh_token="", scopes=(), granted_at_us=None, verified_at_us=None)


def has_changes(draft: MailServerDraft, live: MailServerDraft) -> bool:
    """Whether a person would miss something if the draft made way for what is live."""
    return not draft.has_same_settings(live if draft.refresh_token else forget_sign_in(live))


def _differ(one: MailServerDraft, other: MailServerDraft, names: tuple[str, ...]) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in names)


# ---- the steps


@dataclass(frozen=True)
class StepState:
    """One step of the stepper, as its heading shows it."""

    name: str
    title: str
    is_done: bool

    @property
    def path(self) -> str:
        return f"/admin/mail-server/{self.name}"


def steps_of(draft: MailServerDraft) -> list[StepState]:
    """The steps in order; the sign-in belongs to OAuth only, the password to Basic."""
    server_is_done = not troubles_of(draft, "server")
    addresses_are_done = not troubles_of(draft, "addresses")
    steps = [
        StepState("server", _("Server"), server_is_done),
        StepState("addresses", _("Addresses"), addresses_are_done),
    ]
    if draft.authentication is Authentication.OAUTH:
        has_app = not troubles_of(draft, "app")
        steps += [
            StepState("method", _("Sign-in method"), addresses_are_done and (has_app or bool(draft.tenant))),
            StepState("app", _("App in Microsoft Entra"), has_app),
            StepState("sign-in", _("Sign in"), is_signed_in(draft)),
        ]
    else:
        steps.append(StepState("method", _("Sign-in method"), True))
    if draft.authentication is Authentication.BASIC:
        steps.append(StepState("password", _("Password"), bool(draft.password)))
    return [
        *steps,
        StepState("check", _("Check and save"), draft.verified_at_us is not None),
        StepState("test", _("Test mail"), False),
    ]


def next_step(draft: MailServerDraft) -> str:
    """The first step that still needs a person."""
    return next(step.name for step in steps_of(draft) if not step.is_done)


def missing_before_check(draft: MailServerDraft) -> list[StepState]:
    """The steps without which there is nothing to check."""
    return [step for step in steps_of(draft)[:-2] if not step.is_done and step.name != "method"]


def is_signed_in(draft: MailServerDraft) -> bool:
    return bool(draft.refresh_token) and draft.user is not None


# ---- reading and judging each step


def troubles_of(draft: MailServerDraft, step: str) -> Troubles:
    """What is wrong with the fields of this step, a sentence a field."""
    fields = STEP_FIELDS[step]
    troubles: Troubles = {}
    for found in can_work_together(draft):
        if found.field in fields:
            troubles.setdefault(found.field, found.sentence)
    if step == "app" and draft.secret_ends_on is None:
        troubles["secret_ends_on"] = _("Enter the date on which the secret expires, so that we can remind you.")
    return troubles


def read_server(draft: MailServerDraft, form: Form) -> tuple[MailServerDraft, Troubles]:
    """Server Name, Port, Email Type, Enable TLS."""
    port_text, email_type = form.text("port"), form.text("email_type")
    is_number = port_text.isascii() and port_text.isdigit() and len(port_text) < 6
    changed = change_draft(
        draft,
        name=form.text("name")[:100],
        authorities=form.values.get("authorities", "").replace("\r\n", "\n").strip(),
        takes_null_sender=form.is_on("takes_null_sender"),
        takes_large_mail=form.is_on("takes_large_mail") and email_type == EmailType.GRAPH,
        host=re.sub(r"^[a-z]+://", "", form.text("host"), flags=re.IGNORECASE).rstrip("/").lower(),
        port=int(port_text) if is_number else 0,
        email_type=EmailType(email_type) if email_type in list(EmailType) else draft.email_type,
        use_tls=form.is_on("use_tls"),
    )
    changed = _follow_email_type(changed, draft.email_type)
    return changed, troubles_of(changed, "server")


def _follow_email_type(draft: MailServerDraft, before: EmailType) -> MailServerDraft:
    """Who chooses Graph, or leaves it, means the server that goes with it."""
    is_graph, was_graph = draft.email_type is EmailType.GRAPH, before is EmailType.GRAPH
    if is_graph and not was_graph and draft.host != GRAPH_HOST:
        return change_draft(draft, host=GRAPH_HOST, port=443, use_tls=True)
    if was_graph and not is_graph and draft.host == GRAPH_HOST:
        fresh = MailServerDraft()
        return change_draft(draft, host=fresh.host, port=fresh.port, use_tls=True)
    return draft


def read_addresses(draft: MailServerDraft, form: Form) -> tuple[MailServerDraft, Troubles]:
    """Sender, Username and Test Email Address, and by which right the one sends as the other."""
    sender = form.text("sender")
    username = form.text("username") or sender
    is_other = not is_same_address(sender, username)
    changed = change_draft(
        draft,
        sender=sender,
        sender_name=form.text("sender_name"),
        sender_is_own_mailbox=form.text("sender_is_own_mailbox") != "no",
        username=username,
        mailbox_address=form.text("mailbox_address"),
        test_address=form.text("test_address"),
        send_right=_send_right(form.text("send_right")) if is_other else SendRight.OWN,
        send_right_is_granted=is_other and form.is_on("send_right_is_granted"),
    )
    return changed, troubles_of(changed, "addresses")


def read_app(draft: MailServerDraft, form: Form) -> tuple[MailServerDraft, Troubles]:
    """Tenant ID, Client ID, Client Secret and the date it expires; an empty secret keeps the one we have.

    The block that the set-up script printed stands for all four.
    """
    if pasted := form.secret("setup_block"):
        return _read_block(draft, pasted)
    ends_on, date_trouble = _read_date(form.text("secret_ends_on"))
    changed = change_draft(
        draft,
        tenant=form.text("tenant"),
        client_id=form.text("client_id").lower(),
        client_secret=form.secret("client_secret") or draft.client_secret,
        secret_ends_on=ends_on,
    )
    troubles = troubles_of(changed, "app")
    if date_trouble:
        troubles["secret_ends_on"] = date_trouble
    return changed, troubles


def _read_block(draft: MailServerDraft, pasted: str) -> tuple[MailServerDraft, Troubles]:
    block = read_setup_block(pasted)
    if block is None:
        sentence = _("This is not the whole block. Copy all of it, from %(mark)s to its end.", mark=MARK)
        return draft, {"setup_block": sentence}
    changed = change_draft(draft, **msgspec.structs.asdict(block))
    return changed, troubles_of(changed, "app")


def read_password(draft: MailServerDraft, form: Form) -> tuple[MailServerDraft, Troubles]:
    """The mailbox's password; an empty field keeps the one we have."""
    changed = change_draft(draft, password=form.passphrase("password") or draft.password)
    return changed, troubles_of(changed, "password")


def default_secret_end(now_us: int) -> date:
    return moment(now_us).date() + timedelta(days=LONGEST_SECRET_DAYS)


def _send_right(text: str) -> SendRight:
    return SendRight.SEND_AS if text == SendRight.SEND_AS else SendRight.SEND_ON_BEHALF


def _read_date(text: str) -> tuple[date | None, str | None]:
    if not text:
        return None, None
    try:
        return date.fromisoformat(text), None
    except ValueError:
        return None, _("%(text)s is not a date. Write it like 2028-11-30.", text=text)
