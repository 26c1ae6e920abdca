"""A service that repeats what it was told gives no secret away, however it writes it."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from postroom.identity.redaction import HIDDEN, hide_secrets

SECRET = 'Pq8~"s3cr?t/+ä value.Zz\\9'

WRITINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "in JSON": lambda secret: json.dumps(secret)[1:-1],
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded, lower case": lambda secret: quote(secret, safe="").lower(),
    "percent-encoded twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "as a form": quote_plus,
    "as a form, twice": lambda secret: quote_plus(quote_plus(secret)),
    "hex": lambda secret: secret.encode().hex(),
    "hex, upper case": lambda secret: secret.encode().hex().upper(),
    "base64": lambda secret: b64encode(secret.encode()).decode(),
    "base64url": lambda secret: urlsafe_b64encode(secret.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("write", WRITINGS.values(), ids=WRITINGS.keys())
def test_a_secret_is_hidden_however_it_is_written(write: Callable[[str], str]) -> None:
    said = hide_secrets(f"AADSTS7000215: Invalid client secret '{write(SECRET)}' provided.", [SECRET])
    assert write(SECRET) not in said
    assert HIDDEN in said
    assert said.startswith("AADSTS7000215: Invalid client secret '")
    assert said.endswith("' provided.")


@pytest.mark.parametrize("before", ["", "a", "ab", "client:"])
def test_it_is_hidden_within_more_that_is_in_base64(before: str) -> None:
    written = b64encode(f"{before}{SECRET}; and more".encode()).decode()
    said = hide_secrets(written, [SECRET])
    assert HIDDEN in said
    longest = max(said.split(HIDDEN), key=len)
    assert len(longest) <= len(b64encode(b"; and more")) + 2, "little but what stood around it is left"


def test_all_secrets_are_hidden_and_no_other_word() -> None:
    assert hide_secrets("one two three", ["one", "", "three"]) == f"{HIDDEN} two {HIDDEN}"
    assert hide_secrets("one two three", []) == "one two three"
