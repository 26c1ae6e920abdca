import pytest

from postroom.wire.extensions import read_extensions
from postroom.wire.replies import make_reply


def test_exchange_online_after_starttls() -> None:
    extensions = read_extensions(
        make_reply(
            250,
            [
                "SY5P282CA0097.outlook.office365.com Hello [203.0.113.5]",
                "SIZE 157286400",
                "PIPELINING",
                "DSN",
                "ENHANCEDSTATUSCODES",
                "AUTH LOGIN XOAUTH2",
                "8BITMIME",
                "BINARYMIME",
                "CHUNKING",
                "SMTPUTF8",
            ],
        )
    )
    assert extensions.size_limit_bytes == 157_286_400
    assert extensions.mechanisms == ("LOGIN", "XOAUTH2")
    assert extensions.offers_pipelining
    assert extensions.offers_eight_bit
    assert extensions.offers_smtputf8
    assert not extensions.offers_starttls


def test_the_greeting_is_no_extension() -> None:
    assert not read_extensions(make_reply(250, ["STARTTLS"])).offers_starttls


def test_auth_in_its_old_spelling_is_understood() -> None:
    extensions = read_extensions(make_reply(250, ["x", "AUTH=LOGIN PLAIN", "AUTH login xoauth2"]))
    assert extensions.mechanisms == ("LOGIN", "PLAIN", "LOGIN", "XOAUTH2")


@pytest.mark.parametrize("limit", ["SIZE", "SIZE x", "SIZE -5", "SIZE 0", "SIZE " + "9" * 400, "SIZE ²"])
def test_a_size_that_says_nothing_is_no_limit(limit: str) -> None:
    extensions = read_extensions(make_reply(250, ["x", limit]))
    assert extensions.offers_size
    assert extensions.size_limit_bytes == 0
