"""`postroom sending`: what is not named stays as it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from postroom.cli import running_server
from postroom.cli.sending import sending

KEPT: dict[str, Any] = {
    "lifetime_seconds": 432_000,
    "delay_notice_after_seconds": 14_400,
    "administrator": "",
    "canary_enabled": False,
    "canary_every_seconds": 3_600,
    "canary_recipient": "",
}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of a server that takes whatever it is told."""
    settings = dict(KEPT)

    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/api/v1/sending"
        if request.method == "PUT":
            settings.update(json.loads(request.content))
        return httpx2.Response(200, json=settings)

    @contextmanager
    def connect(_config: Path, _url: str, _token_file: Path | None) -> Iterator[httpx2.Client]:
        with httpx2.Client(transport=httpx2.MockTransport(handle), base_url="http://postroom") as client:
            yield client

    monkeypatch.setattr(running_server, "_connect", connect)
    return settings


def run(*words: str) -> str:
    result = CliRunner().invoke(sending, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def test_they_are_told_as_people_say_them(kept: dict[str, Any]) -> None:
    assert run("show").splitlines() == [
        "Lifetime       5 days",
        "Delay notice   after 4 hours",
        "Administrator  nobody",
        "Canary         off",
    ]


def test_only_what_is_named_is_changed(kept: dict[str, Any]) -> None:
    assert "every 30 minutes to the mail server's test address" in run("set", "--canary", "--canary-minutes", "30")
    assert kept == KEPT | {"canary_enabled": True, "canary_every_seconds": 1_800}
    run("set", "--lifetime-days", "2.5", "--delay-notice-hours", "0", "--administrator", "it@contoso.com")
    assert (kept["lifetime_seconds"], kept["delay_notice_after_seconds"]) == (216_000, None)
    assert kept["canary_enabled"] is True
    assert "Canary         off" in run("set", "--no-canary", "--administrator", "")
    assert kept["administrator"] == ""
