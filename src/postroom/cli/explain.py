"""`postroom explain`: what a reply, an error or a code means, and what to do."""

import sys
from collections.abc import Iterator

import click
import msgspec

from postroom.cli.explaining import COMMANDS, Explanation
from postroom.cli.explaining import explain as explain_text
from postroom.cli.running_server import readable
from postroom.remedies import PLACEHOLDERS, Remedy, fill, remedy

UNKNOWN = 1
_VALUES = sorted(PLACEHOLDERS)


@click.command()
@click.argument("words", nargs=-1)
@click.option("--command", type=click.Choice(COMMANDS, case_sensitive=False), help="The SMTP command it answered.")
@click.option("--with", "given", multiple=True, metavar="NAME=VALUE", help=f"Fill in: {', '.join(_VALUES)}.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def explain(words: tuple[str, ...], command: str | None, given: tuple[str, ...], is_json: bool) -> None:
    """Say what a reply, an AADSTS text, an error of Microsoft Graph or a code of ours means, and what to do.

    Without WORDS they are read from standard input. The exit code is 1 where nobody knows.
    """
    text = " ".join(words) or sys.stdin.read(100_000)
    if not text.strip():
        raise click.UsageError("Name what to explain, such as: postroom explain '535 5.7.139 …'")
    found = explain_text(text, command or "")
    values = dict(_read_value(it) for it in given)
    cures = [fill(remedy(remedy_id), values) for remedy_id in found.remedies]
    click.echo(_as_json(found, cures) if is_json else readable("\n".join(_lines(found, cures))))
    if not found.is_known:
        sys.exit(UNKNOWN)


def _read_value(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or name not in PLACEHOLDERS:
        raise click.UsageError(f"--with takes NAME=VALUE with one of these names: {', '.join(_VALUES)}.")
    return name, value


def _as_json(found: Explanation, cures: list[Remedy]) -> str:
    answer = {
        "known": found.is_known,
        "kind": found.kind,
        "meaning": found.meaning or None,
        "link": found.link or None,
        "remedies": cures,
    }
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def _lines(found: Explanation, cures: list[Remedy]) -> Iterator[str]:
    if found.meaning:
        yield found.meaning
    for number, cure in enumerate(cures):
        if number:
            yield "\nOr, in answer to another command:\n"
        yield from _remedy_lines(cure)
    if found.link:
        yield f"Microsoft's page    {found.link}"


def _remedy_lines(cure: Remedy) -> Iterator[str]:
    yield f"{cure.title}  [{cure.remedy_id}]"
    yield cure.meaning
    if cure.causes:
        yield "\nThe answer does not tell which of these it is; the likeliest stands first:"
        for cause in cure.causes:
            way = f" (sign-in: {cause.way})" if cause.way else ""
            yield f"  - {cause.title}{way}. What tells: {cause.tell}"
    yield "\nDo this:"
    for number, step in enumerate(cure.steps, start=1):
        yield f"  {number}. {step.text}"
        yield from (f"     {part}" for part in (step.command, step.link) if part)
    yield f"Who can do it       {cure.who}"
    if cure.link:
        yield f"Read more           {cure.link}"
