"""Exchange admin center: mailboxes and Mail flow settings; and beside each switch the cmdlet that turns it."""

from collections.abc import Mapping
from typing import get_args

from starlette.routing import BaseRoute

from postroom.simulator import pages
from postroom.simulator.admin_people import change_right, describe_rights
from postroom.simulator.organisation import LONGEST_PROPAGATION_MINUTES
from postroom.simulator.organisation_settings import BasicAuth, LegacyTls
from postroom.simulator.pages import Form, action, page
from postroom.simulator.tenant import Tenant

SMTP_AUTH_STATES: dict[str, bool | None] = {"inherit": None, "on": True, "off": False}
SMTP_AUTH_TITLES = (
    ("inherit", "As the organisation has it ($null)"),
    ("on", "On for this mailbox ($false)"),
    ("off", "Off for this mailbox ($true)"),
)
BASIC_STATES: dict[str, BasicAuth] = {state: state for state in get_args(BasicAuth)}
BASIC_TITLES = (
    ("on", "On"),
    ("disabled", "Disabled by default, as from the end of December 2026"),
    ("removed", "Removed for good"),
)
TLS_STATES: dict[str, LegacyTls] = {state: state for state in get_args(LegacyTls)}
MIB = 1024 * 1024


def exchange_routes(tenant: Tenant) -> list[BaseRoute]:
    exchange = _Exchange(tenant)
    one, flow = "/exchange/mailboxes/{object_id}", "/exchange/mail-flow"
    return [
        page("/exchange/mailboxes", "exchange_mailboxes.html", exchange.show_tenant),
        page(one, "exchange_mailbox.html", exchange.show_mailbox),
        action(f"{one}/smtp-auth", exchange.set_smtp_auth, one),
        action(f"{one}/policy", exchange.set_policy, one),
        action(f"{one}/rights", exchange.change_right, one),
        action(f"{one}/addresses", exchange.change_addresses, one),
        action(f"{one}/limits", exchange.set_limits, one),
        action(f"{one}/unlimited", exchange.set_unlimited, one),
        action(f"{one}/retention", exchange.set_retention, one),
        page(flow, "exchange_mail_flow.html", exchange.show_mail_flow),
        action(f"{flow}/smtp-auth", exchange.set_tenant_smtp_auth, flow),
        action(f"{flow}/basic", exchange.set_basic_auth, flow),
        action(f"{flow}/tls", exchange.set_legacy_tls, flow),
        action(f"{flow}/alias", exchange.set_send_from_alias, flow),
        action(f"{flow}/propagation", exchange.set_propagation, flow),
        action(f"{flow}/settle", exchange.settle_changes, flow),
    ]


class _Exchange:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def show_tenant(self) -> dict[str, object]:
        return {"tenant": self.tenant, "exchange": self.tenant.exchange, "settings": self.tenant.exchange.settings}

    # A mailbox

    def show_mailbox(self, object_id: str) -> Mapping[str, object]:
        user, exchange = self.tenant.user(object_id), self.tenant.exchange
        chosen = next(name for name, state in SMTP_AUTH_STATES.items() if state is user.smtp_auth)
        return {
            **self.show_tenant(),
            **describe_rights(self.tenant, object_id),
            "user": user,
            "smtp_auth": chosen,
            "smtp_auth_titles": SMTP_AUTH_TITLES,
            "limits": exchange.limits_of(object_id),
            "mib": MIB,
        }

    def set_smtp_auth(self, form: Form, object_id: str) -> None:
        self.tenant.exchange.set_smtp_auth(object_id, pages.read_choice(form, "smtp_auth", SMTP_AUTH_STATES))

    def set_policy(self, form: Form, object_id: str) -> None:
        self.tenant.exchange.set_authentication_policy(object_id, form.get("policy", ""))

    def change_right(self, form: Form, object_id: str) -> None:
        change_right(self.tenant, form, object_id)

    def change_addresses(self, form: Form, object_id: str) -> None:
        if "remove" in form:
            self.tenant.exchange.remove_alias(object_id, form["remove"])
        else:
            self.tenant.exchange.set_alias(object_id, form.get("address", ""))

    def set_limits(self, form: Form, object_id: str) -> None:
        recipients = form.get("recipients_per_message", "").strip()
        self.tenant.exchange.set_limits(
            object_id,
            message_size_bytes=int(pages.read_number(form, "message_size_mib") * MIB),
            recipients_per_message=int(pages.read_number(form, "recipients_per_message")) if recipients else None,
            recipients_per_day=int(pages.read_number(form, "recipients_per_day")),
            messages_per_minute=int(pages.read_number(form, "messages_per_minute")),
            connections=int(pages.read_number(form, "connections")),
            quota_bytes=int(pages.read_number(form, "quota_mib") * MIB),
        )

    def set_unlimited(self, form: Form, object_id: str) -> None:
        self.tenant.exchange.set_recipients_unlimited(object_id)

    def set_retention(self, form: Form, object_id: str) -> None:
        self.tenant.exchange.set_retention(object_id, int(pages.read_number(form, "days")) or None)

    # The organisation

    def show_mail_flow(self) -> Mapping[str, object]:
        return {
            **self.show_tenant(),
            "pending_until": self.tenant.exchange.changes_pending_until(),
            "basic_titles": BASIC_TITLES,
            "tls_states": [(state, state) for state in TLS_STATES],
            "longest_minutes": LONGEST_PROPAGATION_MINUTES,
        }

    def set_tenant_smtp_auth(self, form: Form) -> None:
        self.tenant.exchange.set_tenant_smtp_auth(enabled="smtp_auth_disabled" not in form)

    def set_basic_auth(self, form: Form) -> None:
        self.tenant.exchange.set_basic_auth(pages.read_choice(form, "basic_auth", BASIC_STATES))

    def set_legacy_tls(self, form: Form) -> None:
        self.tenant.exchange.set_legacy_tls(pages.read_choice(form, "legacy_tls", TLS_STATES))

    def set_send_from_alias(self, form: Form) -> None:
        self.tenant.exchange.set_send_from_alias(enabled="send_from_alias" in form)

    def set_propagation(self, form: Form) -> None:
        self.tenant.exchange.set_propagation(pages.read_number(form, "minutes", whole=False))

    def settle_changes(self, form: Form) -> None:
        self.tenant.exchange.settle_changes()
