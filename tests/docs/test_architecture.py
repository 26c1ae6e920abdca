"""ARCHITECTURE.md names the test that holds each invariant: they exist, and the page stays short."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 15
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert missing == []


def test_every_room_is_on_the_map() -> None:
    rooms = {path.name for path in (ROOT / "src/postroom").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"{room}/" not in PAGE} == set()


def test_it_is_one_page_to_read() -> None:
    assert len(PAGE.splitlines()) <= 200
