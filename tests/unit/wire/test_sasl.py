"""The server's half of PLAIN, LOGIN and CRAM-MD5."""

import contextlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("login", ["hp 2f", "hp-2f"])
def test_a_cram_md5_name_may_hold_blanks_and_its_digest_capitals(login: str) -> None:
    digest = cram_md5_digest("secret", "<1@x>")
    answer = CramMd5Exchange("<1@x>").take(b64encode(f"{login} {digest.upper()}\0".encode()))
    assert answer == CramMd5Answer(login, digest)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(b64encode))
def test_no_answer_makes_an_exchange_fall(answer: bytes) -> None:
    for exchange in (PlainExchange(), LoginExchange(), CramMd5Exchange("<1@x>")):
        with contextlib.suppress(SaslError):
            exchange.take(answer)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text), st.text().filter(lambda text: "\0" not in text))
def test_what_a_client_signs_in_with_is_what_is_read(login: str, password: str) -> None:
    assert PlainExchange().take(b64encode(f"\0{login}\0{password}".encode())) == Credentials(login, password)
    exchange = LoginExchange()
    assert exchange.take(b64encode(login.encode())) is None
    assert exchange.take(b64encode(password.encode())) == Credentials(login, password)
