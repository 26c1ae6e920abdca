"""xtext: how DSN parameters write what has a meaning in a command line (RFC 3461 4., RFC 6533 3.)."""

import re

# What is written as a number is printable, too: RFC 3461 4.2 and 4.4 ask for it, since notifications repeat it.
_HEX = r"\+(?:[2-6][0-9A-F]|7[0-9A-E])"
_XTEXT = re.compile(rf"(?:[!-*,-<>-~]|{_HEX})+")
_UTF8_XTEXT = re.compile(rf"(?:[!-*,-<>-~\u00a1-\U0010ffff]|{_HEX})+")
_HEX_SIGN = re.compile(r"\+[0-9A-F]{2}")


def is_xtext(text: str) -> bool:
    """Whether this is xtext of printable ASCII, and not empty."""
    return _XTEXT.fullmatch(text) is not None


def is_utf8_xtext(text: str) -> bool:
    """Whether this is xtext in which letters beyond ASCII stand for themselves; only such as can be seen."""
    return _UTF8_XTEXT.fullmatch(text) is not None and text.isprintable()


def decoded_length(text: str) -> int:
    """How many characters the xtext stands for."""
    return len(_HEX_SIGN.sub("?", text))


def embed_unicode(text: str) -> str:
    r"""The same in ASCII, for a mail server without SMTPUTF8: ö becomes \x{F6} (RFC 6533 3.)."""
    return "".join(letter if letter.isascii() else f"\\x{{{ord(letter):X}}}" for letter in text)
