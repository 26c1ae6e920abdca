"""Trouble at the token endpoint that is switched on: errors of Entra's, answers of something between, silence."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping

from starlette.responses import HTMLResponse, JSONResponse, Response

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.tenant import Tenant

# The same request so often within so long is a loop (Microsoft's own numbers are not documented).
LOOP_REQUESTS = 15
LOOP_SECONDS = 300.0
PROXY_PAGE = "<!doctype html><title>Blocked</title><h1>This proxy wants you to sign in</h1>"


class TokenFaults:
    """Asked first at each request; it raises AadstsError, answers itself, or lets the request pass."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self._seen: dict[str, deque[float]] = {}

    async def strike(self, form: Mapping[str, str]) -> Response | None:
        """The switched trouble; None to go on. Only this waits, where the switch says "slow"."""
        switches, fault = self.tenant.entra, self.tenant.token_endpoint_fault
        if switches.answer_with is not None:
            raise AadstsError(switches.answer_with, tenant=self.tenant.name, **_known_values(form))
        if fault == "500":
            raise AadstsError(90033)
        if fault == "503_retry_after":
            raise AadstsError(90055)
        if fault == "slow":
            await asyncio.sleep(switches.slow_seconds)
        if switches.detects_loops:
            self._refuse_loop(form)
        return self._answer_of_something_else()

    def _answer_of_something_else(self) -> Response | None:
        fault = self.tenant.token_endpoint_fault
        if fault == "html":
            return HTMLResponse(PROXY_PAGE)
        if fault == "empty":
            return Response(status_code=200)
        if fault == "429_retry_after":
            body = {"error": "temporarily_unavailable", "error_description": "Too many requests."}
            return JSONResponse(body, 429, {"retry-after": str(self.tenant.entra.retry_after_seconds)})
        return None

    def _refuse_loop(self, form: Mapping[str, str]) -> None:
        """50196 once the same form came LOOP_REQUESTS times within LOOP_SECONDS."""
        now = self.tenant.clock.now()
        spelled = "\n".join(f"{name}={form[name]}" for name in sorted(form))
        times = self._seen.setdefault(hashlib.sha256(spelled.encode()).hexdigest(), deque(maxlen=LOOP_REQUESTS))
        times.append(now)
        if len(times) == LOOP_REQUESTS and now - times[0] < LOOP_SECONDS:
            raise AadstsError(50196)


def _known_values(form: Mapping[str, str]) -> dict[str, str]:
    """What a sentence may name of the request; the rest of its places stay open."""
    return {name: form[name] for name in ("client_id", "scope", "grant_type") if name in form}
