"""What Entra ID keeps of an application: the registration, its credentials, and the enterprise application.

A registration is the description that its maker edits; the enterprise application (service principal) is
what the directory makes of it. The two have different object ids, and Exchange Online asks for the second.
"""

import re
import uuid
from dataclasses import dataclass, field
from typing import Literal

Platform = Literal["web", "spa", "public"]
GroupMembershipClaims = Literal["None", "SecurityGroup", "DirectoryRole", "All"]


@dataclass
class ClientSecret:
    secret_id: str
    value: str
    hint: str
    ends_at: float
    display_name: str = ""
    starts_at: float = 0.0


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate that an application signs its assertions for; thumbprints in capital hex, as the page shows."""

    key_id: str
    der: bytes
    thumbprint: str
    sha256_thumbprint: str
    subject: str
    starts_at: float
    ends_at: float
    display_name: str = ""


@dataclass(frozen=True)
class ApplicationPermission:
    """One app role of a service: `resource` is its canonical name, https://graph.microsoft.com for Graph."""

    resource: str
    value: str


@dataclass
class EnterpriseApplication:
    """The service principal. `assigned_users` matters only while assignment is required."""

    object_id: str
    is_enabled: bool = True
    assignment_is_required: bool = False
    assigned_users: set[str] = field(default_factory=set)


@dataclass
class AppRegistration:
    """Permissions and consents are the names that Entra's page lists: `SMTP.Send`, `User.Read`.

    `redirect_uris` are those of the platform *Web*; single-page and mobile or desktop ones stand apart.
    """

    client_id: str
    name: str
    redirect_uris: list[str] = field(default_factory=list)
    secrets: list[ClientSecret] = field(default_factory=list)
    delegated_permissions: set[str] = field(default_factory=set)
    admin_consented: set[str] = field(default_factory=set)
    user_consented: dict[str, set[str]] = field(default_factory=dict)
    is_multitenant: bool = False
    spa_redirect_uris: list[str] = field(default_factory=list)
    public_redirect_uris: list[str] = field(default_factory=list)
    certificates: list[ClientCertificate] = field(default_factory=list)
    application_permissions: set[ApplicationPermission] = field(default_factory=set)
    granted_permissions: set[ApplicationPermission] = field(default_factory=set)
    allows_public_client_flows: bool = False
    id_tokens_are_enabled: bool = False
    group_membership_claims: GroupMembershipClaims = "None"
    enterprise: EnterpriseApplication = field(init=False)

    def __post_init__(self) -> None:
        self.enterprise = EnterpriseApplication(self._derive_id("enterprise application"))

    @property
    def object_id(self) -> str:
        """The registration's own object id; Exchange wants `enterprise.object_id`, not this one."""
        return self._derive_id("app registration")

    def _derive_id(self, kind: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{self.client_id}"))

    def consented_permissions(self, object_id: str) -> set[str]:
        return self.admin_consented | self.user_consented.get(object_id, set())

    def granted_roles(self, resource: str) -> set[str]:
        """The claim `roles` of a token for `resource`: what an administrator consented to."""
        return {granted.value for granted in self.granted_permissions if granted.resource == resource}

    @property
    def every_redirect_uri(self) -> list[str]:
        return [*self.redirect_uris, *self.spa_redirect_uris, *self.public_redirect_uris]

    def platform_of(self, redirect_uri: str) -> Platform | None:
        """By exact comparison; None for a redirect URI that is not registered.

        Only on the platform *Mobile and desktop* does the port of a localhost address not count (RFC 8252 7.3).
        """
        if redirect_uri in self.redirect_uris:
            return "web"
        if redirect_uri in self.spa_redirect_uris:
            return "spa"
        public = {_without_local_port(uri) for uri in self.public_redirect_uris}
        return "public" if _without_local_port(redirect_uri) in public else None


def _without_local_port(uri: str) -> str:
    return re.sub(r"^http://localhost:\d+(?=/|$)", "http://localhost", uri)
