"""Guessing gets slower, and stops; who signed in lately is left alone."""

import pytest

from postroom.accept.sign_in_guard import REMEMBERED, GuardLimits, SignInGuard

LIMITS = GuardLimits(address_limit=5, login_limit=8)
HOME, ELSEWHERE = "10.2.3.77", "192.0.2.1"


def test_each_failure_from_one_address_doubles_the_wait_up_to_a_limit() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    assert [guard.note_failure(ELSEWHERE, f"name-{now}", now) for now in range(6)] == [1, 2, 4, 8, 10, 10]


def test_another_address_does_not_pay_for_it() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    guard.note_failure(ELSEWHERE, "a", 0)
    assert guard.note_failure("192.0.2.2", "b", 0) == 1


def test_it_forgets() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    guard.note_failure(ELSEWHERE, "a", 0)
    assert guard.note_failure(ELSEWHERE, "a", LIMITS.window_seconds + 1) == 1


def test_an_address_that_guesses_is_refused_for_a_while() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    for number in range(LIMITS.address_limit - 1):
        guard.note_failure(ELSEWHERE, f"name-{number}", 0)
    assert guard.banned_seconds(ELSEWHERE, 0) == 0
    guard.note_failure(ELSEWHERE, "one more", 10)
    assert guard.banned_seconds(ELSEWHERE, 10) == LIMITS.ban_seconds
    assert guard.locked_seconds(ELSEWHERE, "any", 10) == LIMITS.ban_seconds
    assert guard.banned_seconds(HOME, 10) == 0
    assert guard.banned_seconds(ELSEWHERE, 10 + LIMITS.ban_seconds) == 0
    assert guard.note_failure(ELSEWHERE, "again", 10 + LIMITS.ban_seconds) == 1


def test_a_slow_mistake_is_no_guessing() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    for number in range(20):
        guard.note_failure(HOME, "hp-2f", number * 300.0)
        assert guard.banned_seconds(HOME, number * 300.0) == 0


@pytest.mark.parametrize("login", ["hp-2f", "HP-2F", " hp-2f@contoso.example"])
def test_a_name_that_is_guessed_from_many_addresses_is_slowed_then_locked(login: str) -> None:
    guard = SignInGuard(1, 10, LIMITS)
    waits = [guard.note_failure(f"192.0.2.{number}", "hp-2f", 0) for number in range(LIMITS.login_limit)]
    assert waits == [1, 1, 1, 1, 1, 2, 4, 8]
    assert guard.locked_seconds("198.51.100.1", login, 0) == LIMITS.ban_seconds
    assert guard.locked_seconds("198.51.100.1", "another", 0) == 0
    assert guard.banned_seconds("198.51.100.1", 0) == 0


def test_who_has_signed_in_is_not_locked_out_by_a_guesser_elsewhere_or_beside_it() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    guard.note_success(HOME, "hp-2f")
    for number in range(LIMITS.login_limit):
        guard.note_failure(f"192.0.2.{number}", "hp-2f", 60)
        guard.note_failure(HOME, f"name-{number}", 60)
    assert guard.locked_seconds(HOME, "HP-2f", 60) == 0
    assert guard.banned_seconds(HOME, 60) == 0
    assert guard.locked_seconds(HOME, "name-1", 60) == LIMITS.ban_seconds


def test_what_has_worked_is_no_licence_to_guess() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    guard.note_success(HOME, "hp-2f")
    for _ in range(LIMITS.address_limit):
        assert guard.locked_seconds(HOME, "hp-2f", 60) == 0
        guard.note_failure(HOME, "hp-2f", 60)
    assert guard.locked_seconds(HOME, "hp-2f", 60) == LIMITS.ban_seconds


def test_it_remembers_only_so_many_addresses() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    for number in range(REMEMBERED + 1):
        guard.note_failure(str(number), "x" * (number % 7), 0)
    assert guard.note_failure("0", "a", 0) == 1
    assert guard.note_failure(str(REMEMBERED), "b", 0) == 2


def test_a_whole_64_of_ipv6_is_one_client() -> None:
    guard = SignInGuard(1, 10, LIMITS)
    for number in range(LIMITS.address_limit):
        guard.note_failure(f"2001:db8::{number}", f"n{number}", 0)
    assert guard.banned_seconds("2001:db8::ffff", 0) == LIMITS.ban_seconds
    assert guard.banned_seconds("2001:db8:0:1::1", 0) == 0
