"""Takes a message apart for a reader: whatever it holds, with bounded work, and without failing on it."""

import re
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from email.policy import compat32

from postroom.accept.readable import readable_text
from postroom.api.message_shapes import MessageContent, MessagePart
from postroom.wire.head import HeadError, find_head_end, read_head

PART_LIMIT = 500
_CHARSET = re.compile(  # text only: Python's codecs named so also unpack archives, or take minutes
    r"us-ascii|utf-?8|utf-?16(?:be|le)?|iso-?8859-\d{1,2}|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|gb2312|gbk|gb18030|big5"
    r"|euc-(?:jp|kr)|shift_jis|iso-2022-jp",
    re.IGNORECASE,
)


def take_apart(content: bytes) -> MessageContent:
    """The header, the first text of each kind, and a list of everything else."""
    texts: dict[str, str] = {}
    files = []
    for part in _parts(content):
        kind = _asked(part.get_content_type, "application/octet-stream")
        payload = _bytes_of(part)
        filename = readable_text(_asked(part.get_filename).encode("utf-8", "surrogateescape"))
        is_file = bool(filename) or _asked(part.get_content_disposition) == "attachment"
        if kind in ("text/plain", "text/html") and not is_file and kind not in texts:
            texts[kind] = _text_of(part, payload)
        else:
            files.append(MessagePart(filename, kind, len(payload)))
    return MessageContent(
        headers=_headers(content), text=texts.get("text/plain", ""), html=texts.get("text/html", ""), attachments=files
    )


def _headers(content: bytes) -> list[tuple[str, str]]:
    end = find_head_end(content)
    try:
        head = read_head(content if end is None else content[:end])
    except HeadError:
        return []
    named = [(head.content[it.start : it.end].partition(b":")[0].strip(), head.value(it)) for it in head.fields]
    return [(readable_text(name), readable_text(value)) for name, value in named]


def _parts(content: bytes) -> list[Message]:
    """Those that hold something, in order; none of a message that is nested or written beyond all reason."""
    try:
        waiting = [message_from_bytes(content, policy=compat32)]
    except Exception:  # RecursionError, and what the library stumbles over
        return []
    found: list[Message] = []
    while waiting and len(found) < PART_LIMIT:
        part = waiting.pop(0)
        if part.is_multipart() and _asked(part.get_content_maintype) == "multipart":
            waiting[:0] = [each for each in part.get_payload() if isinstance(each, Message)]
        else:
            found.append(part)
    return found


def _bytes_of(part: Message) -> bytes:
    """A message within the message counts as a file of its own size."""
    try:
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            return payload
        return b"".join(each.as_bytes() for each in part.get_payload() if isinstance(each, Message))
    except Exception:  # what mail holds is a stranger's to choose, and the library's to stumble over
        return b""


def _asked(ask: Callable[[], object], otherwise: str = "") -> str:
    """What the library says of a part, unless it stumbles over what stands there."""
    try:
        return str(ask() or otherwise)
    except Exception:
        return otherwise


def _text_of(part: Message, payload: bytes) -> str:
    charset = _asked(part.get_content_charset)
    if charset and _CHARSET.fullmatch(charset):
        try:
            return payload.decode(charset, "replace")
        except (LookupError, ValueError):
            pass  # a number that no charset has
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")
