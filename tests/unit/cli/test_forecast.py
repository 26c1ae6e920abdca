"""`postroom messages forecast`: when it will be out, or for what it waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from postroom.cli import running_server
from postroom.cli.messages import messages


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"messages": 0, "out_at": None, "without_time": {}}, ["Nothing waits."]),
        (
            {"messages": 1412, "out_at": "2026-11-27T14:32:00Z", "without_time": {"sign-in": 3}},
            ["1,412 due, out at about 2026-11-27 14:32:00", "3 waiting for: sign-in"],
        ),
    ],
)
def test_it_is_told_in_a_line_each(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], said: list[str]) -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/api/v1/forecast"
        return httpx2.Response(200, json=found)

    @contextmanager
    def connect(_config: Path, _url: str, _token_file: Path | None) -> Iterator[httpx2.Client]:
        with httpx2.Client(transport=httpx2.MockTransport(handle), base_url="http://postroom") as client:
            yield client

    monkeypatch.setattr(running_server, "_connect", connect)
    result = CliRunner().invoke(messages, ["forecast"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True)), lines
