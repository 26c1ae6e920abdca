"""Named states of the tenant, one click each: what is wrong, how it sounds, what it cannot be told from, the remedy.

The data is in `scenarios.toml`, the changes in `scenario_changes.py`. One scenario is applied at a time, on top of a
tenant that is well set up; *back to normal* undoes it.
"""

import contextlib
import functools
from importlib.resources import files
from typing import Literal

import msgspec

from postroom.simulator.directory import Directory
from postroom.simulator.scenario_changes import CHANGES, EXCHANGE_SERVICE, SEND_AS_APP, Stage, Undo
from postroom.simulator.tenant import AppRegistration, OperationError, Tenant, User

Way = Literal["delegated", "application", "password", "graph"]
Confidence = Literal["A", "B", "C"]

WAYS: dict[Way, str] = {
    "delegated": "A person signed in once; XOAUTH2 with SMTP.Send",
    "application": "The application on its own; XOAUTH2 with SMTP.SendAsApp",
    "password": "A user name and a password; AUTH LOGIN",
    "graph": "A person signed in once; Microsoft Graph with Mail.Send",
}


class Scenario(msgspec.Struct, frozen=True):
    """One table of scenarios.toml, which explains the fields."""

    title: str
    way: Way
    meaning: str
    shows_at: str
    reply: str
    granted: str
    remedy: tuple[str, ...]
    page: str
    looks_alike: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    told_by: str = ""
    command: str = ""
    signs_in_as: str = ""
    sends_for_other: bool = False
    confidence: Confidence = "B"


@functools.cache
def read_scenarios() -> dict[str, Scenario]:
    """Every scenario by its name, in the order of the file."""
    text = files("postroom.simulator").joinpath("scenarios.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=dict[str, Scenario])


class SetUp(msgspec.Struct, frozen=True):
    """What `Scenarios.set_up_everything` leaves: ids of the application, the mailbox and the other sender."""

    client_id: str
    mailbox_id: str
    sender_id: str


class Scenarios:
    """Applies and undoes. `applied` is the name of the one in force, or empty."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.applied = ""
        self._undo: Undo = []
        self._mailbox_id = ""
        self._client_id = ""

    # Whom they speak of

    def choose(self, client_id: str, mailbox_id: str) -> None:
        """The application and the mailbox that go wrong; empty for the newest application and the first mailbox."""
        if client_id:
            self.tenant.app(client_id)
        if mailbox_id:
            self.tenant.user(mailbox_id)
        self._client_id, self._mailbox_id = client_id, mailbox_id

    @property
    def mailbox(self) -> User | None:
        """The chosen mailbox, or the first there is."""
        mailboxes = [user for user in self.tenant.users.values() if user.is_mailbox and not user.is_shared]
        return self.tenant.users.get(self._mailbox_id) or next(iter(mailboxes), None)

    @property
    def app(self) -> AppRegistration | None:
        """The chosen application, or the newest there is."""
        return self.tenant.apps.get(self._client_id) or next(reversed(list(self.tenant.apps.values())), None)

    @property
    def sender(self) -> User | None:
        """Another mailbox, whose address stands in From."""
        others = [user for user in self.tenant.users.values() if user.is_mailbox and user is not self.mailbox]
        return next(iter(others), None)

    def set_up_everything(self) -> SetUp:
        """Make what is missing for every way to send: mailboxes, an application with secret, permissions and consent,
        its service principal in Exchange, and the rights on the mailboxes."""
        mailbox = self.mailbox or self._add_mailbox("scanner", "Scanner")
        sender = self.sender or self._add_mailbox("noreply", "No Reply")
        app = self.app or self.tenant.register_app("Rehearsal", "http://localhost:8025/oauth/callback")
        self._equip_app(app)
        exchange = self.tenant.exchange
        principal_id = app.enterprise.object_id
        if principal_id not in exchange.settings.service_principals:
            exchange.new_service_principal(app.client_id, principal_id, app.name)
        exchange.add_mailbox_permission(mailbox.object_id, principal_id)
        exchange.set_smtp_auth(mailbox.object_id, True)
        exchange.grant_send_on_behalf(sender.object_id, mailbox.object_id)
        exchange.settle_changes()
        return SetUp(app.client_id, mailbox.object_id, sender.object_id)

    def _add_mailbox(self, name: str, display_name: str) -> User:
        return self.tenant.add_user(f"{name}@{self.tenant.domain}", display_name)

    def _equip_app(self, app: AppRegistration) -> None:
        for permission in ("SMTP.Send", "Mail.Send", "User.Read", "offline_access"):
            self.tenant.add_permission(app.client_id, permission)
        Directory(self.tenant).add_application_permission(app.client_id, EXCHANGE_SERVICE, SEND_AS_APP)
        self.tenant.grant_admin_consent(app.client_id)
        if not app.secrets:
            self.tenant.add_secret(app.client_id, name="Rehearsal")

    # There and back

    def apply(self, name: str) -> Scenario:
        """Put the tenant into the scenario, instead of the one that is in force. OperationError if it cannot be."""
        if name not in CHANGES:
            raise OperationError(f"There is no scenario “{name}”.")
        stage = self._stage()
        self.back_to_normal()
        self._undo = CHANGES[name](stage)
        if name != "change-under-way":
            self.tenant.exchange.settle_changes()
        self.applied = name
        return read_scenarios()[name]

    def back_to_normal(self) -> None:
        """Undo the scenario that is in force; what somebody did meanwhile stays."""
        for step in self._undo:
            with contextlib.suppress(OperationError):
                step()
        if self.applied:
            self.tenant.exchange.settle_changes()
        self.forget()

    def forget(self) -> None:
        """Leave things as they are, as after a fresh start of the tenant."""
        self.applied, self._undo = "", []

    def _stage(self) -> Stage:
        app, mailbox, sender = self.app, self.mailbox, self.sender
        if app is None or mailbox is None or sender is None:
            raise OperationError("A scenario needs an app registration and two mailboxes: press “Set up everything”.")
        return Stage(self.tenant, app, mailbox, sender)
