"""What must be changed at Microsoft so that a mailbox can send by OAuth: a plan as data. Pure.

Each change names the least role that may make it and how it is undone. What a way to send does not need is not in it.
"""

from enum import Enum

import msgspec

from postroom.identity.addresses import is_same_address
from postroom.store.records import EmailType, MailServerDraft, SendRight

SECRET_DAYS = 730
"""The longest life of a client secret that Entra's page offers."""


class ChangeKind(Enum):
    REGISTER_APP = "register app"
    CONSENT = "consent"
    MAKE_SECRET = "make secret"  # noqa: S105 - the name of a change
    SWITCH_ON_SMTP_AUTH = "switch on SMTP AUTH"
    GRANT_FULL_ACCESS = "grant full access"
    GRANT_SEND_AS = "grant send as"
    GRANT_SEND_ON_BEHALF = "grant send on behalf"


class Change(msgspec.Struct, frozen=True):
    """One change: what, by whom, and back."""

    kind: ChangeKind
    what: str
    role: str
    """The least role of Microsoft's that may make it."""
    undo: str


class SetupPlan(msgspec.Struct, frozen=True):
    """All changes in order, with the values they are made with."""

    app_name: str
    tenant: str
    """Empty where it is not known yet: whoever runs it signs in to theirs."""
    redirect_url: str
    username: str
    mailbox: str
    sender: str
    permissions: tuple[str, ...]
    """Delegated ones of Microsoft Graph."""
    changes: tuple[Change, ...]

    @property
    def needs_exchange(self) -> bool:
        return any(change.role == _EXCHANGE for change in self.changes)


_APPS = "Cloud Application Administrator"
_EXCHANGE = "Exchange Administrator"


def plan_setup(draft: MailServerDraft, *, app_name: str, redirect_url: str, permissions: tuple[str, ...]) -> SetupPlan:
    """For one person's sign-in (delegated) as the draft's Username."""
    mailbox = draft.mailbox_address or draft.username
    plan = SetupPlan(
        app_name, draft.tenant, redirect_url, draft.username, mailbox, draft.sender or draft.username, permissions, ()
    )
    return msgspec.structs.replace(plan, changes=(*_entra(plan), *_exchange(plan, draft)))


def _entra(plan: SetupPlan) -> tuple[Change, ...]:
    named = ", ".join(plan.permissions)
    return (
        Change(
            ChangeKind.REGISTER_APP,
            f"Registers the app {plan.app_name} for this organisation only, with the Redirect URL and {named}.",
            _APPS,
            "Remove-MgApplication -ApplicationId $app.Id",
        ),
        Change(
            ChangeKind.CONSENT,
            f"Consents to {named} for the account {plan.username}, and for nobody else.",
            _APPS,
            "Remove-MgOauth2PermissionGrant -OAuth2PermissionGrantId $grant.Id",
        ),
        Change(
            ChangeKind.MAKE_SECRET,
            f"Makes a client secret that lasts {SECRET_DAYS} days.",
            _APPS,
            "Remove-MgApplicationPassword -ApplicationId $app.Id -KeyId $secret.KeyId",
        ),
    )


def _exchange(plan: SetupPlan, draft: MailServerDraft) -> tuple[Change, ...]:
    changes = []
    if draft.email_type is not EmailType.GRAPH:
        changes.append(
            Change(
                ChangeKind.SWITCH_ON_SMTP_AUTH,
                f"Switches Authenticated SMTP on for {plan.mailbox}; the setting of the organisation stays.",
                _EXCHANGE,
                "Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $null",
            )
        )
    if not is_same_address(plan.mailbox, plan.username):
        changes.append(
            Change(
                ChangeKind.GRANT_FULL_ACCESS,
                f"Gives {plan.username} Full Access to the mailbox {plan.mailbox}.",
                _EXCHANGE,
                "Remove-MailboxPermission -Identity $mailbox -User $username -AccessRights FullAccess",
            )
        )
    if not is_same_address(plan.sender, plan.username):
        changes.append(_sender_right(plan, draft.send_right))
    return tuple(changes)


def _sender_right(plan: SetupPlan, right: SendRight) -> Change:
    if right is SendRight.SEND_AS:
        return Change(
            ChangeKind.GRANT_SEND_AS,
            f"Lets {plan.username} send as {plan.sender}.",
            _EXCHANGE,
            "Remove-RecipientPermission $sender -Trustee $username -AccessRights SendAs",
        )
    return Change(
        ChangeKind.GRANT_SEND_ON_BEHALF,
        f"Lets {plan.username} send on behalf of {plan.sender}.",
        _EXCHANGE,
        "Set-Mailbox -Identity $sender -GrantSendOnBehalfTo @{Remove=$username}",
    )
