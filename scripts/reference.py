#!/usr/bin/env python3
"""Write the pages of docs/ that are made from the code; a test holds them equal."""

import tomllib
from pathlib import Path
from typing import Any

from postroom.api.error_codes import error_codes
from postroom.api.openapi import make_document
from postroom.api.routes import BASE, ROUTES, Route
from postroom.message import CRASH_COLUMN, TRANSITIONS
from postroom.metrics import COUNTED_METRICS, READ_METRICS, Declared
from postroom.remedies import remedy
from postroom.settings import setting_keys
from postroom.simulator.aadsts import read_problems
from postroom.simulator.faults import FAULTS, STAGES
from postroom.simulator.organisation_settings import READINGS
from postroom.simulator.scenarios import WAYS, Scenario, read_scenarios

DOCS = Path(__file__).resolve().parent.parent / "docs"
STAMP = "<!-- Made by scripts/reference.py; change the code, not this page. -->\n"


def settings_page() -> str:
    parts = [
        "# Settings\n",
        STAMP,
        "What is needed to start. `postroom init` writes this file; the environment lies over it. Everything else is\n"
        "set in the console and kept in the database.\n",
    ]
    for key in setting_keys():
        name = f"{key.section}.{key.name}" if key.section else key.name
        default = f"`{key.default!r}`" if key.default != "" else "empty"
        parts.append(f"## {name}\n\n{key.description}\n\nDefault: {default}. Environment: `{key.variable}`.\n")
    return "\n".join(parts)


def states_page() -> str:
    lines = [
        "# The states of a recipient\n",
        STAMP,
        "| State | May become | If the machine stops here |",
        "|---|---|---|",
    ]
    for state, following in TRANSITIONS.items():
        names = ", ".join(f"`{name}`" for name in sorted(following)) or "nothing: final"
        lines.append(f"| `{state}` | {names} | {CRASH_COLUMN[state]} |")
    return "\n".join(lines) + "\n"


def fault_addresses_page() -> str:
    parts = [
        "# Fault addresses\n",
        STAMP,
        "In the simulated Microsoft 365 the address decides what happens; the domain does not matter. What follows a\n"
        "plus sign is ignored: `451+tuesday@` is `451@`. With `-once` behind the name, as in `451-once@`, the fault\n"
        "strikes the first time a message is seen, by its Message-ID, and the next try is accepted.\n\n"
        "Beside each reply stands where it is known from: A read in a document of Microsoft's, B seen on the wire or\n"
        "restated, C not confirmed.\n",
    ]
    for stage, (title, explanation) in STAGES.items():
        parts += [
            f"## {title}\n",
            f"{explanation}\n",
            "| Address | What happens | The server says | Known |",
            "|---|---|---|---|",
        ]
        for fault in FAULTS:
            if fault.stage == stage:
                said = f"`{fault.reply}`" if fault.reply else "–"
                parts.append(
                    f"| `{fault.address}` | {fault.meaning} | {said} | {fault.confidence if fault.reply else '–'} |"
                )
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def scenarios_page() -> str:
    known = read_scenarios()
    parts = [
        "# Scenarios\n",
        STAMP,
        "Named states of the simulated tenant, one click each under *Scenarios*. `postroom simulate` and a rehearsal\n"
        "have them alike; a test hears each of them over the wire.\n\n"
        "A program knows two things: the reply, and what its access token says. Scenarios in which both are equal\n"
        "look alike, and no program can tell them apart; *What tells* says who could. Host, time and ids are masked.\n"
        "Beside each reply stands where it is known from: A read in a document of Microsoft's, B seen on the wire or\n"
        "restated, C not confirmed.\n",
    ]
    for way, meaning in WAYS.items():
        parts.append(f"## {meaning}\n")
        for name, scenario in known.items():
            if scenario.way == way:
                parts.append(_describe_scenario(name, scenario, known))
    return "\n".join(parts).rstrip() + "\n"


