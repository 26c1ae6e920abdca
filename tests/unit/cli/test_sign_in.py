"""`postroom mail-server sign-in`: prints a page, takes an address; works on a machine without a browser."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result

from postroom.cli import running_server
from postroom.cli.mail_server import mail_server

PAGE = "https://login.microsoftonline.com/t/oauth2/v2.0/authorize?state=s"
ADDRESS = "http://localhost:8025/oauth/callback?code=secret-code&state=s"
SIGNED_IN: dict[str, Any] = {
    "username": "scanner@contoso.com",
    "mailbox": "office@contoso.com",
    "signed_in_as": "scanner@contoso.onmicrosoft.com",
    "signed_in_at": "2026-11-27T18:00:00Z",
    "permissions": ["SMTP.Send"],
    "missing_permissions": [],
    "redirect_url": "http://localhost:8025/oauth/callback",
    "waiting_until": None,
    "was_repeated": False,
}
REFUSED = {"detail": "It was cut off.", "code": "sign_in_refused", "remedy": "Paste it whole.", "retryable": False}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What the server was asked; it takes the one address, and refuses any other."""
    asked: list[tuple[str, Any]] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content) if request.content else None
        asked.append((request.url.path, body))
        if request.url.path.endswith("/start"):
            begun = {"authorize_url": PAGE, "state": "s", "expires_at": "2026-11-27T18:15:00Z"}
            return httpx2.Response(200, json={**begun, "redirect_url": SIGNED_IN["redirect_url"]})
        if body is not None and body != {"redirected_url": ADDRESS}:
            return httpx2.Response(422, json=REFUSED)
        return httpx2.Response(200, json=SIGNED_IN)

    @contextmanager
    def connect(_config: Path, _url: str, _token_file: Path | None) -> Iterator[httpx2.Client]:
        with httpx2.Client(transport=httpx2.MockTransport(handle), base_url="http://postroom") as client:
            yield client

    monkeypatch.setattr(running_server, "_connect", connect)
    return asked


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(mail_server, list(words), input=stdin)


def test_the_page_is_printed_and_the_address_taken(asked: list[tuple[str, Any]]) -> None:
    result = run("sign-in", "draft", "--choose-account", stdin=f"{ADDRESS}\n")
    assert result.exit_code == 0, result.output
    assert PAGE in result.stderr.splitlines(), "whole, on a line of its own, to be copied"
    assert "Finish by 2026-11-27 18:15:00 UTC" in result.stderr
    assert result.stdout.splitlines() == [
        "Signed in as scanner@contoso.onmicrosoft.com, 2026-11-27 18:00:00 UTC. Access renews by itself.",
        "Mail is sent as the mailbox office@contoso.com.",
    ]
    assert asked[0] == ("/api/v1/mail-servers/draft/oauth/start", {"choose_account": True})
    assert "secret-code" not in result.output


def test_what_is_refused_has_reason_code_and_step(asked: list[tuple[str, Any]]) -> None:
    result = run("sign-in", stdin="http://localhost:8025/oauth/callback?code=secret\n")
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: It was cut off. [sign_in_refused] Paste it whole.\n")
    assert "code=secret" not in result.output


def test_json_alone_stands_on_standard_output(asked: list[tuple[str, Any]]) -> None:
    assert json.loads(run("sign-in", "--json", stdin=f"{ADDRESS}\n").stdout)["username"] == "scanner@contoso.com"
    assert json.loads(run("sign-in-state", "--json").stdout)["missing_permissions"] == []
