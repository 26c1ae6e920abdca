"""`postroom send`: a quick mail from standard input."""

import mimetypes
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from postroom.cli.running_server import TRY_AGAIN, Answers, CommandFailed, speaks_to_server

WAIT_LIMIT_SECONDS = 30


@click.command()
@click.option("--to", "to", multiple=True, required=True, help="A recipient; may be given several times.")
@click.option("--cc", multiple=True)
@click.option("--bcc", multiple=True)
@click.option("--from", "sender", default="", help="The sender; not needed when the app has one.")
@click.option("--reply-to", default="")
@click.option("--subject", required=True)
@click.option("--html", "is_html", is_flag=True, help="What comes on standard input is HTML.")
@click.option(
    "--attach", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file to attach."
)
@click.option("--lane", type=click.Choice(["high", "normal", "low"]), default="normal", show_default=True)
@click.option("--send-at", default="", help="Not before, such as 2026-12-01T06:00:00Z.")
@click.option("--app", "app_name", default="", help="Whose mail it is, on this machine; else This machine.")
@click.option("--idempotency-key", default="", help="A repeat with the same key is no second message.")
@click.option("--wait", type=click.IntRange(0, WAIT_LIMIT_SECONDS), default=0, help="Seconds to wait for the outcome.")
@speaks_to_server
def send(
    answers: Answers,
    sender: str,
    reply_to: str,
    is_html: bool,
    attach: tuple[Path, ...],
    send_at: str,
    app_name: str,
    idempotency_key: str,
    wait: int,
    **fields: Any,
) -> None:
    """Send the text on standard input. It is on the disk when this ends with 0; with --wait, it was sent."""
    text = sys.stdin.read()
    body = {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    body |= {"from": sender} if sender else {}
    body |= {"reply_to": reply_to} if reply_to else {}
    body |= {"send_at": send_at} if send_at else {}
    if text.strip() or not attach:
        body["html" if is_html else "text"] = text
    headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
    params = {key: value for key, value in (("wait", wait), ("app", app_name)) if value}
    with ExitStack() as files:
        form = [("file", (path.name, files.enter_context(path.open("rb")), _kind(path))) for path in attach]
        request: dict[str, Any] = {"json": body}
        if form:
            request = {"data": {"message": msgspec.json.encode(body).decode()}, "files": form}
        taken = answers.ask("POST", "/messages", headers=headers, params=params, **request)
    answers.show(taken, _told)
    if wait:
        _judge(taken)


def _kind(path: Path) -> str:
    kind, encoding = mimetypes.guess_type(path.name)
    return (
        kind
        if kind and not encoding and not kind.startswith(("message/", "multipart/"))
        else "application/octet-stream"
    )


def _told(taken: dict[str, Any]) -> str:
    error = taken.get("last_error")
    why = f": {error['text']}" if error else f", waiting for {taken['waits_for']}" if taken.get("waits_for") else ""
    return f"{taken['id']}  {taken['status']}{why}"


def _judge(taken: dict[str, Any]) -> None:
    if taken["status"] == "failed" or taken["is_partly_failed"]:
        raise CommandFailed(f"{_told(taken)}. See: postroom messages timeline {taken['id']}")
    if taken["status"] != "sent":
        raise CommandFailed(f"It is safe, and not sent yet: {_told(taken)}.", TRY_AGAIN)
