"""Header values as people read them: encoded words decoded (RFC 2047), for display only, with bounded work."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_qp

DISPLAY_LIMIT_BYTES = 4_096

_WORD = re.compile(r"=\?([A-Za-z0-9_\-]+)(?:\*[^?\s]*)?\?([BbQq])\?([^?\s]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(?==\?)")
_CHARSET = re.compile(  # text only: Python's codecs named so also unpack archives
    r"us-ascii|utf-?8|utf-?16(?:be|le)?|iso-?8859-\d{1,2}|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|gb2312|gbk|gb18030|big5"
    r"|euc-(?:jp|kr)|shift_jis|iso-2022-jp",
    re.IGNORECASE,
)


def readable_text(value: bytes) -> str:
    """An unfolded value as text: never fails, never holds a control character."""
    raw = value[:DISPLAY_LIMIT_BYTES]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        # A letter cut at the limit is no reason to read UTF-8 as something else.
        text = raw.decode(errors="ignore") if len(value) > DISPLAY_LIMIT_BYTES else raw.decode("latin-1")
    text = _BETWEEN_WORDS.sub(r"\1", text)
    text = _WORD.sub(_decode_word, text)
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _decode_word(found: re.Match[str]) -> str:
    charset, encoding, text = found.groups()
    if not _CHARSET.fullmatch(charset):
        return found[0]
    try:
        raw = b64decode(text + "==") if encoding in "Bb" else a2b_qp(text, header=True)
        return raw.decode(charset, "replace")
    except (Base64Error, LookupError, ValueError):
        return found[0]
