"""A machine with the programs `sendmail`, `mailq` and `newaliases`, and a folder that other users can reach."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
POSTROOM = Path(sys.executable).with_name("postroom")


@dataclass
class Machine:
    """A folder with the programs by their names, and what they need to find the server."""

    folder: Path

    @property
    def sendmail(self) -> Path:
        return self.folder / "bin" / "sendmail"

    @property
    def drop_folder(self) -> Path:
        return self.folder / "run" / "maildrop"

    def run_now(
        self, *command: str | Path, message: str = "", user: int | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(word) for word in command],
            input=message,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "POSTROOM_SENDMAIL_CONFIG": str(self.folder / "sendmail.toml"),
                **environment,
            },
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            timeout=30,
            check=False,
        )

    async def run(
        self, *command: str | Path, message: str = "", user: int | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """While the server goes on; `user` is a number."""
        return await asyncio.to_thread(self.run_now, *command, message=message, user=user, **environment)

    def command_of(self, user: int, name: str) -> list[str | Path]:
        """How another user calls the program `name`; skips the test where none of the Pythons lets them."""
        for python in (sys.executable, "/usr/bin/python3"):
            command: list[str | Path] = ["env", f"PYTHONPATH={SOURCE}", python, "-m", "postroom", name]
            if self.run_now(*command[:-1], "newaliases", user=user).returncode == 0:
                return command
        pytest.skip("other users cannot run a Python that is new enough")


@contextmanager
def a_machine() -> Iterator[Machine]:
    """In a folder of its own: pytest's cannot be reached by other users."""
    folder = Path(tempfile.mkdtemp(prefix="postroom-"))
    folder.chmod(0o755)
    (folder / "bin").mkdir()
    for name in ("sendmail", "mailq", "newaliases"):
        (folder / "bin" / name).symlink_to(POSTROOM)
    (folder / "sendmail.toml").write_text(
        f'socket = "{folder}/run/s"\ndrop_folder = "{folder}/run/maildrop"\n', encoding="utf-8"
    )
    try:
        yield Machine(folder)
    finally:
        shutil.rmtree(folder)
