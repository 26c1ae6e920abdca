"""The portals and the pages that each has in its menu; the names are those of Microsoft's own."""

import msgspec


class Entry(msgspec.Struct, frozen=True):
    href: str
    label: str

    def covers(self, path: str) -> bool:
        """Whether `path` is this page or one below it."""
        return path == self.href or (self.href != "/" and path.startswith(f"{self.href}/"))


class Portal(msgspec.Struct, frozen=True):
    title: str
    entries: tuple[Entry, ...]


PORTALS = (
    Portal(
        "Microsoft 365 admin center",
        (
            Entry("/users", "Active users"),
            Entry("/shared-mailboxes", "Shared mailboxes"),
            Entry("/roles", "Role assignments"),
        ),
    ),
    Portal(
        "Microsoft Entra admin center",
        (
            Entry("/apps", "App registrations"),
            Entry("/enterprise-apps", "Enterprise applications"),
            Entry("/entra/users", "Users"),
            Entry("/conditional-access", "Conditional Access"),
            Entry("/entra/properties", "Properties"),
            Entry("/entra/consent", "Consent and permissions"),
        ),
    ),
    Portal(
        "Exchange admin center",
        (
            Entry("/exchange/mailboxes", "Mailboxes"),
            Entry("/exchange/mail-flow", "Mail flow settings"),
            Entry("/exchange/policies", "Authentication policies"),
            Entry("/exchange/service-principals", "Service principals"),
            Entry("/exchange/rbac", "RBAC for Applications"),
            Entry("/exchange/limits", "Limits"),
        ),
    ),
    Portal(
        "Simulator",
        (
            Entry("/", "Home"),
            Entry("/scenarios", "Scenarios"),
            Entry("/inbox", "Inbox"),
            Entry("/faults", "Fault addresses"),
            Entry("/switches", "Switches"),
            Entry("/unconfirmed", "Unconfirmed"),
            Entry("/clock", "Clock"),
        ),
    ),
)


def portal_of(path: str) -> Portal:
    """The portal that a page belongs to; what belongs to none is the simulator's own."""
    for portal in PORTALS:
        if any(entry.covers(path) for entry in portal.entries):
            return portal
    return PORTALS[-1]
