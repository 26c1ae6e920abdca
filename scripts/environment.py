#!/usr/bin/env python3
"""Make `.venv` from the lock: `environment.py run` for Postroom itself, `environment.py dev` for its tests as well.

Needs Python 3.11 or later and nothing else: no pip, no ensurepip (Debian ships Python without it), no compiler.
pip itself is fetched from the package index that this machine's pip settings name, checked against its pinned hash,
and run from its wheel.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html.parser
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "made-from"
PIP_WHEEL = "pip-26.2-py3-none-any.whl"
PIP_SHA256 = "931c303696af6fa3417112103b1cad26890e5a07eccb5b99783700e33f2b8aad"
DEFAULT_INDEX = "https://pypi.org/simple"


class SetUpError(Exception):
    """The environment cannot be made; the text says why and what to do."""


class LinkReader(html.parser.HTMLParser):
    """Collects the links of an index page (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def pip_setting(name: str) -> str | None:
    """A setting of pip as pip would read it: the environment, then its files, the user's last word first."""
    if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
        return value
    home = Path.home()
    files: list[str | Path] = [
        os.environ.get("PIP_CONFIG_FILE", ""),
        home / ".config/pip/pip.conf",
        home / ".pip/pip.conf",
        "/etc/pip.conf",
        "/etc/xdg/pip/pip.conf",
    ]
    for file in (file for file in files if file):
        settings = configparser.RawConfigParser()
        try:
            settings.read(file)
        except configparser.Error:
            continue
        for section in ("install", "global"):
            if value := settings.get(section, name, fallback=None):
                return value.strip()
    return None


def fetch(url: str) -> bytes:
    """The bytes at `url`; user name and password may stand in it, as pip allows."""
    parts = urllib.parse.urlsplit(url)
    request = urllib.request.Request(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    context = ssl.create_default_context(cafile=pip_setting("cert"))
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if proxy := pip_setting("proxy"):
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    with urllib.request.build_opener(*handlers).open(request, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def fetch_pip(folder: Path) -> Path:
    """The pinned pip as a wheel, from the configured index."""
    wheel = folder / PIP_WHEEL
    if not wheel.exists():
        page = (pip_setting("index-url") or DEFAULT_INDEX).rstrip("/") + "/pip/"
        try:
            reader = LinkReader()
            reader.feed(fetch(page).decode())
            link = next((link for link in reader.links if PIP_WHEEL in urllib.parse.unquote(link)), None)
            if link is None:
                raise SetUpError(f"The package index has no {PIP_WHEEL} ({page}). Point PIP_INDEX_URL at one that has.")
            content = fetch(urllib.parse.urljoin(page, link))
        except urllib.error.URLError as trouble:
            raise SetUpError(
                f"The package index does not answer: {page}: {trouble.reason}. "
                "Check the network, or set PIP_INDEX_URL (and PIP_CERT, PIP_PROXY)."
            ) from trouble
        if hashlib.sha256(content).hexdigest() != PIP_SHA256:
            raise SetUpError(f"{PIP_WHEEL} from {page} has the wrong hash and was not used.")
        wheel.write_bytes(content)
    return wheel


def fingerprint(lock: Path) -> str:
    parts = [str(ROOT), lock.name, lock.read_text(), (ROOT / "pyproject.toml").read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def install(python: Path, wheel: Path, *arguments: str) -> None:
    pip = [str(python), f"{wheel}/pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"]
    if subprocess.run([*pip, *arguments], check=False).returncode != 0:
        raise SetUpError("The packages of the lock could not be installed; pip's words stand above.")


def is_usable(python: Path) -> bool:
    """Whether its own interpreter still runs: another `python3` on the path is no reason to start anew."""
    probe = "import ssl, sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([python, "-c", probe], check=False, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def make_environment(kind: str) -> None:
    lock = ROOT / "requirements" / f"{kind}.txt"
    python = ENVIRONMENT / "bin" / "python"
    made_from = fingerprint(lock)
    has_environment = is_usable(python)
    if has_environment and STAMP.exists() and made_from in STAMP.read_text().split():
        return
    print(f"Setting up {ENVIRONMENT} from {lock.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    if not has_environment:
        venv.create(ENVIRONMENT, with_pip=False, symlinks=True, clear=True)
    wheel = fetch_pip(ENVIRONMENT)
    install(python, wheel, "--require-hashes", "--only-binary", ":all:", "-r", str(lock))
    install(python, wheel, "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))
    # The tests' lock holds all that Postroom runs on, so what is made for them serves both.
    stamps = [made_from] + ([fingerprint(ROOT / "requirements" / "run.txt")] if kind == "dev" else [])
    STAMP.write_text("\n".join(stamps) + "\n")


def main() -> int:
    if sys.version_info < (3, 11):
        print(f"Postroom needs Python 3.11 or later; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    if sys.argv[1:] not in (["run"], ["dev"]):
        print("usage: environment.py run|dev", file=sys.stderr)
        return 2
    try:
        make_environment(sys.argv[1])
    except SetUpError as trouble:
        print(trouble, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