def _describe_scenario(name: str, scenario: Scenario, known: dict[str, Scenario]) -> str:
    alike = [f"[{known[other].title}](#{other})" for other in scenario.looks_alike] + list(scenario.also)
    lines = [
        f'### <a id="{name}"></a>{scenario.title}\n',
        f"{scenario.meaning}\n",
        f"* Shows at: {scenario.shows_at}",
        f"* Reply: `{scenario.reply}` ({scenario.confidence})",
        f"* The access token says: {scenario.granted or 'there is none'}",
        f"* Cannot be told from: {'; '.join(alike) or 'nothing known'}",
        f"* What tells: {scenario.told_by}",
        f"* The way out: {' > '.join(scenario.remedy)}",
    ]
    if scenario.command:
        lines.append(f"* Or: `{scenario.command}`")
    return "\n".join(lines) + "\n"


def unconfirmed_page() -> str:
    problems = {code: problem for code, problem in read_problems().items() if problem.confidence == "C"}
    parts = [
        "# What is unconfirmed in the simulator\n",
        STAMP,
        "Nobody has shown these on a real tenant. The simulator's pages mark them *unconfirmed*; where there are two\n"
        "readings, *Simulator > Unconfirmed* chooses. The words `error`, `suberror` and the HTTP status beside most\n"
        "AADSTS numbers are unconfirmed too.\n",
        "## Readings\n",
        *(f"* {meaning}." for meaning in READINGS.values()),
        "\n## Fault addresses\n",
        *(f"* `{fault.address}` {fault.reply or fault.meaning}" for fault in FAULTS if fault.confidence == "C"),
        "\n## Scenarios\n",
        *(
            f"* [{scenario.title}](scenarios.md#{name})"
            for name, scenario in read_scenarios().items()
            if scenario.confidence == "C"
        ),
        "\n## AADSTS numbers\n",
        *(f"* AADSTS{code}: {problem.text}" for code, problem in problems.items()),
    ]
    return "\n".join(parts) + "\n"


def api_page() -> str:
    document = make_document()
    parts = [
        "# The HTTP API\n",
        STAMP,
        "A running Postroom shows the same at `/api/docs`, and has the OpenAPI document at `/api/openapi.json`.\n"
        "How to begin: [sending-over-http.md](sending-over-http.md).\n",
    ]
    for group in dict.fromkeys(route.group for route in ROUTES):
        parts += [f"## {group}\n", "| Route | What it does | Scope |", "|---|---|---|"]
        parts += [
            f"| `{route.method} {BASE}{route.path}` | {route.summary} | `{route.scope}` |"
            for route in ROUTES
            if route.group == group
        ]
        parts.append("")
        parts += [_describe_route(route, document) for route in ROUTES if route.group == group and route.parameters]
    parts += [
        "## Errors\n",
        "Every error has the same body: [Problem](#problem). It is `application/json`, and `application/problem+json`\n"
        "for who asks for that.\n",
        "| Status | Code | Meaning |",
        "|---|---|---|",
        *(f"| {it.status} | `{it.code}` | {it.meaning} |" for it in error_codes()),
        "\n## Structures\n",
    ]
    parts += [_describe_structure(name, it) for name, it in sorted(document["components"]["schemas"].items())]
    return "\n".join(parts).rstrip() + "\n"


def _describe_route(route: Route, document: dict[str, Any]) -> str:
    operation = document["paths"][BASE + route.path][route.method.lower()]
    lines = [f"`{route.method} {BASE}{route.path}` takes in its address:\n"]
    for parameter in operation["parameters"]:
        if parameter["in"] != "path":
            where = "the header " if parameter["in"] == "header" else ""
            lines.append(f"* {where}`{parameter['name']}`: {parameter['description']}")
    return "\n".join(lines) + "\n"


