"""The content of a part, decoded while it streams by (RFC 2045 6). Pure."""

import binascii
from typing import Protocol

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
LINE_LIMIT_BYTES = 64 * 1024


class DecodingError(ValueError):
    """The content is not in the encoding that it names; the text is half a sentence."""


class PartDecoder(Protocol):
    """Takes a part's bytes in order and gives its content."""

    def feed(self, chunk: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class PlainDecoder:
    """7bit, 8bit and binary."""

    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


class Base64Decoder:
    """What is not of the alphabet is passed over (RFC 2045 6.8); what comes after the padding is an error."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_padded = False

    def feed(self, chunk: bytes) -> bytes:
        given = chunk.translate(None, _NOT_BASE64)
        digits, padding, beyond = given.partition(b"=")
        if (self._is_padded and digits) or beyond.strip(b"="):
            raise DecodingError("its base64 goes on after its end")
        self._is_padded = self._is_padded or bool(padding)
        digits = self._rest + digits
        end = len(digits) // 4 * 4
        self._rest = digits[end:]
        return binascii.a2b_base64(digits[:end])

    def end(self) -> bytes:
        if len(self._rest) == 1:
            raise DecodingError("its base64 is incomplete")
        return binascii.a2b_base64(self._rest + b"=" * (-len(self._rest) % 4))


class QuotedPrintableDecoder:
    """Line by line, so that no escape is cut in two."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        given = self._rest + chunk
        end = given.rfind(b"\n") + 1
        self._rest = given[end:]
        if len(self._rest) > LINE_LIMIT_BYTES:
            raise DecodingError("a line of its quoted-printable is too long")
        return binascii.a2b_qp(given[:end])

    def end(self) -> bytes:
        return binascii.a2b_qp(self._rest)


def make_decoder(encoding: str) -> PartDecoder:
    """By the name in Content-Transfer-Encoding. DecodingError for one that there is not."""
    match encoding.strip().lower():
        case "" | "7bit" | "8bit" | "binary":
            return PlainDecoder()
        case "base64":
            return Base64Decoder()
        case "quoted-printable":
            return QuotedPrintableDecoder()
    raise DecodingError(f"its encoding {encoding[:40]} is not known")
