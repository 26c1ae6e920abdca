"""What monitors and orchestrators ask, outside of /api: does it live, can it take mail, and how is it doing?"""

import ipaddress

from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from postroom.api.caller import Doorkeeper
from postroom.api.problems import ApiError, answer_problem
from postroom.api.readiness import ReadinessProbe
from postroom.api.room import ApiRoom, say
from postroom.api.scrape import process_values, store_values
from postroom.errors import PostroomError

PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""A proxy on this machine asks for somebody who may be anywhere."""


class MonitoringDesk:
    """Answers all of them."""

    def __init__(self, room: ApiRoom, doorkeeper: Doorkeeper | None) -> None:
        self._room = room
        self._doorkeeper = doorkeeper
        self._probe = ReadinessProbe(room.store, room.monitors.is_listening, room.shutdown)

    def routes(self) -> list[Route]:
        return [
            Route("/livez", self._show_alive),
            Route("/readyz", self._show_ready),
            Route("/healthz", self._show_ready),
            Route("/metrics", self._show_metrics),
        ]

    async def _show_alive(self, _request: Request) -> Response:
        return Response(b'{"alive":true}', media_type="application/json")

    async def _show_ready(self, _request: Request) -> Response:
        readiness = await self._probe.ask()
        return say(readiness, 200 if readiness.ready else 503)

    async def _show_metrics(self, request: Request) -> Response:
        try:
            await self._require_reader(request)
        except ApiError as problem:
            return answer_problem(request, problem, request.state.request_id)
        readiness = await self._probe.ask()
        await self._read(readiness.ready)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._room.intake.metrics.registry), media_type=content_type)

    async def _require_reader(self, request: Request) -> None:
        """ApiError for who is neither the administrator, nor on this machine where that is enough, nor has a key."""
        is_open = self._room.monitors.is_open_to_loopback and _comes_from_here(request)
        if self._doorkeeper is None or (is_open and "authorization" not in request.headers):
            return
        (await self._doorkeeper.recognise(request)).require("metrics:read")

    async def _read(self, is_ready: bool) -> None:
        """A store that is away takes none of what is known without it."""
        room = self._room
        values = dict(process_values(room.monitors, is_ready, room.store.outbox.disk_free_bytes))
        try:
            figures = await room.store.figures.read()
        except PostroomError:
            figures = None
        if figures is not None:
            for name, samples in store_values(figures, room.clock.now_us()).items():
                values[name] = [*values.get(name, ()), *samples]
        room.intake.metrics.show(values)


def _comes_from_here(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
