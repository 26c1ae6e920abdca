"""The simulator's own pages: scenarios, switches, the clock, what is unconfirmed, fault addresses, a fresh start."""

from collections.abc import Mapping
from typing import get_args

from starlette.routing import BaseRoute

from postroom.simulator import pages
from postroom.simulator.controls import Controls
from postroom.simulator.directory_rules import RefreshRotation, TokenEndpointFault
from postroom.simulator.faults import FAULTS, STAGES, sign_in_faults
from postroom.simulator.graph_switches import GraphFault
from postroom.simulator.organisation_settings import READINGS
from postroom.simulator.pages import Form, action, page
from postroom.simulator.tenant import DAY_SECONDS, LicenseRead, Tenant

TOKEN_FAULTS: dict[str, TokenEndpointFault | None] = {"": None, **{it: it for it in get_args(TokenEndpointFault)}}
TOKEN_FAULT_TITLES = (
    ("", "works"),
    ("500", "answers 500, server_error"),
    ("503_retry_after", "answers 503 and asks to wait 30 seconds"),
    ("429_retry_after", "answers 429 and asks to wait 30 seconds"),
    ("html", "is hidden behind a proxy's HTML page"),
    ("empty", "answers nothing at all"),
    ("slow", "answers after 5 seconds"),
)
GRAPH_FAULTS: dict[str, GraphFault | None] = {"": None, **{fault: fault for fault in get_args(GraphFault)}}
LICENSE_READS: dict[str, LicenseRead] = {answer: answer for answer in get_args(LicenseRead)}
LICENSE_READ_TITLES = (
    ("full", "all details (as with User.Read alone)"),
    ("limited", "limited: the id of the product only"),
    ("forbidden", "refused with 403, for want of a directory role"),
)
ROTATIONS: dict[str, RefreshRotation] = {rotation: rotation for rotation in get_args(RefreshRotation)}


def simulator_routes(tenant: Tenant) -> list[BaseRoute]:
    simulator = _SimulatorPages(tenant)
    return [
        page("/switches", "switches.html", simulator.show_switches),
        action("/switches/token-endpoint", simulator.break_token_endpoint, "/switches"),
        action("/switches/answer-with", simulator.answer_with, "/switches"),
        action("/switches/tokens", simulator.change_tokens, "/switches"),
        action("/switches/graph", simulator.break_graph, "/switches"),
        action("/switches/exchange", simulator.change_front_end, "/switches"),
        action("/switches/sign-in-fault", simulator.set_sign_in_fault, "/switches"),
        page("/unconfirmed", "unconfirmed.html", simulator.show_unconfirmed),
        action("/unconfirmed", simulator.choose_readings, "/unconfirmed"),
        page("/clock", "clock.html", simulator.show_clock),
        action("/clock", simulator.advance_clock, "/clock"),
        page("/faults", "faults.html", simulator.show_faults),
    ]


class _SimulatorPages:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.controls = Controls(tenant)

    # Switches

    def show_switches(self) -> Mapping[str, object]:
        asked = self.tenant.exchange.front_end.sign_in_faults
        names = {user.object_id: user.user_principal_name for user in self.tenant.users.values()} | {
            "": "every mailbox"
        }
        return {
            "tenant": self.tenant,
            "token_faults": TOKEN_FAULT_TITLES,
            "graph_faults": [("", "works"), *((fault, f"answers {fault}") for fault in get_args(GraphFault))],
            "rotations": [(rotation, rotation) for rotation in ROTATIONS],
            "sign_in_faults": sign_in_faults(),
            "asked_faults": {names.get(object_id, object_id): fault for object_id, fault in asked.items() if fault},
        }

    def break_token_endpoint(self, form: Form) -> None:
        self.controls.break_token_endpoint(pages.read_choice(form, "token_endpoint_fault", TOKEN_FAULTS))

    def answer_with(self, form: Form) -> None:
        self.controls.answer_with(int(pages.read_number(form, "code")) or None)

    def change_tokens(self, form: Form) -> None:
        rotation = pages.read_choice(form, "refresh_rotation", ROTATIONS)
        self.controls.set_refresh_rotation(rotation)
        self.controls.detect_loops(enabled="detects_loops" in form)
        self.controls.subscribe_to_exchange(subscribed="exchange_is_subscribed" in form)

    def break_graph(self, form: Form) -> None:
        fault = pages.read_choice(form, "graph_fault", GRAPH_FAULTS)
        if fault is None:
            self.tenant.graph.mend_graph()
        else:
            times = int(pages.read_number(form, "times")) or None
            self.tenant.graph.break_graph(fault, times=times)

    def change_front_end(self, form: Form) -> None:
        idle, whole = pages.read_number(form, "idle_seconds"), pages.read_number(form, "connection_seconds")
        self.tenant.exchange.set_timeouts(idle_seconds=idle, connection_seconds=whole or None)
        self.tenant.exchange.set_available(is_available="is_available" in form)

    def set_sign_in_fault(self, form: Form) -> None:
        self.tenant.exchange.set_sign_in_fault(form.get("mailbox") or None, form.get("fault", ""))

    # What nobody has confirmed

    def show_unconfirmed(self) -> Mapping[str, object]:
        values = {name: getattr(self.tenant.exchange.readings, name) for name in READINGS}
        values["rate_mode"] = values["rate_mode"] == "reject"
        return {
            "tenant": self.tenant,
            "readings": [(name, meaning, values[name]) for name, meaning in READINGS.items()],
            "license_reads": LICENSE_READ_TITLES,
            "faults": [fault for fault in FAULTS if fault.confidence == "C"],
        }

    def choose_readings(self, form: Form) -> None:
        license_read = pages.read_choice(form, "license_read", LICENSE_READS)
        for name in READINGS:
            self.tenant.exchange.set_reading(name, name in form)
        self.controls.require_send_as(required="strict_send_on_behalf" in form)
        self.controls.keep_x_headers(kept="keeps_x_headers" in form)
        self.controls.set_license_read(license_read)

    # The clock and the faults

    def show_clock(self) -> Mapping[str, object]:
        clock = self.tenant.clock
        return {"now": clock.now(), "advanced_days": clock.advanced_seconds / DAY_SECONDS}

    def advance_clock(self, form: Form) -> None:
        days, hours, minutes = (pages.read_number(form, unit, whole=False) for unit in ("days", "hours", "minutes"))
        self.controls.advance_clock(days=days, hours=hours, minutes=minutes)

    def show_faults(self) -> Mapping[str, object]:
        return {"faults": FAULTS, "stages": STAGES}
