"""`postroom mail-server`: the ways out, and their client secrets."""

import sys
from datetime import datetime
from typing import Any, TextIO

import click

from postroom.cli.running_server import Answers, moment, quoted, speaks_to_server, table

WHICH = "default"


@click.group("mail-server")
def mail_server() -> None:
    """The ways out: what each is, whether it sends, and its client secret."""


@mail_server.command("list")
@speaks_to_server
def list_all(answers: Answers) -> None:
    """All of them, a line each."""
    answers.show(answers.ask("GET", "/mail-servers"), _lines)


@mail_server.command("show")
@click.argument("which", default=WHICH)
@speaks_to_server
def show(answers: Answers, which: str) -> None:
    """One of them: its id, or `default`."""
    answers.show(answers.ask("GET", f"/mail-servers/{quoted(which)}"), _told)


@mail_server.command("set")
@click.argument("which", default=WHICH)
@click.option("--default", "is_default", is_flag=True, help="What no rule names leaves through it.")
@click.option("--pause/--resume", "paused", default=None, help="Keep its mailbox from sending, or let it try again.")
@click.option("--alternative", "alternatives", multiple=True, help="Takes its mail while it cannot send; an id.")
@click.option("--no-alternatives", is_flag=True, help="None takes its mail.")
@speaks_to_server
def change(
    answers: Answers,
    which: str,
    is_default: bool,
    paused: bool | None,
    alternatives: tuple[str, ...],
    no_alternatives: bool,
) -> None:
    """Change what is named; the rest stays."""
    if alternatives and no_alternatives:
        raise click.UsageError("--alternative and --no-alternatives contradict one another.")
    asked: dict[str, Any] = {}
    if is_default:
        asked["is_default"] = True
    if paused is not None:
        asked["paused"] = paused
    if alternatives or no_alternatives:
        asked["alternatives"] = list(alternatives)
    if not asked:
        raise click.UsageError("Name what to change: --default, --pause, --resume, --alternative, --no-alternatives.")
    answers.show(answers.ask("PATCH", f"/mail-servers/{quoted(which)}", json=asked), _told)


@mail_server.command("renew-secret")
@click.argument("which", default=WHICH)
@click.option(
    "--secret-file",
    type=click.File(encoding="utf-8"),
    help="The file with the Value from Entra; - reads standard input. Without it, you are asked.",
)
@click.option("--ends-on", type=click.DateTime(["%Y-%m-%d"]), required=True, help="When it expires: 2028-11-26.")
@speaks_to_server
def renew_secret(answers: Answers, which: str, secret_file: TextIO | None, ends_on: datetime) -> None:
    """Use a new client secret: tried at Microsoft first; the old one is kept for 24 hours."""
    asked = {"client_secret": _read_secret(secret_file), "ends_on": ends_on.date().isoformat()}
    answers.show(answers.ask("POST", f"/mail-servers/{quoted(which)}/secret", json=asked), _secret_told)


@mail_server.command("take-secret-back")
@click.argument("which", default=WHICH)
@speaks_to_server
def take_secret_back(answers: Answers, which: str) -> None:
    """Go back to the client secret of before; it is tried as well."""
    answers.show(answers.ask("POST", f"/mail-servers/{quoted(which)}/secret/back"), _secret_told)


@mail_server.command("sign-in")
@click.argument("which", default=WHICH)
@click.option("--choose-account", is_flag=True, help="Microsoft asks which account, in place of suggesting one.")
@speaks_to_server
def sign_in(answers: Answers, which: str, choose_account: bool) -> None:
    """Sign in to Microsoft as its mailbox, with a browser on any computer; `draft` is what is being set up.

    Prints the page to open, and takes the address on which the sign-in ended: typed, or from standard input.
    """
    path = f"/mail-servers/{quoted(which)}/oauth"
    begun = answers.ask("POST", f"{path}/start", json={"choose_account": choose_account})
    # On standard error: standard output is for what came of it.
    click.echo(_what_to_do(begun), err=True)
    address = sys.stdin.readline() if not sys.stdin.isatty() else click.prompt("Address", prompt_suffix=": ", err=True)
    answers.show(answers.ask("POST", f"{path}/complete", json={"redirected_url": address.strip()}), _signed_in_told)


