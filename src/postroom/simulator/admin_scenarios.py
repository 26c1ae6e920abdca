"""The pages of the scenarios, and the home page with the fresh start."""

from collections.abc import Mapping

from starlette.routing import BaseRoute

from postroom.simulator.controls import Controls
from postroom.simulator.pages import Form, action, page
from postroom.simulator.scenarios import WAYS, Scenario, Scenarios, read_scenarios
from postroom.simulator.tenant import OperationError, Tenant


def scenario_routes(tenant: Tenant, scenarios: Scenarios) -> list[BaseRoute]:
    own = _ScenarioPages(tenant, scenarios)
    return [
        page("/", "home.html", own.show_home),
        action("/reset", own.reset, "/"),
        page("/scenarios", "scenarios.html", own.show_scenarios),
        page("/scenarios/{name}", "scenario.html", own.show_scenario),
        action("/scenarios/choose", own.choose, "/scenarios"),
        action("/scenarios/set-up", own.set_up_everything, "/scenarios"),
        action("/scenarios/back-to-normal", own.back_to_normal, "/scenarios"),
        action("/scenarios/{name}", own.apply, "/scenarios/{name}"),
    ]


class _ScenarioPages:
    def __init__(self, tenant: Tenant, scenarios: Scenarios) -> None:
        self.tenant = tenant
        self.scenarios = scenarios

    def show_home(self) -> Mapping[str, object]:
        return {"tenant": self.tenant}

    def reset(self, form: Form) -> None:
        Controls(self.tenant).reset(is_empty="empty" in form)
        self.scenarios.forget()

    def _shown(self) -> dict[str, object]:
        known = read_scenarios()
        return {
            "tenant": self.tenant,
            "scenarios": self.scenarios,
            "known": known,
            "applied": known.get(self.scenarios.applied),
            "ways": WAYS,
        }

    def show_scenarios(self) -> Mapping[str, object]:
        mailboxes = [user for user in self.tenant.users.values() if user.is_mailbox]
        return {**self._shown(), "mailboxes": mailboxes}

    def show_scenario(self, name: str) -> Mapping[str, object]:
        known = read_scenarios()
        if name not in known:
            raise OperationError(f"There is no scenario “{name}”.")
        return {**self._shown(), "name": name, "scenario": known[name], "filled": self._fill(known[name])}

    def _fill(self, scenario: Scenario) -> Mapping[str, object]:
        """Remedy, page, command and reply with what the tenant has in their braces."""
        app, mailbox, sender = self.scenarios.app, self.scenarios.mailbox, self.scenarios.sender
        values = {
            "{mailbox}": mailbox.mail if mailbox else "the mailbox",
            "{mailbox_id}": mailbox.object_id if mailbox else "",
            "{sender}": sender.mail if sender else "the sender",
            "{sender_id}": sender.object_id if sender else "",
            "{client_id}": app.client_id if app else "",
            "{enterprise_id}": app.enterprise.object_id if app else "",
        }
        return {
            "remedy": [_put_in(step, values) for step in scenario.remedy],
            "command": _put_in(scenario.command, values),
            "reply": _put_in(scenario.reply, values),
            "page": _put_in(scenario.page, values) if app and mailbox and sender else "",
        }

    def choose(self, form: Form) -> None:
        self.scenarios.choose(form.get("client_id", ""), form.get("mailbox_id", ""))

    def set_up_everything(self, form: Form) -> None:
        self.scenarios.set_up_everything()

    def apply(self, form: Form, name: str) -> None:
        self.scenarios.apply(name)

    def back_to_normal(self, form: Form) -> None:
        self.scenarios.back_to_normal()


def _put_in(text: str, values: Mapping[str, str]) -> str:
    for place, value in values.items():
        text = text.replace(place, value)
    return text
