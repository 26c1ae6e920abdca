#!/usr/bin/env python3
"""Write the pages of docs/ that are made from the code: settings and states. A test holds them equal."""

from pathlib import Path

from postroom.message import CRASH_COLUMN, TRANSITIONS
from postroom.settings import setting_keys

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


PAGES = {"settings.md": settings_page, "states.md": states_page}


def main() -> None:
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
