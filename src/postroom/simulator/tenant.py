"""One organisation at the simulated Microsoft: its people, mailboxes, app registrations and switches.

Everything is in memory and nothing here speaks to anybody. The methods are the operations that an
administrator has; pages and tests call them alike.
"""

import secrets
import string
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from postroom.simulator.clock import SimulatorClock
from postroom.simulator.clouds import CONSUMERS_TENANT_ID, WORLDWIDE, Cloud
from postroom.simulator.directory_rules import EntraSwitches, SignInState
from postroom.simulator.directory_rules import TokenEndpointFault as TokenEndpointFault
from postroom.simulator.graph_switches import GraphSwitches
from postroom.simulator.operation_error import OperationError as OperationError
from postroom.simulator.organisation import Organisation
from postroom.simulator.organisation_settings import MailboxSettings
from postroom.simulator.organisation_settings import Right as Right
from postroom.simulator.registration import AppRegistration as AppRegistration
from postroom.simulator.registration import ClientSecret as ClientSecret

LicenseRead = Literal["full", "limited", "forbidden"]

DAY_SECONDS = 86_400
# Entra ID lets a secret live for 24 months at most.
LONGEST_SECRET_DAYS = 730


@dataclass(frozen=True)
class ReceivedMessage:
    """What Exchange Online accepted: the envelope, the content without dot-stuffing, the dialogue.

    `mailbox_id` is the mailbox that submitted it and whose Sent Items keep a copy. `delivered_at` is
    later than `received_at` where Exchange held it back for its pace; 0 where nobody did.
    """

    number: int
    received_at: float
    signed_in_as: str
    envelope_sender: str
    recipients: tuple[str, ...]
    content: bytes
    dialogue: tuple[str, ...] = ()
    helo: str = ""
    tls_version: str = ""
    mailbox_id: str = ""
    delivered_at: float = 0.0
    came_by: Literal["SMTP", "Graph"] = "SMTP"


@dataclass
class User:
    """A person or a mailbox. The rights name the object ids of those who may use this mailbox."""

    object_id: str
    user_principal_name: str
    mail: str
    display_name: str
    password: str
    proxy_addresses: list[str] = field(default_factory=list)
    licensed: bool = True
    is_mailbox: bool = True
    is_shared: bool = False
    is_administrator: bool = False
    sessions_valid_from: float = 0.0
    sign_in: SignInState = field(default_factory=SignInState)

    settings: MailboxSettings = field(default_factory=MailboxSettings)

    # Exchange's side of a mailbox, as its administrator has set it; it may not have arrived yet.

    @property
    def smtp_auth(self) -> bool | None:
        return self.settings.smtp_auth

    @property
    def send_as(self) -> set[str]:
        return self.settings.send_as

    @property
    def send_on_behalf(self) -> set[str]:
        return self.settings.send_on_behalf

    @property
    def full_access(self) -> set[str]:
        return self.settings.full_access

    @property
    def addresses(self) -> set[str]:
        """User principal name, primary address and aliases, in lower case."""
        every = (self.user_principal_name, self.mail, *self.proxy_addresses)
        return {address.lower() for address in every if address}


