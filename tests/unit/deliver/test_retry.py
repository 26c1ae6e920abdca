import random

import pytest

from postroom.clock import DAY_US, HOUR_US, MICROSECONDS, MINUTE_US
from postroom.deliver.retry import (
    JITTER,
    LIFETIME_US,
    Circumstances,
    Strikes,
    away_delay_us,
    conclude,
    retry_delay_us,
)
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown

NOW_US = 1_790_000_000 * MICROSECONDS


def a_failure(code: str = "temporary_refusal") -> Failure:
    return Failure(FailureClass.UNKNOWN, code, "451 4.3.2 Not now", "server_busy", smtp_code=451)


def conclude_now(outcome: Outcome, *, seed: int = 1, **circumstances: int | bool) -> Outcome:
    return conclude(outcome, Circumstances(now_us=NOW_US, **circumstances), random.Random(seed))  # type: ignore[arg-type]


def waits_us(outcome: Outcome, **circumstances: int | bool) -> int:
    concluded = conclude_now(outcome, **circumstances)
    assert isinstance(concluded, TryLater | Stopped | Unknown)
    assert concluded.until_us is not None
    return concluded.until_us - NOW_US


@pytest.mark.parametrize(
    ("attempt_number", "minutes"),
    [(1, 1), (2, 2), (3, 5), (4, 10), (5, 20), (6, 30), (7, 60), (8, 60), (200, 60)],
)
def test_the_pauses_grow_to_an_hour(attempt_number: int, minutes: int) -> None:
    for seed in range(20):
        delay_us = retry_delay_us(attempt_number, random.Random(seed))
        assert minutes * MINUTE_US <= delay_us <= minutes * MINUTE_US * (1 + JITTER)


def test_what_failed_together_does_not_come_back_together() -> None:
    chance = random.Random(5)
    assert len({retry_delay_us(1, chance) for _ in range(50)}) == 50


def test_the_same_seed_gives_the_same_pause() -> None:
    assert conclude_now(TryLater(a_failure()), seed=9) == conclude_now(TryLater(a_failure()), seed=9)


def test_a_server_that_names_a_time_is_not_asked_before() -> None:
    assert waits_us(TryLater(a_failure(), NOW_US + 3 * HOUR_US)) == 3 * HOUR_US


def test_a_server_that_is_busy_gets_five_minutes() -> None:
    assert waits_us(TryLater(a_failure("server_busy"))) >= 5 * MINUTE_US


def test_the_rest_of_a_long_list_goes_at_once_when_some_were_taken() -> None:
    refused_rest = TryLater(a_failure("too_many_recipients"))
    assert waits_us(refused_rest, made_progress=True) <= 12 * MICROSECONDS
    assert waits_us(refused_rest, made_progress=False) >= MINUTE_US


def test_a_message_that_is_too_old_is_refused_with_the_last_answer() -> None:
    concluded = conclude_now(TryLater(a_failure()), age_us=LIFETIME_US)
    assert isinstance(concluded, Refused)
    assert concluded.failure.code == "too_old"
    assert concluded.failure.remedy_id == "message_too_old"
    assert "5 days" in concluded.failure.text
    assert "451 4.3.2 Not now" in concluded.failure.text


def test_just_before_its_end_a_message_is_tried_again() -> None:
    assert isinstance(conclude_now(TryLater(a_failure()), age_us=LIFETIME_US - 1), TryLater)


def test_a_stopped_mailbox_never_makes_a_message_too_old() -> None:
    stopped = Stopped(a_failure(), StopCause.MAIL_SERVER_AWAY)
    assert isinstance(conclude_now(stopped, age_us=400 * DAY_US), Stopped)


def test_an_answer_that_always_gets_lost_is_not_asked_for_ever() -> None:
    unknown = Unknown(a_failure("answer_lost"))
    assert waits_us(unknown, attempt_number=4) >= 10 * MINUTE_US
    assert isinstance(conclude_now(unknown, age_us=LIFETIME_US), Refused)


@pytest.mark.parametrize("outcome", [Sent("250 OK"), Refused(a_failure())])
def test_what_is_final_stays(outcome: Outcome) -> None:
    assert conclude_now(outcome, age_us=LIFETIME_US) == outcome


@pytest.mark.parametrize(
    ("strikes", "seconds"), [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 900), (7, 900), (9999, 900)]
)
def test_an_absent_mail_server_is_asked_ever_less_often(strikes: int, seconds: int) -> None:
    delay_us = away_delay_us(strikes, random.Random(3))
    assert seconds * MICROSECONDS <= delay_us <= seconds * MICROSECONDS * (1 + JITTER)
    stopped = Stopped(a_failure(), StopCause.MAIL_SERVER_AWAY)
    assert waits_us(stopped, strikes=strikes) >= seconds * MICROSECONDS


@pytest.mark.parametrize(
    ("cause", "minutes"),
    [(StopCause.DAILY_LIMIT, 60), (StopCause.SMTP_AUTH_OFF, 15), (StopCause.MAILBOX_FULL, 30)],
)
def test_what_heals_at_microsoft_is_tried_again_by_itself(cause: StopCause, minutes: int) -> None:
    assert waits_us(Stopped(a_failure(), cause)) >= minutes * MINUTE_US


@pytest.mark.parametrize("code", ["token_not_accepted", "token_expires_soon", "app_not_allowed"])
def test_a_refused_token_is_tried_again_because_changes_take_an_hour_to_act(code: str) -> None:
    assert waits_us(Stopped(a_failure(code), StopCause.SIGN_IN)) >= 15 * MINUTE_US


@pytest.mark.parametrize("code", ["wrong_password", "basic_retired", "sign_in_policy"])
def test_a_wrong_password_is_never_tried_again_by_itself(code: str) -> None:
    concluded = conclude_now(Stopped(a_failure(code), StopCause.SIGN_IN))
    assert isinstance(concluded, Stopped)
    assert concluded.until_us is None


def test_a_time_that_the_sign_in_service_named_is_kept() -> None:
    assert waits_us(Stopped(a_failure(), StopCause.SIGN_IN, NOW_US + HOUR_US)) == HOUR_US
    assert waits_us(Stopped(a_failure(), StopCause.SIGN_IN, NOW_US), strikes=6) >= 15 * MINUTE_US


def test_strikes_grow_while_the_mailbox_cannot_be_used_and_end_with_an_answer() -> None:
    strikes = Strikes()
    away = (Stopped(a_failure(), StopCause.MAIL_SERVER_AWAY),)
    later = (TryLater(a_failure()),)
    minute = 60 * MICROSECONDS
    assert [strikes.count(1, away, NOW_US + turn * minute) for turn in range(3)] == [1, 2, 3]
    assert strikes.count(2, away, NOW_US) == 1
    assert strikes.count(1, later, NOW_US + 3 * minute) == 0
    assert strikes.count(1, away, NOW_US + 4 * minute) == 1


def test_two_connections_that_fail_at_once_are_one_strike() -> None:
    strikes = Strikes()
    away = (Stopped(a_failure(), StopCause.MAIL_SERVER_AWAY),)
    assert strikes.count(1, away, NOW_US) == 1
    assert strikes.count(1, away, NOW_US + MICROSECONDS) == 1