@mail_server.command("sign-in-state")
@click.argument("which", default=WHICH)
@speaks_to_server
def sign_in_state(answers: Answers, which: str) -> None:
    """Show who is signed in, and which permissions are missing."""
    answers.show(answers.ask("GET", f"/mail-servers/{quoted(which)}/oauth"), _signed_in_told)


@mail_server.command("remove")
@click.argument("which")
@speaks_to_server
def remove(answers: Answers, which: str) -> None:
    """Remove one; refused with the reason while anything needs it."""
    answers.ask("DELETE", f"/mail-servers/{quoted(which)}")
    answers.show({"removed": which}, lambda it: f"{it['removed']} was removed.")


def _what_to_do(begun: dict[str, Any]) -> str:
    return "\n".join(
        (
            "1. Open this page in a browser, on any computer, and sign in:",
            "",
            begun["authorize_url"],
            "",
            "2. The browser then shows an error page, or one that asks you to copy its address: as it should be.",
            f"3. Copy the whole address of that page, and paste it here. It begins with {begun['redirect_url']}?",
            f"   Finish by {moment(begun['expires_at'])} UTC.",
        )
    )


def _signed_in_told(told: dict[str, Any]) -> str:
    if not told["signed_in_as"]:
        return f"Nobody is signed in as {told['username']}."
    lines = [f"Signed in as {told['signed_in_as']}, {moment(told['signed_in_at'])} UTC. Access renews by itself."]
    if told["was_repeated"]:
        lines.append("This answer of Microsoft had been taken before: nothing was changed.")
    if told["mailbox"] != told["username"]:
        lines.append(f"Mail is sent as the mailbox {told['mailbox']}.")
    if told["missing_permissions"]:
        lines.append(f"Not granted: {', '.join(told['missing_permissions'])}.")
    return "\n".join(lines)


def _read_secret(file: TextIO | None) -> str:
    if file is not None:
        return file.read().strip()
    if not sys.stdin.isatty():
        raise click.UsageError("Name --secret-file; a secret never stands on the command line.")
    typed: str = click.prompt("Client secret", hide_input=True)
    return typed.strip()


def _lines(listed: dict[str, Any]) -> str:
    heads = ("ID", "NAME", "SERVER", "USERNAME", "STATE")
    rows: list[tuple[str, ...]] = [
        (each["id"], each["name"] or "-", f"{each['host']}:{each['port']}", each["username"], _state(each))
        for each in listed["data"]
    ]
    return table(rows, heads)


def _told(server: dict[str, Any]) -> str:
    used, limits = server["used"], server["limits"]
    lines = (
        ("Id", server["id"] + (" (default)" if server["is_default"] else "")),
        ("Server", f"{server['host']}:{server['port']} by {server['email_type']}"),
        ("Sender", server["sender"]),
        ("Username", server["username"]),
        ("State", _state(server)),
        ("Alternatives", ", ".join(server["alternatives"]) or "none"),
        ("Messages", f"{used['messages_last_minute']} of {server['messages_a_minute_now']} in the last 60 seconds"),
        ("Recipients", f"{used['recipients_last_day']} of {limits['recipients_a_day']} in the last 24 hours"),
        ("Checked", moment(server["verified_at"])),
        ("Proved", moment(server["proved_at"])),
    )
    return "\n".join(f"{name:<12}  {value}" for name, value in lines)


def _state(server: dict[str, Any]) -> str:
    cause, until = server["stopped_for"], server["until"]
    state = str(server["state"]) + (f": {cause}" if cause else "")
    return state + (f" until {moment(until)}" if until else "")


def _secret_told(told: dict[str, Any]) -> str:
    lines = [f"Microsoft accepts it; it is used from now on, and expires on {told['ends_on']}."]
    if told["old_secret_kept_until"]:
        lines.append(f"The one before is kept until {moment(told['old_secret_kept_until'])}.")
    if told["needs_sign_in"]:
        lines.append("Microsoft wants somebody to sign in again: open Admin > Mail Server in the console.")
    return "\n".join(lines)
