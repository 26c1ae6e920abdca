"""Which mail servers are Microsoft's, by their names."""

MICROSOFT_HOSTS = (".office365.com", ".office365.us", ".outlook.com", ".partner.outlook.cn", ".hve.mx.microsoft")


def is_microsoft(host: str) -> bool:
    return host.lower().endswith(MICROSOFT_HOSTS)
