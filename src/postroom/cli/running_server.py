"""Speaks to a running server: this machine's by the socket in its data folder, another by its address and a key."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click
import httpx2
import msgspec

from postroom.api.administrator_socket import NAME, short_path
from postroom.errors import PostroomError
from postroom.settings import load_settings

TIMEOUT_SECONDS = 60.0
UNAVAILABLE, TRY_AGAIN, NOT_ALLOWED = 69, 75, 77
"""Exit codes of sysexits.h; 1 is any other failure, 2 a wrong command line."""

F = TypeVar("F", bound=Callable[..., Any])


class CommandFailed(click.ClickException):
    """One sentence with the code and the next step, on standard error."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self._exit_code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return self._exit_code


class Answers:
    """Asks, prints, and fails in one way for all commands."""

    def __init__(self, client: httpx2.Client, is_json: bool, is_quiet: bool) -> None:
        self._client = client
        self.is_json = is_json
        self.is_quiet = is_quiet

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """The decoded answer, None when there is none; CommandFailed."""
        response = self._send(method, path, **request)
        return msgspec.json.decode(response.content) if response.content else None

    def stream(self, path: str) -> Iterator[bytes]:
        """The answer's bytes as they come; CommandFailed."""
        with self._reaching(), self._client.stream("GET", f"/api/v1{path}") as response:
            if response.is_error:
                response.read()
                raise _failed(response)
            yield from response.iter_bytes()

    def show(self, answer: Any, text: Callable[[Any], str]) -> None:
        """As JSON, as people read it, or not at all."""
        if self.is_json:
            click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
        elif not self.is_quiet:
            click.echo(readable(text(answer)))

    def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        with self._reaching():
            response = self._client.request(method, f"/api/v1{path}", **request)
        if response.is_error:
            raise _failed(response)
        return response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException:
            raise CommandFailed("The server does not answer. Try again, and look into its log.", TRY_AGAIN) from None
        except httpx2.TransportError as trouble:
            raise CommandFailed(
                f"The server cannot be reached: {trouble}. Is it running? Start it with: postroom serve", UNAVAILABLE
            ) from None


def speaks_to_server(command: F) -> F:
    """The options of every command that does; it gets an `answers`."""

    @click.option("--json", "is_json", is_flag=True, help="Print JSON.")
    @click.option("--quiet", "-q", "is_quiet", is_flag=True, help="Print nothing but errors.")
    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="POSTROOM_CONFIG",
        default="postroom.toml",
        show_default=True,
        help="The settings file of the server on this machine.",
    )
    @click.option("--url", default="", help="Another server, such as https://mail.example.lan.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="The file with a key for --url; a key never stands on the command line.",
    )
    def run(is_json: bool, is_quiet: bool, config: Path, url: str, token_file: Path | None, **arguments: Any) -> None:
        with _connect(config, url, token_file) as client:
            command(Answers(client, is_json, is_quiet), **arguments)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run  # type: ignore[return-value]


@contextmanager
def _connect(config: Path, url: str, token_file: Path | None) -> Iterator[httpx2.Client]:
    if url:
        if token_file is None:
            raise CommandFailed("--url needs --token-file: a file with a key of that server.", 2)
        headers = {"authorization": f"Bearer {token_file.read_text(encoding='utf-8').strip()}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS) as client:
            yield client
        return
    try:
        settings = load_settings(config if config.exists() else None, os.environ)
    except PostroomError as trouble:
        raise CommandFailed(str(trouble), 78) from None
    folder = settings.data_path
    if not (folder / NAME).exists():
        raise CommandFailed(
            f"No server runs on {folder}. Start it with: postroom serve --config {config}; or name another by --url.",
            UNAVAILABLE,
        )
    try:
        with short_path(folder) as path:
            transport = httpx2.HTTPTransport(uds=path)
            with httpx2.Client(transport=transport, base_url="http://postroom", timeout=TIMEOUT_SECONDS) as client:
                yield client
    except OSError as trouble:
        raise CommandFailed(f"The data folder {folder} cannot be read: {trouble.strerror}.", NOT_ALLOWED) from None


def _failed(response: httpx2.Response) -> CommandFailed:
    try:
        problem = msgspec.json.decode(response.content)
        text = f"{problem['detail']} [{problem['code']}] {problem['remedy']}"
        is_retryable = bool(problem["retryable"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text, is_retryable = f"The server answered {response.status_code}, and not as Postroom does.", False
    if response.status_code in (401, 403):
        return CommandFailed(text, NOT_ALLOWED)
    return CommandFailed(text, TRY_AGAIN if is_retryable else 1)


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Columns for people; on a terminal no wider than it is."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [_padded(row, widths) for row in [header, *rows]]
    if sys.stdout.isatty():
        width = os.get_terminal_size().columns
        lines = [line if len(line) <= width else line[: width - 1] + "…" for line in lines]
    return "\n".join(lines)


def _padded(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def readable(text: str) -> str:
    """Lines for a terminal: what strangers wrote into a subject must not move its cursor."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def quoted(name: str) -> str:
    """As a part of a path."""
    return quote(name, safe="")


def moment(text: str | None) -> str:
    """A time as a list shows it, in UTC."""
    return text[:19].replace("T", " ") if text else "-"
