"""Programs of others that judge us; `scripts/judges` installs them where it may."""

import shutil

import pytest


def needs(program: str) -> pytest.MarkDecorator:
    """Skip, saying what is missing, where the program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program} (apt-get install {program})")
