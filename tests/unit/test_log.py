import io
from collections.abc import Iterator

import pytest
import structlog

from postroom.log import configure_log
from postroom.settings import LogSettings


@pytest.fixture(autouse=True)
def configured_afterwards() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("format_", ["text", "json"])
def test_an_error_shows_where_it_happened_and_no_variable(format_: str) -> None:
    stream = io.StringIO()
    configure_log(LogSettings(format=format_), stream)
    try:
        password = "planted" + "-secret"
        raise RuntimeError(f"the password has {len(password)} letters")
    except RuntimeError:
        structlog.get_logger().exception("fell")
    assert "the password has 14 letters" in stream.getvalue()
    assert "test_log.py" in stream.getvalue()
    assert "planted-secret" not in stream.getvalue()


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure_log(LogSettings(level="warning"), stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


@pytest.mark.parametrize("format_", ["text", "json"])
def test_what_a_client_said_cannot_act_in_the_terminal(format_: str) -> None:
    stream = io.StringIO()
    configure_log(LogSettings(format=format_), stream)
    structlog.get_logger().warning("sign-in refused", login="a\x1b[2J\x9b1A\u202eb\nc", name="grüße")
    written = stream.getvalue().removesuffix("\n")
    if format_ == "text":
        assert r"a\x1b[2J\x9b1A\u202eb\nc" in written
        assert "grüße" in written
    assert written.isprintable()
