"""The server's half of PLAIN and LOGIN."""

from base64 import b64encode

import pytest

from postroom.wire.sasl import (
    CramMd5Answer,
    CramMd5Exchange,
    Credentials,
    LoginExchange,
    PlainExchange,
    SaslError,
    begin_exchange,
    cram_md5_digest,
)


def test_plain_is_one_answer() -> None:
    assert PlainExchange().take(b64encode(b"\0hp-2f\0secret")) == Credentials("hp-2f", "secret")


def test_plain_may_repeat_the_name_as_identity() -> None:
    assert PlainExchange().take(b64encode(b"hp-2f\0hp-2f\0secret")) == Credentials("hp-2f", "secret")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b64encode(b"boss\0hp-2f\0secret"), "act as somebody else"),
        (b64encode(b"hp-2f\0secret"), "does not hold a user name and a password"),
        (b64encode(b"\0\0secret"), "does not hold a user name and a password"),
        (b"=", "does not hold a user name and a password"),
        (b"not base64!", "not valid base64"),
        (b64encode(b"\0\xff\0\xfe"), "not valid base64 of UTF-8"),
    ],
)
def test_plain_that_cannot_be_read_says_why_and_repeats_nothing(answer: bytes, reason: str) -> None:
    with pytest.raises(SaslError, match=reason) as caught:
        PlainExchange().take(answer)
    assert "secret" not in str(caught.value)


def test_login_asks_twice() -> None:
    exchange = LoginExchange()
    assert exchange.challenge() == "VXNlcm5hbWU6"
    assert exchange.take(b64encode(b"hp-2f")) is None
    assert exchange.challenge() == "UGFzc3dvcmQ6"
    assert exchange.take(b64encode(b"secret")) == Credentials("hp-2f", "secret")


def test_mechanisms_are_named_in_any_case() -> None:
    assert isinstance(begin_exchange("plain"), PlainExchange)
    assert isinstance(begin_exchange("Login"), LoginExchange)
    assert begin_exchange("CRAM-MD5") is None


def test_credentials_never_show_the_password() -> None:
    assert "secret" not in repr(Credentials("hp-2f", "secret"))


def test_cram_md5_is_answered_as_its_rfc_shows() -> None:
    challenge = "<1896.697170952@postoffice.reston.mci.net>"
    exchange = CramMd5Exchange(challenge)
    assert exchange.challenge() == "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    answer = exchange.take(b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw")
    assert answer == CramMd5Answer("tim", "b913a602c7eda7a495b4e6e7334d3890")
    assert cram_md5_digest("tanstaaftanstaaf", challenge) == answer.digest


@pytest.mark.parametrize("answer", [b"", b"tim", b"tim b913", b" b913a602c7eda7a495b4e6e7334d3890"])
def test_a_cram_md5_answer_that_is_none_says_so(answer: bytes) -> None:
    with pytest.raises(SaslError, match="32 hex digits"):
        CramMd5Exchange("<1@x>").take(b64encode(answer))