@dataclass
class Tenant:
    clock: SimulatorClock
    domain: str = "contoso.com"
    name: str = "Contoso"
    tenant_id: str = ""
    users: dict[str, User] = field(default_factory=dict)
    apps: dict[str, AppRegistration] = field(default_factory=dict)
    messages: list[ReceivedMessage] = field(default_factory=list)
    security_defaults: bool = False
    strict_send_on_behalf: bool = False
    license_read: LicenseRead = "full"
    token_endpoint_fault: TokenEndpointFault | None = None
    entra: EntraSwitches = field(default_factory=EntraSwitches)
    cloud: Cloud = WORLDWIDE
    graph: GraphSwitches = field(default_factory=GraphSwitches)

    def __post_init__(self) -> None:
        self.exchange = Organisation(self)
        # The same names give the same ids at each start, so that a set-up survives a restart.
        self.tenant_id = self.tenant_id or str(uuid.uuid5(uuid.NAMESPACE_DNS, self.domain))

    def answers_to(self, name: str) -> bool:
        """Whether `name` in an address of Entra is known here: this tenant's id or domain, or a shared name."""
        shared = {"common", "organizations", "consumers", CONSUMERS_TENANT_ID}
        return name.lower() in {self.tenant_id, self.domain, *shared}

    # People and mailboxes

    def add_user(
        self,
        user_principal_name: str,
        display_name: str = "",
        password: str = "",
        *,
        mail: str | None = None,
        proxy_addresses: Iterable[str] = (),
        licensed: bool = True,
        is_mailbox: bool = True,
        is_shared: bool = False,
        is_administrator: bool = False,
    ) -> User:
        """Add a user; without a password one is made. OperationError if an address is taken."""
        upn = user_principal_name.strip()
        primary = upn if mail is None else mail.strip()
        aliases = [alias.strip() for alias in proxy_addresses if alias.strip()]
        self._refuse_bad_addresses([upn, *([primary] if primary else []), *aliases])
        user = User(
            object_id=str(uuid.uuid5(uuid.UUID(self.tenant_id), upn.lower())),
            user_principal_name=upn,
            mail=primary if is_mailbox else "",
            display_name=display_name.strip() or upn.partition("@")[0],
            password=password or _make_secret(12),
            proxy_addresses=aliases,
            licensed=licensed and not is_shared,
            is_mailbox=is_mailbox,
            is_shared=is_shared,
            is_administrator=is_administrator,
        )
        if is_administrator:
            user.sign_in.roles.add("Global Administrator")
        self.users[user.object_id] = user
        self.exchange.add_mailbox(user)
        return user

    def _refuse_bad_addresses(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            local, at, domain = address.rpartition("@")
            if not (local and at and domain) or any(sign.isspace() for sign in address):
                raise OperationError(f"“{address}” is not an address such as printer@{self.domain}.")
            if self.user_by_address(address):
                raise OperationError(f"Another user already has the address {address}.")

    def user(self, object_id: str) -> User:
        if object_id not in self.users:
            raise OperationError(f"There is no user with the object id {object_id}.")
        return self.users[object_id]

    def user_by_upn(self, user_principal_name: str) -> User | None:
        wanted = user_principal_name.strip().lower()
        return next((u for u in self.users.values() if u.user_principal_name.lower() == wanted), None)

    def user_by_address(self, address: str) -> User | None:
        """By user principal name, primary address or alias; capitals do not matter."""
        wanted = address.strip().lower()
        return next((user for user in self.users.values() if wanted in user.addresses), None)

    def set_password(self, object_id: str, password: str) -> None:
        if not password:
            raise OperationError("Give the user a password.")
        user = self.user(object_id)
        user.password = password
        user.sign_in.password_changed_at = self.clock.now()
        user.sign_in.password_is_expired = False

    def set_licensed(self, object_id: str, *, licensed: bool) -> None:
        """Assign or take away Exchange Online (Plan 1); the first licence makes the mailbox."""
        user = self.user(object_id)
        user.licensed = licensed
        if licensed and not user.is_mailbox:
            user.is_mailbox, user.mail = True, user.user_principal_name

    def revoke_sessions(self, object_id: str) -> None:
        """End every sign-in of the user: refresh tokens and access tokens issued until now."""
        self.user(object_id).sessions_valid_from = self.clock.now()

    def add_alias(self, object_id: str, address: str) -> None:
        """One more proxy address. OperationError if it is none, or taken."""
        self._refuse_bad_addresses([address.strip()])
        self.user(object_id).proxy_addresses.append(address.strip())

    def remove_alias(self, object_id: str, address: str) -> None:
        user = self.user(object_id)
        kept = [alias for alias in user.proxy_addresses if alias.lower() != address.strip().lower()]
        if len(kept) == len(user.proxy_addresses):
            raise OperationError(f"{user.user_principal_name} has no alias {address}.")
        user.proxy_addresses = kept

    # What a mailbox may do: Exchange's operations are methods of `exchange`; these are the first ones' names

    def set_smtp_auth(self, object_id: str, enabled: bool | None) -> None:
        self.exchange.set_smtp_auth(object_id, enabled)

    def disable_smtp_auth(self, *, disabled: bool) -> None:
        self.exchange.set_tenant_smtp_auth(enabled=not disabled)

    @property
    def smtp_auth_disabled(self) -> bool:
        return self.exchange.settings.smtp_auth_disabled

    @property
    def basic_auth_disabled(self) -> bool:
        return self.exchange.settings.basic_auth != "on"

    @basic_auth_disabled.setter
    def basic_auth_disabled(self, disabled: bool) -> None:
        if disabled != self.basic_auth_disabled:
            self.exchange.set_basic_auth("disabled" if disabled else "on")

    def smtp_auth_is_enabled(self, user: User) -> bool:
        """Three states: the mailbox's own switch, or the organisation's where it has none (1.6)."""
        settings = self.exchange.in_effect()
        own = settings.mailbox(user.object_id).smtp_auth
        return not settings.smtp_auth_disabled if own is None else own

    def grant_right(self, right: Right, mailbox_id: str, trustee_address: str) -> None:
        self.exchange.grant(right, mailbox_id, trustee_address)

    def withdraw_right(self, right: Right, mailbox_id: str, trustee_address: str) -> None:
        self.exchange.withdraw(right, mailbox_id, trustee_address)

    def trustees(self, right: Right, mailbox_id: str) -> set[str]:
        """The object ids of those who hold `right` on the mailbox."""
        self.exchange.refuse_unknown_right(right)
        return self.user(mailbox_id).settings.trustees(right)

    def holds_right(self, right: Right, holders: Iterable[str], mailbox: User) -> bool:
        """Whether one of `holders` (object ids of users or service principals) has the right by now."""
        trustees = self.exchange.in_effect().mailbox(mailbox.object_id).trustees(right)
        return not trustees.isdisjoint(holders)

    def may_send_as(self, user: User, address: str) -> bool:
        """Whether `user` may stand in From as `address`: an address of their own, or Send As."""
        mailbox = self.user_by_address(address)
        return mailbox is not None and (mailbox is user or self.holds_right("send_as", [user.object_id], mailbox))

    def may_send_on_behalf(self, user: User, address: str) -> bool:
        mailbox = self.user_by_address(address)
        return mailbox is not None and self.holds_right("send_on_behalf", [user.object_id], mailbox)

    def may_open(self, user: User, mailbox: User) -> bool:
        """Whether the token of `user` may sign in to `mailbox`: their own, or Full Access."""
        return mailbox is user or self.holds_right("full_access", [user.object_id], mailbox)

    # App registrations

    def register_app(self, name: str, redirect_uri: str = "", *, is_multitenant: bool = False) -> AppRegistration:
        """A registration; like Entra's it starts with Graph's `User.Read`."""
        if not name.strip():
            raise OperationError("Give the application a name.")
        app = AppRegistration(
            str(uuid.uuid4()),
            name.strip(),
            delegated_permissions={"User.Read"},
            is_multitenant=is_multitenant,
        )
        if redirect_uri.strip():
            app.redirect_uris.append(checked_redirect_uri(redirect_uri))
        self.apps[app.client_id] = app
        return app

    def app(self, client_id: str) -> AppRegistration:
        if client_id not in self.apps:
            raise OperationError(f"There is no app registration with the client id {client_id}.")
        return self.apps[client_id]

    def add_redirect_uri(self, client_id: str, redirect_uri: str) -> None:
        app = self.app(client_id)
        checked = checked_redirect_uri(redirect_uri)
        if checked not in app.redirect_uris:
            app.redirect_uris.append(checked)

    def remove_redirect_uri(self, client_id: str, redirect_uri: str) -> None:
        app = self.app(client_id)
        app.redirect_uris = [uri for uri in app.redirect_uris if uri != redirect_uri]

    def add_secret(self, client_id: str, days: int = LONGEST_SECRET_DAYS, name: str = "") -> ClientSecret:
        if not 1 <= days <= LONGEST_SECRET_DAYS:
            raise OperationError(f"A client secret lives 1 to {LONGEST_SECRET_DAYS} days, not {days}.")
        app = self.app(client_id)
        value = f"{_make_secret(3)}8Q~{_make_secret(34, extra='~._-')}"
        now = self.clock.now()
        ends_at = now + days * DAY_SECONDS
        secret = ClientSecret(str(uuid.uuid4()), value, value[:3], ends_at, name.strip(), starts_at=now)
        app.secrets.append(secret)
        return secret

    def expire_secret(self, client_id: str, secret_id: str) -> None:
        for secret in self.app(client_id).secrets:
            if secret.secret_id == secret_id:
                secret.ends_at = min(secret.ends_at, self.clock.now())

    def remove_secret(self, client_id: str, secret_id: str) -> None:
        app = self.app(client_id)
        app.secrets = [secret for secret in app.secrets if secret.secret_id != secret_id]

    def add_permission(self, client_id: str, permission: str) -> None:
        self.app(client_id).delegated_permissions.add(permission)

    def remove_permission(self, client_id: str, permission: str) -> None:
        app = self.app(client_id)
        app.delegated_permissions.discard(permission)
        app.admin_consented.discard(permission)

    def grant_admin_consent(self, client_id: str) -> None:
        """Consent for everybody to each permission that the registration lists, delegated and application."""
        app = self.app(client_id)
        app.admin_consented |= app.delegated_permissions
        app.granted_permissions |= app.application_permissions

    def record_consent(self, client_id: str, object_id: str, permissions: Iterable[str]) -> None:
        """One user's own consent, given on the consent page."""
        self.app(client_id).user_consented.setdefault(object_id, set()).update(permissions)

    def revoke_consent(self, client_id: str) -> None:
        """Take back the admin consent and each user's."""
        app = self.app(client_id)
        app.admin_consented.clear()
        app.granted_permissions.clear()
        app.user_consented.clear()


def contoso(clock: SimulatorClock) -> Tenant:
    """The demo organisation: a scanner's mailbox, a no-reply mailbox and an administrator."""
    tenant = Tenant(clock)
    add_demo_people(tenant)
    return tenant


def empty_tenant(clock: SimulatorClock) -> Tenant:
    """An organisation as it begins: nobody in it, and SMTP AUTH off as for all made after January 2020 (1.6)."""
    tenant = Tenant(clock)
    tenant.exchange.set_tenant_smtp_auth(enabled=False)
    return tenant


def add_demo_people(tenant: Tenant) -> None:
    tenant.add_user("scanner@contoso.com", "Scanner", "Scan-to-mail-1")
    tenant.add_user("noreply@contoso.com", "No Reply", "No-reply-2")
    tenant.add_user("anna@contoso.com", "Anna Admin", "Anna-admin-3", is_administrator=True)


def checked_redirect_uri(redirect_uri: str) -> str:
    """Entra's rules for a redirect URI; OperationError for one it would not register."""
    uri = redirect_uri.strip()
    starts_well = uri.startswith(("https://", "http://localhost:", "http://localhost/"))
    if not (starts_well or uri == "http://localhost"):
        raise OperationError(f"The redirect URI must start with “https://” or “http://localhost”: {uri}")
    if "#" in uri or "*" in uri or len(uri) > 256:
        raise OperationError(f"The redirect URI may not hold “#” or “*”, nor pass 256 characters: {uri}")
    return uri


def _make_secret(length: int, extra: str = "") -> str:
    alphabet = string.ascii_letters + string.digits + extra
    return "".join(secrets.choice(alphabet) for _ in range(length))
