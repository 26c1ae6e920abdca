"""The `sendmail` command, called in this process with a folder of its own."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from postroom.cli.sendmail import main
from postroom.cli.sendmail_config import CONFIG_VARIABLE


class Ended(NamedTuple):
    exit_code: int
    output: str
    complaint: str


RunSendmail = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the socket `s` and the drop folder `drop`; neither is there yet."""
    config = tmp_path / "sendmail.toml"
    config.write_text(f'socket = "{tmp_path}/s"\ndrop_folder = "{tmp_path}/drop"\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_sendmail(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunSendmail:
    """`run(words, message, name="sendmail")`."""

    def run(words: str, message: bytes = b"Subject: a\n\nb\n", name: str = "sendmail") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(message)))
        exit_code = main(name, words.split())
        return Ended(exit_code, *capsys.readouterr())

    return run
