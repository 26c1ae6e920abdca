"""The console's own HTTP server: whom it takes a request to be from."""

import socket

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from postroom.console.listener import ConsoleListener, bind_console

pytestmark = pytest.mark.anyio


async def tell_client(request: Request) -> PlainTextResponse:
    assert request.client is not None
    return PlainTextResponse(request.client.host)


@pytest.mark.parametrize(("is_behind_proxy", "seen"), [(False, "127.0.0.1"), (True, "192.0.2.9")])
async def test_only_behind_a_proxy_a_header_says_who_asks(is_behind_proxy: bool, seen: str) -> None:
    bound = bind_console("127.0.0.1", 0)
    listener = ConsoleListener(Starlette(routes=[Route("/", tell_client)]), bound, is_behind_proxy=is_behind_proxy)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    try:
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.get(url, headers={"X-Forwarded-For": "192.0.2.9"})
    finally:
        await listener.stop()
    assert answer.text == seen


def test_an_answer_does_not_wait_for_a_delayed_acknowledgement() -> None:
    """asyncio sets TCP_NODELAY for sockets that name TCP, and only for those."""
    bound = bind_console("127.0.0.1", 0)
    bound.setblocking(True)
    with bound, socket.create_connection(bound.getsockname()), bound.accept()[0] as accepted:
        assert accepted.proto == socket.IPPROTO_TCP
