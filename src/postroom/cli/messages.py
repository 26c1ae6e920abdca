"""`postroom messages`: what was handed in, and what became of it."""

import csv
import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from postroom.cli.running_server import Answers, moment, quoted, speaks_to_server, table

COLUMNS = ("id", "created_at", "status", "app", "from", "to", "subject", "size_bytes", "attempts", "finished_at")


@click.group()
def messages() -> None:
    """Messages: list, look, retry, cancel, hold, release, export."""


@messages.command("list")
@click.argument("words", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@speaks_to_server
def list_messages(answers: Answers, words: tuple[str, ...], limit: int) -> None:
    """List messages, newest first. WORDS search as the console does: status:failed to:@contoso.com app:"HP"."""
    found = answers.ask("GET", "/messages", params={"q": _search(words), "limit": limit})
    answers.show(
        found, lambda it: table([_row(line) for line in it["data"]], ("ID", "TIME", "STATUS", "FROM", "TO", "SUBJECT"))
    )


@messages.command("forecast")
@speaks_to_server
def forecast(answers: Answers) -> None:
    """Tell when what is due will be out, and what nobody can tell of."""
    answers.show(answers.ask("GET", "/forecast"), _foretold)


@messages.command("show")
@click.argument("message_id")
@speaks_to_server
def show(answers: Answers, message_id: str) -> None:
    """Show a message and each of its recipients."""
    answers.show(answers.ask("GET", f"/messages/{quoted(message_id)}"), _described)


@messages.command("timeline")
@click.argument("message_id")
@speaks_to_server
def timeline(answers: Answers, message_id: str) -> None:
    """Show what happened to a message."""
    found = answers.ask("GET", f"/messages/{quoted(message_id)}/events")
    answers.show(found, lambda it: "\n".join(_event(event) for event in it["data"]))


@messages.command("raw")
@click.argument("message_id")
@speaks_to_server
def raw(answers: Answers, message_id: str) -> None:
    """Print the message as it is stored."""
    for chunk in answers.stream(f"/messages/{quoted(message_id)}/raw"):
        sys.stdout.buffer.write(chunk)


def _action(name: str, meaning: str) -> None:
    @click.argument("message_ids", nargs=-1, metavar="MESSAGE_ID...")
    @click.option("--filter", "words", default="", help="All that a search finds, in place of ids.")
    @click.option("--dry-run", is_flag=True, help="With --filter: only say how many it would be.")
    @speaks_to_server
    def act(answers: Answers, message_ids: tuple[str, ...], words: str, dry_run: bool) -> None:
        if bool(message_ids) == bool(words):
            raise click.UsageError("Name messages by their ids, or by --filter.")
        if words:
            body = {"action": name, "filter": words, "dry_run": dry_run}
            done = answers.ask("POST", "/messages/actions", json=body)
            answers.show(done, lambda it: f"{it['matched']} found, {it['changed']} changed.")
            return
        for message_id in message_ids:
            changed = answers.ask("POST", f"/messages/{quoted(message_id)}/{name}")
            answers.show(changed, lambda it: f"{it['id']}  {it['status']}")

    act.__doc__ = meaning
    messages.command(name)(act)


_action("retry", "Send again now what failed or was put off.")
_action("cancel", "Send nothing more of it.")
_action("hold", "Let it wait until it is released.")
_action("release", "Send what was held.")


@messages.command("send-again")
@click.argument("message_id")
@speaks_to_server
def send_again(answers: Answers, message_id: str) -> None:
    """Send the same content once more, as a new message."""
    made = answers.ask("POST", f"/messages/{quoted(message_id)}/send-again")
    answers.show(made, lambda it: f"{it['id']}  {it['status']}")


@messages.command("export")
@click.argument("words", nargs=-1)
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@speaks_to_server
def export(answers: Answers, words: tuple[str, ...], form: str) -> None:
    """Print everything that a search finds, a line each."""
    lines = _all_lines(answers, _search(words))
    if form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(COLUMNS)
        for line in lines:
            writer.writerow([_cell(line[name]) for name in COLUMNS])
        return
    for line in lines:
        click.echo(msgspec.json.encode(line).decode())


def _all_lines(answers: Answers, search: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = answers.ask("GET", "/messages", params={"q": search, "limit": 200, "cursor": cursor})
        yield from page["data"]
        cursor = page["next_cursor"]
        if not cursor:
            return


def _cell(value: Any) -> Any:
    """A spreadsheet takes what begins like a formula for one."""
    text = "; ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(("=", "+", "-", "@", "\t")) else text


def _search(words: tuple[str, ...]) -> str:
    """The shell took the quotation marks away: what has a blank gets them again."""
    return " ".join(_quoted(word) if " " in word else word for word in words)


def _quoted(word: str) -> str:
    name, colon, text = word.partition(":")
    return f'{name}:"{text}"' if colon and " " not in name else f'"{word}"'


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    more = line["recipient_count"] - len(line["to"])
    to = ", ".join(line["to"]) + (f" +{more}" if more > 0 else "")
    return line["id"], moment(line["created_at"]), line["status"], line["from"], to, line["subject"]


def _foretold(found: dict[str, Any]) -> str:
    lines = [f"{amount:,} waiting for: {cause}" for cause, amount in found["without_time"].items()]
    if found["out_at"]:
        lines.insert(0, f"{found['messages']:,} due, out at about {moment(found['out_at'])}")
    return "\n".join(lines) or "Nothing waits."


def _described(found: dict[str, Any]) -> str:
    lines = [
        f"{found['id']}  {found['status']}" + (f", waiting for {found['waits_for']}" if found["waits_for"] else ""),
        f"Received    {moment(found['created_at'])}, {found['size_bytes']:,} bytes, of {found['app']}",
        f"From        {found['from']}",
        f"Subject     {found['subject']}",
        f"Message-ID  {found['message_id']}",
        *(f"Changed     {change}" for change in found["changes"]),
    ]
    for recipient in found["recipients"]:
        error = recipient["last_error"]
        lines.append(
            f"To          {recipient['email']}  {recipient['status']}" + (f": {error['text']}" if error else "")
        )
    return "\n".join(lines)


def _event(event: dict[str, Any]) -> str:
    text = f"{event['at'][:23].replace('T', ' ')}  {event['type']:<10}  {event['text']}"
    for outcome in event.get("outcomes", ()):
        told = outcome.get("reply") or outcome["failure"]["text"]
        text += f"\n{'':25}{outcome['email']}: {outcome['outcome']}: {told}"
    return text
