"""`postroom choices`: after a long stop, what of the mail that waited is still sent."""

from datetime import UTC, datetime
from typing import Any

import click

from postroom.cli.running_server import Answers, moment, quoted, speaks_to_server, table


@click.group()
def choices() -> None:
    """After a long stop: what of the mail that waited is still sent."""


@choices.command("list")
@speaks_to_server
def list_open(answers: Answers) -> None:
    """What was set aside and waits for an answer."""
    answers.show(answers.ask("GET", "/choices"), _lines)


@choices.command("answer")
@click.argument("choice")
@click.option("--all", "sends_all", is_flag=True, help="Send everything.")
@click.option(
    "--newer-than", type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]), help="Send what came then or later; UTC."
)
@click.option("--app", "apps", multiple=True, help="Send only the mail of this app; an id.")
@click.option("--none", "sends_none", is_flag=True, help="Hold everything.")
@speaks_to_server
def answer(
    answers: Answers, choice: str, sends_all: bool, newer_than: datetime | None, apps: tuple[str, ...], sends_none: bool
) -> None:
    """Decide, once. What is not sent is held: `postroom messages` releases or cancels it."""
    if sum((sends_all, newer_than is not None, bool(apps), sends_none)) != 1:
        raise click.UsageError("Name one of --all, --newer-than, --app, --none.")
    asked: dict[str, Any] = {"send": "all" if sends_all else "none"}
    if newer_than is not None:
        asked = {"send": "newer", "newer_than": newer_than.replace(tzinfo=UTC).isoformat()}
    if apps:
        asked = {"send": "apps", "apps": list(apps)}
    answers.show(answers.ask("POST", f"/choices/{quoted(choice)}", json=asked), _lines)


def _lines(listed: dict[str, Any]) -> str:
    if not listed["data"]:
        return "Nothing waits for a choice."
    rows: list[tuple[str, ...]] = [
        (each["id"], each["username"], app["name"], app["app"], str(app["messages"]), moment(app["oldest_at"]))
        for each in listed["data"]
        for app in each["apps"]
    ]
    return table(rows, ("CHOICE", "MAILBOX", "APP", "APP'S ID", "MESSAGES", "OLDEST"))
