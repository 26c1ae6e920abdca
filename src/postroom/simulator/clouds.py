"""Microsoft's national clouds: the host names of each, and the resources that its tokens are for.

Source: Microsoft Learn, "Microsoft Entra authentication and national clouds" and Graph's "National cloud deployments"
for login and Graph; what is marked in `unconfirmed` was seen in products or is inferred.
"""

from typing import Literal

import msgspec

CloudName = Literal["worldwide", "GCC High", "DoD", "21Vianet"]


class Cloud(msgspec.Struct, frozen=True):
    """`outlook` is the resource of a delegated SMTP token, `exchange` the one that an application asks for."""

    name: CloudName
    instance: str
    login_host: str
    portal_host: str
    graph_host: str
    smtp_host: str
    outlook: str
    exchange: str
    issuer_host: str = "sts.windows.net"
    unconfirmed: str = ""

    @property
    def login_url(self) -> str:
        return f"https://{self.login_host}"

    @property
    def graph(self) -> str:
        return f"https://{self.graph_host}"

    def canonical_resource(self, resource: str) -> str:
        """The name that the worldwide cloud gives the service behind `resource`; its own if it is unknown here."""
        if resource == self.graph:
            return "https://graph.microsoft.com"
        return "https://outlook.office365.com" if resource in (self.outlook, self.exchange) else resource


WORLDWIDE = Cloud(
    name="worldwide",
    instance="microsoftonline.com",
    login_host="login.microsoftonline.com",
    portal_host="portal.azure.com",
    graph_host="graph.microsoft.com",
    smtp_host="smtp.office365.com",
    outlook="https://outlook.office.com",
    exchange="https://outlook.office365.com",
)
GCC_HIGH = Cloud(
    name="GCC High",
    instance="microsoftonline.us",
    login_host="login.microsoftonline.us",
    portal_host="portal.azure.us",
    graph_host="graph.microsoft.us",
    smtp_host="smtp.office365.us",
    outlook="https://outlook.office365.us",
    exchange="https://outlook.office365.us",
)
DOD = Cloud(
    name="DoD",
    instance="microsoftonline.us",
    login_host="login.microsoftonline.us",
    portal_host="portal.azure.us",
    graph_host="dod-graph.microsoft.us",
    smtp_host="outlook-dod.office365.us",
    outlook="https://outlook.office365.us",
    exchange="https://outlook.office365.us",
    unconfirmed="the SMTP host and the resource of its tokens",
)
CHINA = Cloud(
    name="21Vianet",
    instance="partner.microsoftonline.cn",
    login_host="login.partner.microsoftonline.cn",
    portal_host="portal.azure.cn",
    graph_host="microsoftgraph.chinacloudapi.cn",
    smtp_host="smtp.partner.outlook.cn",
    outlook="https://partner.outlook.cn",
    exchange="https://partner.outlook.cn",
    issuer_host="sts.chinacloudapi.cn",
    unconfirmed="the SMTP host, the resource of an application's tokens and the issuer of access tokens",
)
CLOUDS: tuple[Cloud, ...] = (WORLDWIDE, GCC_HIGH, DOD, CHINA)

LOGIN_HOSTS = tuple(dict.fromkeys(cloud.login_host for cloud in CLOUDS))
GRAPH_HOSTS = tuple(dict.fromkeys(cloud.graph_host for cloud in CLOUDS))
SMTP_HOSTS = tuple(dict.fromkeys(cloud.smtp_host for cloud in CLOUDS))

# Personal accounts live in a tenant of this id; `consumers` is its name in an address.
CONSUMERS_TENANT_ID = "9188040d-6c67-4c5b-b112-36a304b66dad"


def cloud_named(name: CloudName) -> Cloud:
    return next(cloud for cloud in CLOUDS if cloud.name == name)
