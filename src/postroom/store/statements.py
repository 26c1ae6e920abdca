"""Named SQL, read from the files in sql/."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

_NAME = "-- name:"


class Migration(NamedTuple):
    number: int
    name: str
    text: str


def load_statements() -> Mapping[str, str]:
    """Every statement below a line `-- name: its_name`, by that name. A name stands once in all files."""
    statements: dict[str, str] = {}
    for file in _sql_files():
        if not file.name[0].isdigit():
            for name, text in _named_parts(file.read_text(encoding="utf-8")):
                if name in statements:
                    raise ValueError(f"{file.name}: the statement {name} exists already")
                statements[name] = text
    return statements


def load_migrations() -> list[Migration]:
    """The numbered files in order: 0001_first.sql is migration 1."""
    found = []
    for file in _sql_files():
        if file.name[0].isdigit():
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return sorted(found)


def _sql_files() -> list[Traversable]:
    folder = files("postroom.store") / "sql"
    return sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)


def _named_parts(text: str) -> Iterator[tuple[str, str]]:
    for part in ("\n" + text).split("\n" + _NAME)[1:]:
        name, _, statement = part.partition("\n")
        yield name.strip(), statement.strip()
