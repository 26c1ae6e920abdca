"""The API's page of documentation in a real browser: readable for everybody, complete, and nothing from elsewhere."""

import contextlib
from pathlib import Path

import pytest
from playwright.async_api import Request

from postroom.api.app import make_api
from postroom.api.routes import BASE, ROUTES
from postroom.console.listener import ConsoleListener, bind_console
from tests.journeys.test_console_accessible import Console
from tests.journeys.watched import Watched, open_chromium
from tests.unit.api.caller_of import open_house as open_api_house
from tests.unit.console.visitor import open_house

pytestmark = pytest.mark.anyio


async def test_the_page_can_be_read_by_everybody_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        browser = await stack.enter_async_context(open_chromium())
        api = await stack.enter_async_context(open_api_house(tmp_path / "api"))
        house = await stack.enter_async_context(open_house(tmp_path / "console"))
        bound = bind_console("127.0.0.1", 0)
        listener = ConsoleListener(make_api(api.room), bound)
        stack.push_async_callback(listener.stop)
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        watched = Watched(browser)
        context = await watched.open_context(runs_scripts=True)
        stack.push_async_callback(context.close)
        page = await context.new_page()
        asked: list[str] = []

        def note(request: Request) -> None:
            asked.append(request.url)

        page.on("request", note)
        await Console(house, page, url, watched).judge("/api/docs")
        assert {address.removeprefix(url) for address in asked} == {"/api/docs", "/api/docs.css"}
        nowhere = await page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href').slice(1))"
            ".filter(name => document.getElementById(name) === null)"
        )
        assert nowhere == [], "links that lead nowhere"
        text = await page.locator("main").inner_text()
        for route in ROUTES:
            assert f"{route.method} {BASE}{route.path}" in text
        assert watched.unexpected() == []
