"""`postroom app`: apps and devices, their passwords and keys."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from postroom.cli.running_server import Answers, moment, quoted, speaks_to_server, table
from postroom.store.records import SCOPES


@click.group()
def app() -> None:
    """Apps and devices: who may hand in mail, and how each signs in."""


@app.command("add")
@click.argument("name")
@click.option("--kind", default="", help='Such as "Printer or scanner".')
@click.option("--owner", default="", help="Whom to ask about it.")
@click.option("--sender", "senders", multiple=True, help="May send from it; @example.com for a whole domain.")
@click.option("--sender-policy", type=click.Choice(["refuse", "rewrite", "keep"]), default="refuse", show_default=True)
@click.option("--recipient-domain", "recipient_domains", multiple=True, help="May send to it; none: to everybody.")
@click.option("--address", "addresses", multiple=True, help="Where it connects from, such as 10.2.3.14.")
@click.option("--no-sign-in", is_flag=True, help="Its address is enough, on the device listener.")
@click.option("--local-user", "local_users", multiple=True, help="A user of this machine whose sendmail it is.")
@click.option("--per-minute", type=click.IntRange(0), default=60, show_default=True, help="Messages; 0: no limit.")
@click.option("--per-day", type=click.IntRange(0), default=2000, show_default=True, help="Messages; 0: no limit.")
@click.option("--size-limit", type=click.IntRange(1024), help="Bytes of one message.")
@click.option("--fixes-lines", is_flag=True, help="Put bare line feeds and over-long lines right.")
@click.option("--allows-plain-text", is_flag=True, help="No TLS asked of its address (legacy).")
@click.option("--allows-old-tls", is_flag=True, help="TLS 1.0 and 1.1 for its address (legacy).")
@click.option("--allows-cram-md5", is_flag=True, help="CRAM-MD5 for its address (legacy).")
@click.option("--login", default="", help="A user name that it has built in; needs --password-file.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="The password that it has built in; - reads standard input.",
)
@click.option("--short-password", is_flag=True, help="16 letters in place of 24.")
@speaks_to_server
def add(
    answers: Answers,
    name: str,
    no_sign_in: bool,
    per_minute: int,
    per_day: int,
    size_limit: int | None,
    password_file: Path | None,
    **others: Any,
) -> None:
    """Make an app; its password is shown this once."""
    body = {key: list(value) if isinstance(value, tuple) else value for key, value in others.items()}
    body |= {
        "name": name,
        "needs_sign_in": not no_sign_in,
        "message_limit_a_minute": per_minute or None,
        "message_limit_a_day": per_day or None,
        "size_limit_bytes": size_limit,
    }
    if password_file is not None:
        with click.open_file(str(password_file), encoding="utf-8") as file:
            body["password"] = file.read().rstrip("\r\n")
    made = answers.ask("POST", "/apps", json=body)
    answers.show(made, lambda it: _sheet(answers.ask("GET", f"/apps/{it['app']['id']}/sheet"), it["password"]))


@app.command("list")
@speaks_to_server
def list_apps(answers: Answers) -> None:
    """List apps and devices."""
    found = answers.ask("GET", "/apps")
    answers.show(
        found,
        lambda it: table([_row(each) for each in it["data"]], ("NAME", "USER NAME", "STATE", "SENDERS", "LAST USED")),
    )


@app.command("sheet")
@click.argument("name")
@speaks_to_server
def sheet(answers: Answers, name: str) -> None:
    """Print what to enter into the device. NAME is a name, a user name or an id."""
    answers.show(answers.ask("GET", f"/apps/{quoted(name)}/sheet"), _sheet)


@app.command("rotate")
@click.argument("name")
@click.option("--short", is_flag=True, help="16 letters in place of 24.")
@speaks_to_server
def rotate(answers: Answers, name: str, short: bool) -> None:
    """Make a new password; the newest old one goes on working until it is removed or the next one comes."""
    made = answers.ask("POST", f"/apps/{quoted(name)}/credentials/rotate", params={"short": short})
    answers.show(made, lambda it: f"User name  {it['login']}\nPassword   {it['password']}  (shown this once)")


@app.command("disable")
@click.argument("name")
@speaks_to_server
def disable(answers: Answers, name: str) -> None:
    """Switch an app off: it can hand in nothing more."""
    answers.show(answers.ask("POST", f"/apps/{quoted(name)}/disable"), lambda it: f"{it['name']} is switched off.")


@app.command("enable")
@click.argument("name")
@speaks_to_server
def enable(answers: Answers, name: str) -> None:
    """Switch an app on again."""
    answers.show(answers.ask("POST", f"/apps/{quoted(name)}/enable"), lambda it: f"{it['name']} is switched on.")


@app.command("key")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), default=("send",), show_default=True)
@click.option("--label", default="", help="By which you know the key again.")
@speaks_to_server
def key(answers: Answers, name: str, scopes: Sequence[str], label: str) -> None:
    """Make a key for the HTTP API; it is shown this once."""
    made = answers.ask("POST", f"/apps/{quoted(name)}/keys", json={"scopes": list(scopes), "name": label})
    answers.show(made, lambda it: f"Key  {it['secret']}  (shown this once)")


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    used = moment(each["last_used_at"])
    state = "enabled" if each["enabled"] else "disabled"
    legacy = any(each[name] for name in ("allows_plain_text", "allows_old_tls", "allows_cram_md5"))
    return each["name"], each["login"], state + (", legacy" if legacy else ""), ", ".join(each["senders"]) or "-", used


def _sheet(found: dict[str, Any], password: str | None = None) -> str:
    lines = [("App", found["name"])]
    for listener in found["listeners"]:
        lines.append((listener["name"], f"{listener['host']}:{listener['port']}  {listener['encryption']}"))
    if not found["listeners"]:
        lines.append(("Server", "no listener for it is on; see device.enabled in docs/settings.md"))
    if found["needs_sign_in"]:
        lines.append(("User name", found["login"]))
        lines.append(("Password", f"{password}  (shown this once)" if password else "********"))
    else:
        lines.append(("Sign-in", f"none: its address is enough ({', '.join(found['addresses'])})"))
    lines.append(("Sender", ", ".join(found["senders"]) or "-"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)
