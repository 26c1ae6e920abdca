import base64

import pytest

from postroom.wire.client_sasl import decode_challenge, encode_login, encode_plain, encode_xoauth2


def test_xoauth2_is_encoded_as_in_the_example_of_microsoft() -> None:
    # Microsoft Learn, "Authenticate an IMAP, POP or SMTP connection using OAuth".
    encoded = encode_xoauth2("test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA")
    assert encoded == (
        "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFv"
        "N0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
    )


def test_a_long_token_stays_on_one_line() -> None:
    encoded = encode_xoauth2("scanner@contoso.com", "t" * 4000)
    assert len(encoded) > 5000
    assert base64.b64decode(encoded, validate=True).endswith(b"t\x01\x01")


def test_plain_is_encoded_as_in_rfc_4616() -> None:
    assert base64.b64decode(encode_plain("tim", "tanstaaftanstaaf")) == b"\0tim\0tanstaaftanstaaf"


def test_login_takes_any_letter() -> None:
    assert base64.b64decode(encode_login("Grüße")).decode() == "Grüße"


@pytest.mark.parametrize(("user", "secret"), [("a\0b", "x"), ("a", "x\0y")])
def test_plain_refuses_what_would_change_its_meaning(user: str, secret: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        encode_plain(user, secret)


@pytest.mark.parametrize(("user", "token"), [("a\x01auth=", "x"), ("a", "x\r\ny")])
def test_xoauth2_refuses_what_would_change_its_meaning(user: str, token: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        encode_xoauth2(user, token)


def test_the_challenge_of_google_is_read() -> None:
    challenge = "eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ=="
    assert decode_challenge(challenge) == '{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}'


def test_a_challenge_that_is_no_base64_has_no_text() -> None:
    assert decode_challenge("Go ahead!") is None
