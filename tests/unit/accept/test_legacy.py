"""The old ways are for narrow, private networks only."""

from typing import Any

import pytest

from postroom.accept.legacy import why_not_allowed
from postroom.store.records import AppSettings


def test_an_app_that_asks_for_nothing_may_come_from_anywhere() -> None:
    assert why_not_allowed(AppSettings(name="x")) is None
    assert why_not_allowed(AppSettings(name="x", addresses=("0.0.0.0/0", "2001:db8::/32"))) is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"allows_plain_text": True}, "Plain text, old TLS and CRAM-MD5 are allowed to a named address only"),
        ({"needs_sign_in": False}, "An app that does not sign in needs the address that it connects from"),
        ({"allows_old_tls": True, "addresses": ("8.8.8.8",)}, "8.8.8.8/32 is a public address"),
        ({"allows_cram_md5": True, "addresses": ("10.2.3.77", "10.0.0.0/15")}, "10.0.0.0/15 is too wide"),
        ({"needs_sign_in": False, "addresses": ("10.0.0.0/7",)}, "10.0.0.0/7 is a public address"),
        ({"allows_plain_text": True, "addresses": ("fd00::/63",)}, "fd00::/63 is too wide"),
        ({"allows_plain_text": True, "addresses": ("printer",)}, "“printer” is no address"),
        ({"needs_sign_in": False, "addresses": ("0.0.0.0/0",)}, "0.0.0.0/0 is"),
        ({"needs_sign_in": False, "addresses": ("::/0",)}, "::/0 is"),
    ],
)
def test_what_is_not_allowed_has_a_reason(settings: dict[str, Any], why: str) -> None:
    found = why_not_allowed(AppSettings(name="x", **settings))
    assert found is not None
    assert why in found


@pytest.mark.parametrize("addresses", [("10.2.3.77",), ("10.2.0.0/16", "fd00:1:2:3::/64"), ("127.0.0.1/32",)])
def test_narrow_private_networks_are_allowed(addresses: tuple[str, ...]) -> None:
    settings = AppSettings(name="x", addresses=addresses, needs_sign_in=False, allows_old_tls=True)
    assert why_not_allowed(settings) is None
