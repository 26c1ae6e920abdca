"""The machine's sendmail.toml."""

import os
from pathlib import Path

import pytest

from postroom.cli.sendmail_config import CONFIG_VARIABLE, Config, read_config
from postroom.cli.sendmail_ending import SendmailError


def read(folder: Path, text: str) -> Config:
    (folder / "sendmail.toml").write_text(text)
    return read_config({CONFIG_VARIABLE: str(folder / "sendmail.toml")})


def test_keys_that_are_not_written_have_their_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, 'host = "mail.example"\nport = 25') == Config(host="mail.example", port=25)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("hots = 'mail.example'", "hots is not known"),
        ("port = '25'", "port must be a number"),
        ("port = true", "port must be a number"),
        ("host = 3", "host must be text"),
        ("tls = 'ssl'", "tls may be starttls, implicit, none"),
        ("host = 'x'\nuser = 'a'\ntls = 'none'", "not sent without TLS"),
        ("host =", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(SendmailError) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == os.EX_CONFIG
    assert part in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SendmailError, match="No such file") as caught:
        read_config({CONFIG_VARIABLE: str(tmp_path / "none.toml")})
    assert caught.value.exit_code == os.EX_CONFIG
