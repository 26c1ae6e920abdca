"""`postroom sending`: how long mail is tried, who is told, and the canary."""

from typing import Any

import click

from postroom.cli.running_server import Answers, speaks_to_server


@click.group()
def sending() -> None:
    """The settings of sending as a whole."""


@sending.command("show")
@speaks_to_server
def show(answers: Answers) -> None:
    """Print them."""
    answers.show(answers.ask("GET", "/sending"), _told)


@sending.command("set")
@click.option("--lifetime-days", type=click.FloatRange(0, min_open=True), help="How long a message may wait.")
@click.option("--delay-notice-hours", type=click.FloatRange(0), help="When its sender is told; 0: never.")
@click.option("--administrator", help='Who is told what no sender can be told; "": nobody.')
@click.option("--canary/--no-canary", "canary_enabled", default=None, help="Send a message of our own at intervals.")
@click.option("--canary-minutes", type=click.FloatRange(0, min_open=True), help="At which intervals.")
@click.option("--canary-recipient", help='"": the mail server\'s test address.')
@speaks_to_server
def change(
    answers: Answers,
    lifetime_days: float | None,
    delay_notice_hours: float | None,
    canary_minutes: float | None,
    **others: Any,
) -> None:
    """Change what is named; the rest stays."""
    settings = answers.ask("GET", "/sending")
    settings |= {name: value for name, value in others.items() if value is not None}
    if lifetime_days is not None:
        settings["lifetime_seconds"] = round(lifetime_days * 86_400)
    if delay_notice_hours is not None:
        settings["delay_notice_after_seconds"] = round(delay_notice_hours * 3_600) or None
    if canary_minutes is not None:
        settings["canary_every_seconds"] = round(canary_minutes * 60)
    answers.show(answers.ask("PUT", "/sending", json=settings), _told)


def _told(settings: dict[str, Any]) -> str:
    delay = settings["delay_notice_after_seconds"]
    recipient = settings["canary_recipient"] or "the mail server's test address"
    canary = f"every {settings['canary_every_seconds'] / 60:.6g} minutes to {recipient}"
    lines = (
        ("Lifetime", f"{settings['lifetime_seconds'] / 86_400:.6g} days"),
        ("Delay notice", f"after {delay / 3_600:.6g} hours" if delay else "never"),
        ("Administrator", settings["administrator"] or "nobody"),
        ("Canary", canary if settings["canary_enabled"] else "off"),
    )
    return "\n".join(f"{name:<13}  {value}" for name, value in lines)