def _describe_structure(name: str, schema: dict[str, Any]) -> str:
    lines = [f'### <a id="{name.lower()}"></a>{name}\n']
    if schema.get("description"):
        lines.append(schema["description"].strip() + "\n")
    if "enum" in schema:
        lines.append("One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".\n")
    if schema.get("properties"):
        lines += ["| Field | Kind | Meaning |", "|---|---|---|"]
        needed = set(schema.get("required", ()))
        for field, it in schema["properties"].items():
            mark = ", needed" if field in needed and not name.endswith(("Line", "Message", "Page")) else ""
            lines.append(f"| `{field}` | {_describe_kind(it)}{mark} | {it.get('description', '')} |")
        lines.append("")
    return "\n".join(lines)


def _describe_kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_describe_kind, schema["anyOf"])))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items")
        return f"list of {_describe_kind(items)}" if isinstance(items, dict) and items else "list"
    kind = str(schema.get("format") or schema.get("type") or "anything")
    most = schema.get("maxLength") or schema.get("maximum")
    return kind + (f", at most {most}" if most else "")


def metrics_page() -> str:
    parts = [
        "# Metrics\n",
        STAMP,
        "How to read them, and what is worth an alert: [monitoring.md](monitoring.md).\n",
        "## Read at each scrape\n",
        *map(_describe_metric, READ_METRICS),
        "## Counted by this process since it started\n",
        *map(_describe_metric, COUNTED_METRICS),
        "Besides, `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and their like.\n",
    ]
    return "\n".join(parts)


def _describe_metric(metric: Declared) -> str:
    told = f" Labels: {', '.join(f'`{label}`' for label in metric.labels)}." if metric.labels else ""
    return f"### {metric.full_name}\n\n{metric.kind.capitalize()}. {metric.help_text}{told}\n"


SAYINGS = (
    (
        "stopped",
        "The mail server stops, and mail waits",
        "No mail is failed for it. *Until* is what a page says after *waiting for*.",
    ),
    (
        "try_later",
        "The message is tried again",
        "By itself, later each time; where it was told to slow down, the mailbox slows down.",
    ),
    (
        "refused",
        "The message fails",
        "For the recipients about whom it was said, with the mail server's words and what to do.",
    ),
)
WORDS_FOR = {
    "{mailbox}": "the mailbox",
    "{host}": "the mail server",
    "{username}": "the user name",
    "{sender}": "the sender",
}


def replies_page() -> str:
    parts = [
        "# What mail servers answer\n",
        STAMP,
        "Each answer that is known, and what becomes of the mail. It is told by reply code, enhanced code and words;\n"
        "one that is not here is judged by its class: what begins with 4 is tried again, what begins with 5 fails the\n"
        "message, or stops the mail server where nothing was said about a message yet (at sign-in). Beside each is\n"
        "where it is known from: A read in a document of the vendor's, B met by people, C not confirmed.\n",
    ]
    entries = [entry for name in ("replies", "providers") for entry in _entries_of(name)]
    for outcome, title, explanation in SAYINGS:
        parts += [f"## {title}\n", f"{explanation}\n"]
        parts += ["| To | The mail server says | Code | What it means | Known |", "|---|---|---|---|---|"]
        parts += [_reply_line(entry) for entry in entries if entry["outcome"] == outcome]
        parts.append("")
    return "\n".join(parts)


def _entries_of(name: str) -> list[dict[str, Any]]:
    path = DOCS.parent / "tests" / "reference" / f"{name}.toml"
    found: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["reply"]
    return found


def _reply_line(entry: dict[str, Any]) -> str:
    said = " ".join(entry["reply"].split()).replace("|", "\\|").replace("`", "'")
    meaning = remedy(entry["remedy"]).title
    for placeholder, word in WORDS_FOR.items():
        meaning = meaning.replace(placeholder, word)
    until = f"; until: {entry['cause']}" if "cause" in entry else ""
    return f"| {entry['command']} | `{said}` | `{entry['code']}` | {meaning}{until} | {entry['confidence']} |"


PAGES = {
    "replies.md": replies_page,
    "metrics.md": metrics_page,
    "api.md": api_page,
    "settings.md": settings_page,
    "states.md": states_page,
    "fault-addresses.md": fault_addresses_page,
    "scenarios.md": scenarios_page,
    "unconfirmed.md": unconfirmed_page,
}


def main() -> None:
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
