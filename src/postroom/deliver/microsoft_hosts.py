"""Which mail servers are Microsoft's, by their names; and where Graph may send us with the content of mail."""

from urllib.parse import urlsplit

MICROSOFT_HOSTS = (".office365.com", ".office365.us", ".outlook.com", ".partner.outlook.cn", ".hve.mx.microsoft")


def is_microsoft(host: str) -> bool:
    return host.lower().endswith(MICROSOFT_HOSTS)


UPLOAD_HOSTS = {
    "graph.microsoft.com": ("outlook.office.com", "outlook.office365.com"),
    "graph.microsoft.us": ("outlook.office365.us",),
    "dod-graph.microsoft.us": ("outlook.office365.us", "outlook-dod.office365.us"),
    "microsoftgraph.chinacloudapi.cn": ("partner.outlook.cn",),
}
"""By Graph's host, where upload sessions are (microsoft365.md 3.4, 7; of the national clouds that is inferred)."""


def is_upload_url(url: str, graph_host: str) -> bool:
    """Whether Graph of this host may ask us to put the content of mail there, whatever else the URL says."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_plain = parts.scheme == "https" and port in (None, 443) and parts.username is None and url.isascii()
    return is_plain and (parts.hostname or "") in UPLOAD_HOSTS.get(graph_host.lower(), ())
