"""Words for states and times."""

import pytest

from postroom.clock import DAY_US, HOUR_US, MICROSECONDS, MINUTE_US
from postroom.console import times, words
from postroom.message import RecipientState
from postroom.outcome import StopCause

NOW = 1_790_000_000 * MICROSECONDS


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (NOW, "now"),
        (NOW - 30 * MICROSECONDS, "30 s ago"),
        (NOW - 3 * MINUTE_US, "3 min ago"),
        (NOW + 4 * MINUTE_US, "in 4 min"),
        (NOW - 5 * HOUR_US, "5 hours ago"),
        (NOW + 3 * DAY_US, "in 3 days"),
    ],
)
def test_times_are_told_in_one_unit(at_us: int, text: str) -> None:
    assert times.relative(at_us, NOW) == text


def test_absolute_times_are_utc_with_their_zone() -> None:
    assert times.absolute(NOW) == "21 Sep 2026 14:13:20 UTC"


@pytest.mark.parametrize(("size_bytes", "text"), [(12, "12 bytes"), (4_096, "4.1 kB"), (2_100_000, "2.1 MB")])
def test_sizes(size_bytes: int, text: str) -> None:
    assert times.size(size_bytes) == text


def test_every_state_has_its_word_and_none_says_delivered() -> None:
    said = {state: words.state_word(state) for state in RecipientState}
    assert len(set(said.values())) == len(RecipientState)
    assert "Delivered" not in said.values()
    assert set(words.STATES) == set(RecipientState)


@pytest.mark.parametrize("cause", [*StopCause, "pace", "lane", "a later try", "release"])
def test_every_cause_to_wait_has_its_sentence(cause: str) -> None:
    assert not words.waiting_words(cause, "scanner@contoso.com").startswith("waiting for: ")


def test_a_cause_that_nobody_knew_is_still_told() -> None:
    assert words.waiting_words("the moon", "") == "waiting for: the moon"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("smtp.office365.com:587", "Microsoft 365"),
        ("evil-office365.com", "evil-office365.com"),
        ("mail.example.lan:25", "mail.example.lan"),
    ],
)
def test_only_microsofts_own_hosts_are_called_microsoft(host: str, name: str) -> None:
    assert words.server_name(host) == name
