"""Composes a message out of its fields, piece by piece, so that attachments of any size stream by (RFC 5322, 2045)."""

import re
import secrets
from binascii import b2a_base64, b2a_qp
from collections.abc import Callable, Iterable, Iterator

from postroom.accept.message_fields import Attachment, MessageFields, NamedAddress
from postroom.accept.phrases import encode_words, format_name, safe_name

PIECE_BYTES = 57 * 1024
"""About so much is composed at a time; as base64 whole lines of 76 letters."""

_LINE_WIDTH = 78
_LINE_BYTES = 57
_LONG_LINE = re.compile(r"[^\n]{900}")
_LINE_END = re.compile(r"\r\n|\r|\n")
_PLAIN_TEXT = re.compile(r"[ -~]*")

Part = Callable[[], Iterator[bytes]]


def compose_message(
    fields: MessageFields, make_boundary: Callable[[], str] = lambda: f"=_{secrets.token_hex(16)}"
) -> Iterator[bytes]:
    """The message with CRLF line ends, in pieces of about 64 KiB. The fields were checked.

    Message-ID and Date are the submission's to add.
    """
    yield _head(fields)
    yield b"MIME-Version: 1.0\r\n"
    yield from _Composer(make_boundary).body(fields)


def _head(fields: MessageFields) -> bytes:
    lines = [_address_field("From", (fields.sender,))]
    lines += [
        _address_field(name, people)
        for name, people in (("To", fields.to), ("Cc", fields.cc), ("Reply-To", fields.reply_to))
        if people
    ]
    if fields.subject:
        lines.append(fold_field("Subject", fields.subject))
    lines += [fold_field(name, value) for name, value in fields.headers]
    return "".join(lines).encode()


def _address_field(name: str, people: Iterable[NamedAddress]) -> str:
    return f"{name}: " + ",\r\n ".join(map(_format_person, people)) + "\r\n"


def _format_person(person: NamedAddress) -> str:
    name = format_name(safe_name(person.name, person.address)).replace("?= =?", "?=\r\n =?")
    return f"{name} <{person.address}>" if name else person.address


def fold_field(name: str, value: str) -> str:
    """An unstructured field with its line end, folded at blanks; encoded where it must be (RFC 2047)."""
    words = value.split(" ")
    is_plain = _PLAIN_TEXT.fullmatch(value) and value == value.strip() and "=?" not in value
    if not is_plain or max(map(len, words)) > 900:
        return f"{name}: " + encode_words(value).replace(" ", "\r\n ") + "\r\n"
    lines, line = [], f"{name}: {words[0]}"
    for word in words[1:]:
        if word and line.strip() and len(line) + 1 + len(word) > _LINE_WIDTH:
            lines.append(line)
            line = ""
        line += " " + word
    return "\r\n".join([*lines, line]) + "\r\n"


class _Composer:
    """The parts of one message, from the outside in."""

    def __init__(self, make_boundary: Callable[[], str]) -> None:
        self._make_boundary = make_boundary

    def body(self, fields: MessageFields) -> Iterator[bytes]:
        inline = tuple(file for file in fields.attachments if file.is_inline and fields.html)
        others = tuple(file for file in fields.attachments if file not in inline)
        parts: list[Part] = []
        if fields.text or not fields.html:
            parts.append(lambda: _text_part("plain", fields.text))
        if fields.html:
            parts.append(lambda: self._related(fields.html, inline))
        if not fields.text and not fields.html:
            parts = []
        content: list[Part] = [lambda: self._multipart("alternative", parts)] if len(parts) > 1 else parts
        files: list[Part] = [lambda file=file: _file_part(file) for file in others]  # type: ignore[misc]
        yield from self._multipart("mixed", [*content, *files]) if files else content[0]()

    def _related(self, html: str, inline: tuple[Attachment, ...]) -> Iterator[bytes]:
        """The page with the pictures that it shows (RFC 2387)."""
        if not inline:
            yield from _text_part("html", html)
            return
        files: list[Part] = [lambda file=file: _file_part(file) for file in inline]  # type: ignore[misc]
        yield from self._multipart("related", [lambda: _text_part("html", html), *files], '; type="text/html"')

    def _multipart(self, kind: str, parts: Iterable[Part], parameter: str = "") -> Iterator[bytes]:
        boundary = self._make_boundary()
        yield f'Content-Type: multipart/{kind}{parameter};\r\n boundary="{boundary}"\r\n\r\n'.encode()
        for part in parts:
            yield f"--{boundary}\r\n".encode()
            yield from part()
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()


