"""Where a provider of sign-ins is: its endpoints, and the permissions that we ask it for.

Microsoft Learn, "Microsoft identity platform and OAuth 2.0 authorization code flow" and "Authenticate an IMAP, POP
or SMTP connection using OAuth".
"""

import re
from urllib.parse import quote

import msgspec

from postroom.store.records import Cloud, EmailType, MailServerDraft, SendRight

OPENID_SCOPES = ("offline_access", "openid", "profile", "email")

# The words that stand for "any tenant": with them other organisations' accounts could sign in too.
SHARED_TENANTS = frozenset(
    {
        "common",
        "organizations",
        "consumers",
        "9188040d-6c67-4c5b-b112-36a304b66dad",  # what `consumers` stands for
    }
)

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]", re.IGNORECASE)


class Provider(msgspec.Struct, frozen=True):
    """One cloud of Microsoft; every host may be another one."""

    login_host: str = "login.microsoftonline.com"
    graph_host: str = "graph.microsoft.com"
    smtp_scope: str = "https://outlook.office.com/SMTP.Send"
    graph_scope: str = "https://graph.microsoft.com/User.Read"
    graph_mail_scope: str = "https://graph.microsoft.com/Mail.Send"
    smtp_host: str = "smtp.office365.com"
    exchange: str = "https://outlook.office365.com"
    """The resource of an app's own token for SMTP; in a person's name it is another one."""
    graph_drafts_scope: str = "https://graph.microsoft.com/Mail.ReadWrite"
    graph_shared_mail_scope: str = "https://graph.microsoft.com/Mail.Send.Shared"

    def authorize_url(self, tenant: str) -> str:
        return f"{self._base(tenant)}/oauth2/v2.0/authorize"

    def token_url(self, tenant: str) -> str:
        return f"{self._base(tenant)}/oauth2/v2.0/token"

    def discovery_url(self, tenant: str) -> str:
        """The document that names the issuer, which the tenant's domain alone does not tell."""
        return f"{self._base(tenant)}/v2.0/.well-known/openid-configuration"

    def keys_url(self, tenant: str) -> str:
        """The public keys (JWKS) that sign ID tokens."""
        return f"{self._base(tenant)}/discovery/v2.0/keys"

    def graph_url(self, path: str) -> str:
        return f"https://{self.graph_host}/v1.0{path}"

    def sending_scopes(self, draft: MailServerDraft) -> tuple[str, ...]:
        """The permissions that this way of sending needs, all of one resource: one token has them."""
        if draft.email_type is not EmailType.GRAPH:
            return (self.smtp_scope,)
        shared = (self.graph_shared_mail_scope,) if _is_for_another(draft) else ()
        drafts = (self.graph_drafts_scope,) if draft.takes_large_mail else ()
        return (self.graph_mail_scope, *shared, *drafts)

    def app_scope(self, email_type: EmailType) -> str:
        """What an app asks for in its own name: the roles that an administrator gave it, whatever they are."""
        resource = f"https://{self.graph_host}" if email_type is EmailType.GRAPH else self.exchange
        return f"{resource}/.default"

    def sign_in_scopes(self, draft: MailServerDraft) -> tuple[str, ...]:
        """What one sign-in asks consent for; each token is for one resource all the same."""
        return (*self.sending_scopes(draft), self.graph_scope, *OPENID_SCOPES)

    def _base(self, tenant: str) -> str:
        return f"https://{self.login_host}/{quote(tenant, safe='')}"


MICROSOFT = Provider()
"""The worldwide cloud, GCC included."""


def _national(login_host: str, graph_host: str, smtp_host: str, exchange: str) -> Provider:
    return Provider(
        login_host=login_host,
        graph_host=graph_host,
        smtp_scope=f"{exchange}/SMTP.Send",
        graph_scope=f"https://{graph_host}/User.Read",
        graph_mail_scope=f"https://{graph_host}/Mail.Send",
        graph_drafts_scope=f"https://{graph_host}/Mail.ReadWrite",
        graph_shared_mail_scope=f"https://{graph_host}/Mail.Send.Shared",
        smtp_host=smtp_host,
        exchange=exchange,
    )


# Microsoft Learn, "Microsoft Entra authentication and national clouds" and Graph's "National cloud deployments".
# The resources for SMTP, and the SMTP hosts of DoD and 21Vianet, were seen in products: no page of Microsoft has them.
_NATIONAL = {
    Cloud.GCC_HIGH: _national(
        "login.microsoftonline.us", "graph.microsoft.us", "smtp.office365.us", "https://outlook.office365.us"
    ),
    Cloud.DOD: _national(
        "login.microsoftonline.us", "dod-graph.microsoft.us", "outlook-dod.office365.us", "https://outlook.office365.us"
    ),
    Cloud.CHINA_21VIANET: _national(
        "login.partner.microsoftonline.cn",
        "microsoftgraph.chinacloudapi.cn",
        "smtp.partner.outlook.cn",
        "https://partner.outlook.cn",
    ),
}


def provider_of(cloud: Cloud, worldwide: Provider = MICROSOFT) -> Provider:
    """Where this cloud is; `worldwide` is used in place of Microsoft's own."""
    return worldwide if cloud is Cloud.WORLDWIDE else _NATIONAL[cloud]


def _is_for_another(draft: MailServerDraft) -> bool:
    """Whether it sends for another mailbox than its account's: Graph has a permission of its own for that
    (Microsoft Learn, "Send Outlook messages from another user"), SMTP asks Exchange alone."""
    has_other_mailbox = bool(draft.mailbox_address) and draft.mailbox_address.lower() != draft.username.lower()
    return has_other_mailbox or draft.send_right is not SendRight.OWN


def looks_like_guid(text: str) -> bool:
    return _GUID.fullmatch(text) is not None


def explain_tenant(tenant: str) -> str | None:
    """Why this cannot be the Tenant ID, as a sentence; None when it can."""
    if not tenant:
        return "Enter the Tenant ID: in Entra it is called Directory (tenant) ID."
    if tenant.lower() in SHARED_TENANTS:
        return f"Use your tenant; `{tenant}` also lets other organisations' accounts sign in."
    if not looks_like_guid(tenant) and not _DOMAIN.fullmatch(tenant):
        return "A Tenant ID is a GUID such as 72f988bf-86f1-41af-91ab-2d7cd011db47, or a domain of your tenant."
    return None
