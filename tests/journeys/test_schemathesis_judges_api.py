"""schemathesis, which others wrote, reads our OpenAPI document and looks for requests that break what it says."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from postroom.server import Server
from postroom.store.records import SCOPES, AppSettings
from tests.journeys.prepared import set_up_mail_server

pytestmark = pytest.mark.anyio

PHASES = "examples,coverage,fuzzing,stateful"
SETTINGS = Path(__file__).with_name("schemathesis.toml")
ENDS_THE_KEY = ("post_apps_app_id_disable", "delete_apps_app_id_keys_key_id")
"""What would end the judge's own key, and with it the judging, is judged by itself."""
PARTS = {
    "messages": ["--include-tag", "Send", "--include-tag", "Messages"],
    "apps": ["--include-tag", "Apps", *(f"--exclude-operation-id={name}" for name in ENDS_THE_KEY)],
    "the end": [f"--include-operation-id={name}" for name in ENDS_THE_KEY],
}


@pytest.mark.parametrize("part", PARTS)
async def test_no_request_breaks_what_the_document_says(running_server: Server, tmp_path: Path, part: str) -> None:
    await set_up_mail_server(running_server)
    # The sender of the document's examples.
    senders = ("noreply@contoso.com",)
    settings = AppSettings(name="judge", senders=senders, message_limit_a_minute=None, message_limit_a_day=None)
    app, _ = await running_server.store.apps.create(settings, "test")
    _, key = await running_server.store.api_keys.create(app.app_id, "judge", SCOPES, None, "test")
    url = running_server.console_url.replace("localhost", "127.0.0.1")
    judge = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS), "run"),
        *(f"{url}/api/openapi.json", "--header", f"Authorization: Bearer {key}", *PARTS[part]),
        *("--seed", "1", "--max-examples", "20", "--no-shrink", "--phases", PHASES),
        *("--warnings", "off", "--no-color"),
        cwd=tmp_path,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await judge.communicate())[0].decode(errors="replace")
    assert judge.returncode == 0, said
    assert "Tested:" in said
