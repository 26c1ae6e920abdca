"""Where Microsoft sends the browser back to."""

import pytest

from postroom.identity.redirects import redirect_url_for


@pytest.mark.parametrize(
    ("public_url", "redirect_url"),
    [
        ("https://mail.example.com", "https://mail.example.com/oauth/callback"),
        ("https://mail.example.com:8443/postroom", "https://mail.example.com:8443/postroom/oauth/callback"),
        ("http://localhost:9000", "http://localhost:9000/oauth/callback"),
        ("http://localhost.example.com", "http://localhost:8025/oauth/callback"),
        ("http://mail.lan", "http://localhost:8025/oauth/callback"),
        ("http://192.168.1.5:8025", "http://localhost:8025/oauth/callback"),
    ],
)
def test_only_what_entra_takes_is_registered(public_url: str, redirect_url: str) -> None:
    assert redirect_url_for(public_url, 8025) == redirect_url
