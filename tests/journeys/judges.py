"""Programs of others that judge us; `scripts/judges` installs them where it may."""

import shutil
from pathlib import Path

import pytest


def needs(program: str, package: str = "") -> pytest.MarkDecorator:
    """Skip, saying what is missing, where the program (or the file, by its whole path) is not installed."""
    is_there = Path(program).exists() if program.startswith("/") else shutil.which(program) is not None
    reason = f"needs {program} (apt-get install {package or program})"
    return pytest.mark.skipif(not is_there, reason=reason)
