"""The pretend admin centers: home, switches, the clock and the fault addresses, and the rest's routes.

Pages only show the tenant and call its operations.
"""

from collections.abc import Mapping
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.admin_apps import app_routes
from postroom.simulator.admin_people import people_routes
from postroom.simulator.faults import FAULTS, STAGES
from postroom.simulator.tenant import LicenseRead, OperationError, Tenant, TokenEndpointFault

LONGEST_STEP_DAYS = 3650
DAY_SECONDS = 86_400

TOKEN_FAULTS: dict[str, str] = {
    "": "works",
    "500": "answers 500, server_error",
    "503_retry_after": "answers 503 and asks to wait 30 seconds",
    "html": "is hidden behind a proxy's HTML page",
}
LICENSE_READS: dict[str, str] = {
    "full": "all details (as with User.Read alone)",
    "limited": "limited: the id of the product only",
    "forbidden": "refused with 403, for want of a directory role",
}


def routes(tenant: Tenant) -> list[BaseRoute]:
    """Every page for people but the sign-in and the inbox, and the style sheet."""
    center = _AdminCenter(tenant)
    return [
        Route("/", center.show_home),
        Route("/switches", center.show_switches),
        Route("/switches", center.set_switches, methods=["POST"]),
        Route("/clock", center.advance_clock, methods=["POST"]),
        Route("/faults", center.show_faults),
        *people_routes(tenant),
        *app_routes(tenant),
        *pages.static_routes(),
    ]


class _AdminCenter:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    async def show_home(self, request: Request) -> Response:
        return pages.render(request, "home.html", tenant=self.tenant)

    async def show_switches(self, request: Request) -> Response:
        return pages.render(
            request,
            "switches.html",
            tenant=self.tenant,
            now=self.tenant.clock.now(),
            advanced_days=self.tenant.clock.advanced_seconds / DAY_SECONDS,
            token_faults=TOKEN_FAULTS,
            license_reads=LICENSE_READS,
        )

    async def set_switches(self, request: Request) -> Response:
        return await pages.take_form(request, self._set_switches, "/switches")

    def _set_switches(self, form: Mapping[str, str]) -> None:
        tenant = self.tenant
        tenant.license_read = _license_read(form.get("license_read", "full"))
        tenant.token_endpoint_fault = _token_fault(form.get("token_endpoint_fault", ""))
        tenant.disable_smtp_auth(disabled="smtp_auth_disabled" in form)
        tenant.basic_auth_disabled = "basic_auth_disabled" in form
        tenant.security_defaults = "security_defaults" in form
        tenant.strict_send_on_behalf = "strict_send_on_behalf" in form

    async def advance_clock(self, request: Request) -> Response:
        return await pages.take_form(request, self._advance_clock, "/switches")

    def _advance_clock(self, form: Mapping[str, str]) -> None:
        days = _read_number(form.get("days", ""), "days")
        hours = _read_number(form.get("hours", ""), "hours")
        seconds = days * DAY_SECONDS + hours * 3600
        if not 0 < seconds <= LONGEST_STEP_DAYS * DAY_SECONDS:
            raise OperationError(f"The clock moves forward, by at most {LONGEST_STEP_DAYS} days at once.")
        self.tenant.clock.advance(seconds)

    async def show_faults(self, request: Request) -> Response:
        return pages.render(request, "faults.html", tenant=self.tenant, faults=FAULTS, stages=STAGES)


def _license_read(text: str) -> LicenseRead:
    for known in get_args(LicenseRead):
        if text == known:
            return known  # type: ignore[no-any-return]  # get_args knows no types
    raise OperationError(f"There is no such answer of licenseDetails: “{text}”.")


def _token_fault(text: str) -> TokenEndpointFault | None:
    for known in get_args(TokenEndpointFault):
        if text == known:
            return known  # type: ignore[no-any-return]  # get_args knows no types
    if text:
        raise OperationError(f"There is no such fault of the token endpoint: “{text}”.")
    return None


def _read_number(text: str, name: str) -> float:
    try:
        number = float(text or 0)
    except ValueError:
        raise OperationError(f"“{text}” is not a number of {name}.") from None
    if not 0 <= number <= LONGEST_STEP_DAYS * 24:
        raise OperationError(f"{text} {name} cannot be added to the clock.")
    return number
