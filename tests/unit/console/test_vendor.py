"""What is vendored is what the registry gave us, and pages hold nothing that the content security policy forbids."""

import hashlib
import re
from pathlib import Path

import pytest

import postroom.console
from postroom.console.headers import CONTENT_SECURITY_POLICY

CONSOLE = Path(postroom.console.__file__).parent
VENDOR = CONSOLE / "static" / "vendor"
TEMPLATES = sorted((CONSOLE / "templates").rglob("*.html"))


def test_every_vendored_file_has_the_checksum_that_is_written_down() -> None:
    listed = dict(re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.MULTILINE))
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.suffix in (".js", ".css")
    }
    assert found == listed
    assert len(found) == 3


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert "script-src 'self'" in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_what_the_policy_forbids(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|hx-on|javascript:|\bjs:", text)
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
    assert re.findall(r"""(?:src|<link[^>]*href)=["']https?:""", text) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_form_that_posts_carries_its_token(path: Path) -> None:
    for form in re.findall(r"<form method=\"post\".*?</form>", path.read_text(), re.DOTALL):
        assert "token()" in form or 'name="csrf_token"' in form, form
