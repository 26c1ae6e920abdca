#!/usr/bin/env python3
"""Write the pages of docs/ that are made from the code; a test holds them equal."""

from pathlib import Path

from postroom.message import CRASH_COLUMN, TRANSITIONS
from postroom.settings import setting_keys
from postroom.simulator.faults import FAULTS, STAGES

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


PAGES = {"settings.md": settings_page, "states.md": states_page, "fault-addresses.md": fault_addresses_page}


def main() -> None:
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
