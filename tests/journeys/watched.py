"""Headless Chromium in which nothing goes wrong unseen: errors in the browser's console, pages' scripts that fail,
what the Content-Security-Policy blocks, and requests that fail."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Request, Response, WebError, async_playwright

PATIENCE_MS = 20_000
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# A page that is left while it asks for news ends that request itself.
LEFT_BEHIND = "net::ERR_ABORTED"


@asynccontextmanager
async def open_chromium() -> AsyncIterator[Browser]:
    """Chromium as Debian has it; the test is skipped where it is missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """Opens contexts (each a browser of its own, with its cookies) and notes what goes wrong in any of their pages."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._allowed: list[str] = []
        self.troubles: list[str] = []

    async def open_context(self, *, runs_scripts: bool = True) -> BrowserContext:
        context = await self._browser.new_context(
            java_script_enabled=runs_scripts, permissions=["clipboard-read", "clipboard-write"]
        )
        context.set_default_timeout(PATIENCE_MS)
        context.on("console", self._note_console)
        context.on("weberror", self._note_script)
        context.on("requestfailed", self._note_request)
        context.on("response", self._note_response)
        return context

    def allow(self, pattern: str) -> None:
        """A trouble that this journey brings about on purpose."""
        self._allowed.append(pattern)

    def unexpected(self) -> list[str]:
        return [trouble for trouble in self.troubles if not any(re.search(it, trouble) for it in self._allowed)]

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"console {message.type}: {message.text} ({message.location['url']})")

    def _note_script(self, error: WebError) -> None:
        self.troubles.append(f"script: {error.error}")

    def _note_request(self, request: Request) -> None:
        if request.failure != LEFT_BEHIND:
            self.troubles.append(f"request: {request.method} {request.url}: {request.failure}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"answer: {response.request.method} {response.url}: status of {response.status}")
