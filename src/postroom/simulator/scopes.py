"""Reading the `scope` of a request: permissions, each of one resource, and those of OpenID Connect."""

import msgspec

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.clouds import WORLDWIDE, Cloud

GRAPH = "https://graph.microsoft.com"
OUTLOOK = "https://outlook.office.com"
OPENID_SCOPES = ("openid", "profile", "email", "offline_access")

# Delegated permissions by the name that Entra's page shows, with the sentence of the consent page.
# Only these can be asked for; SMTP.SendAsApp is missing on purpose: it is an application permission.
PERMISSIONS: dict[str, str] = {
    "SMTP.Send": "Send emails from mailboxes using SMTP AUTH",
    "User.Read": "Sign you in and read your profile",
    "Mail.Send": "Send mail as you",
    "Mail.Send.Shared": "Send mail on behalf of others or yourself",
    "Mail.ReadWrite": "Read and write access to your mail",
    "Mail.ReadWrite.Shared": "Read and write mail you can access",
    "Application.Read.All": "Read applications",
    "Directory.Read.All": "Read directory data",
    "offline_access": "Maintain access to data you have given it access to",
    "openid": "Sign you in",
    "profile": "View your basic profile",
    "email": "View your email address",
}

_GRAPH_PERMISSIONS = frozenset(
    {
        "SMTP.Send",
        "User.Read",
        "Mail.Send",
        "Mail.Send.Shared",
        "Mail.ReadWrite",
        "Mail.ReadWrite.Shared",
        "Application.Read.All",
        "Directory.Read.All",
    }
)
_EXCHANGE_PERMISSIONS = frozenset({"SMTP.Send", "Mail.Send"})
# Whatever the setting of user consent says, only an administrator consents to these.
ADMIN_ONLY_PERMISSIONS = frozenset({"Application.Read.All", "Directory.Read.All"})
# Stands for every permission that the registration lists for one resource.
DEFAULT = ".default"

# Application permissions of Microsoft Graph; an administrator grants them, `.default` asks for them.
GRAPH_APPLICATION_PERMISSIONS: dict[str, str] = {
    "Mail.Send": "Send mail as any user",
    "Mail.ReadWrite": "Read and write mail in all mailboxes",
    "User.Read.All": "Read all users' full profiles",
    "Application.Read.All": "Read all applications",
    "Directory.Read.All": "Read directory data",
}


class Scopes(msgspec.Struct, frozen=True):
    """What was asked for. `resources` keeps the order of the request; values are short names."""

    openid: tuple[str, ...]
    resources: dict[str, tuple[str, ...]]
    text: str
    graph: str = GRAPH

    @property
    def permissions(self) -> tuple[str, ...]:
        """Short names of every permission, those of OpenID Connect last, each once."""
        named = [name for names in self.resources.values() for name in names]
        return tuple(dict.fromkeys([*named, *self.openid]))

    @property
    def first_resource(self) -> str:
        """The resource that a token is for when nothing else decides; Graph if none is named."""
        return next(iter(self.resources), self.graph)

    @property
    def asks_default(self) -> bool:
        return any(DEFAULT in names for names in self.resources.values())


def known_permissions(resource: str, cloud: Cloud = WORLDWIDE) -> frozenset[str] | None:
    """The delegated permissions of a resource in `cloud`; None for a resource that is not there."""
    if resource == cloud.graph:
        return _GRAPH_PERMISSIONS
    # Exchange Online answers to two names in the worldwide cloud.
    return _EXCHANGE_PERMISSIONS if resource in (cloud.outlook, cloud.exchange) else None


def parse_scopes(text: str, tenant_name: str, cloud: Cloud = WORLDWIDE) -> Scopes:
    """Sort the scopes of a request by resource. A scope without a resource is Graph's.

    AadstsError 70011 for a permission that does not exist and for `.default` beside named ones, 500011 for an
    unknown resource, 900144 for an empty scope.
    """
    if not text.split():
        raise AadstsError(900144, name="scope")
    openid: dict[str, None] = {}
    resources: dict[str, dict[str, None]] = {}
    for scope in text.split():
        resource, name = _split_scope(scope, text, tenant_name, cloud)
        if name in OPENID_SCOPES:
            openid[name] = None
        else:
            resources.setdefault(resource, {})[name] = None
    by_resource = {resource: tuple(names) for resource, names in resources.items()}
    scopes = Scopes(tuple(openid), by_resource, text, cloud.graph)
    if scopes.asks_default and any(names != (DEFAULT,) for names in by_resource.values()):
        raise AadstsError(70011, scope=text)
    return scopes


def _split_scope(scope: str, text: str, tenant_name: str, cloud: Cloud) -> tuple[str, str]:
    """Resource and short name, the name in its own spelling: Entra ignores capitals."""
    resource, slash, name = scope.rpartition("/")
    resource = resource.rstrip("/").lower() if slash else cloud.graph
    if resource == cloud.graph and name.lower() in OPENID_SCOPES:
        return cloud.graph, name.lower()
    permissions = known_permissions(resource, cloud)
    if permissions is None:
        if "://" in resource:
            raise AadstsError(500011, resource=resource, tenant=tenant_name)
        raise AadstsError(70011, scope=text)
    spelled = {known.lower(): known for known in (*permissions, DEFAULT)}
    if name.lower() not in spelled:
        raise AadstsError(70011, scope=text)
    return resource, spelled[name.lower()]
