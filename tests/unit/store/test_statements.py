from pathlib import Path

import postroom.store
from postroom.store.migrations import split_script
from postroom.store.statements import _named_parts, load_migrations, load_statements


def test_every_statement_is_used() -> None:
    folder = Path(postroom.store.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    names = load_statements()
    unused = [name for name in names if f'"{name}"' not in code and not name.startswith("delete_")]
    assert unused == []


def test_a_file_is_split_at_its_names() -> None:
    text = "-- What this file is for.\n\n-- name: one\n-- why\nSELECT 1\n\n-- name: two\nSELECT 2\n"
    assert list(_named_parts(text)) == [("one", "-- why\nSELECT 1"), ("two", "SELECT 2")]


def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))


def test_a_trigger_is_one_statement() -> None:
    script = "CREATE TABLE a (b); -- ; in a comment\nCREATE TRIGGER c AFTER INSERT ON a BEGIN\n  SELECT 1;\nEND;\n"
    assert [part.split()[1] for part in split_script(script)] == ["TABLE", "TRIGGER"]