def _text_part(kind: str, text: str) -> Iterator[bytes]:
    encoding = _choose_encoding(text)
    charset = "us-ascii" if encoding == "7bit" else "utf-8"
    yield (f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n").encode()
    pieces = _text_pieces(text)
    if encoding == "base64":
        yield from _base64_lines(pieces)
    elif encoding == "quoted-printable":
        yield from _quoted_printable(pieces)
    else:
        yield from pieces
    if not text.endswith(("\n", "\r")):
        yield b"\r\n"


def _choose_encoding(text: str) -> str:
    """What is shortest: as it is, with the few letters beyond ASCII written out, or all of it in base64."""
    if text.isascii() and not _LONG_LINE.search(text) and not re.search(r"[^\t\r\n -~]|[ \t](?:\r?\n|\Z)", text):
        return "7bit"
    content = text.encode()
    beyond = len(content.translate(None, bytes(range(128))))
    return "base64" if beyond * 6 > len(content) else "quoted-printable"


def _text_pieces(text: str) -> Iterator[bytes]:
    """With CRLF line ends; a piece never ends between CR and LF."""
    position = 0
    while position < len(text):
        end = position + PIECE_BYTES // 4
        if text[end - 1 : end + 1] == "\r\n":
            end += 1
        yield _LINE_END.sub("\r\n", text[position:end]).encode()
        position = end


def _quoted_printable(pieces: Iterable[bytes]) -> Iterator[bytes]:
    is_open = False
    for piece in pieces:
        if is_open:
            yield b"=\r\n"  # a soft line break: the line goes on
        encoded = b2a_qp(piece, istext=True)
        yield encoded if b"\n" in piece else encoded.replace(b"=\n", b"=\r\n")  # it takes its ends from the text's
        is_open = not piece.endswith(b"\n")


def _base64_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of 76 letters (RFC 2045 6.8), whatever the pieces' sizes."""
    held = b""
    for piece in pieces:
        held += piece
        whole = len(held) - len(held) % _LINE_BYTES
        for start in range(0, whole, PIECE_BYTES):
            yield _base64(held[start : min(start + PIECE_BYTES, whole)])
        held = held[whole:]
    if held:
        yield _base64(held)


def _base64(content: bytes) -> bytes:
    return b"".join(
        b2a_base64(content[at : at + _LINE_BYTES], newline=False) + b"\r\n"
        for at in range(0, len(content), _LINE_BYTES)
    )


def _file_part(file: Attachment) -> Iterator[bytes]:
    disposition = "inline" if file.is_inline else "attachment"
    lines = [
        f"Content-Type: {file.content_type}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: {disposition};\r\n {_file_name(file.filename)}",
    ]
    if file.content_id:
        lines.append(f"Content-ID: <{file.content_id}>")
    yield ("\r\n".join(lines) + "\r\n\r\n").encode()
    yield from _base64_lines(file.read())


def _file_name(name: str) -> str:
    """RFC 2231 4. beyond ASCII; a quoted string otherwise."""
    if name.isascii():
        return 'filename="' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "filename*=utf-8''" + "".join(_percent(byte) for byte in name.encode())


def _percent(byte: int) -> str:
    letter = chr(byte)
    return letter if letter.isascii() and (letter.isalnum() or letter in "._-") else f"%{byte:02X}"
