"""What a client says to sign in: XOAUTH2 (Microsoft and Google), LOGIN, PLAIN (RFC 4616); all base64 (RFC 4954)."""

import base64
import binascii


def encode_xoauth2(user: str, token: str) -> str:
    """The initial response of XOAUTH2, in one unbroken line however long the token is. ValueError."""
    _forbid("\x01\r\n\0", user=user, token=token)
    return _encode(f"user={user}\x01auth=Bearer {token}\x01\x01")


def encode_plain(user: str, password: str) -> str:
    """The initial response of PLAIN, acting as oneself. ValueError."""
    _forbid("\0", user=user, password=password)
    return _encode(f"\0{user}\0{password}")


def encode_login(answer: str) -> str:
    """The answer to one prompt of LOGIN: the user name, then the password."""
    return _encode(answer)


def decode_challenge(text: str) -> str | None:
    """The text of a 334, such as the JSON with which Google explains a refusal; None when it is not base64."""
    try:
        return base64.b64decode(text.strip(), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return None


def _encode(clear: str) -> str:
    return base64.b64encode(clear.encode()).decode("ascii")


def _forbid(signs: str, **fields: str) -> None:
    for name, value in fields.items():
        if any(sign in value for sign in signs):
            raise ValueError(f"The {name} contains a control character and cannot be used to sign in.")
