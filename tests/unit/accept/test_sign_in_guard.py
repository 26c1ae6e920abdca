"""Guessing gets slower."""

from postroom.accept.sign_in_guard import ADDRESSES_REMEMBERED, FORGET_SECONDS, SignInGuard, network_of


def test_each_failure_from_one_address_doubles_the_wait_up_to_a_limit() -> None:
    guard = SignInGuard(1, 10)
    assert [guard.note_failure("192.0.2.1", now) for now in range(6)] == [1, 2, 4, 8, 10, 10]


def test_another_address_does_not_pay_for_it() -> None:
    guard = SignInGuard(1, 10)
    guard.note_failure("192.0.2.1", 0)
    assert guard.note_failure("192.0.2.2", 0) == 1


def test_it_forgets() -> None:
    guard = SignInGuard(1, 10)
    guard.note_failure("192.0.2.1", 0)
    assert guard.note_failure("192.0.2.1", FORGET_SECONDS + 1) == 1


def test_it_remembers_only_so_many_addresses() -> None:
    guard = SignInGuard(1, 10)
    for number in range(ADDRESSES_REMEMBERED + 1):
        guard.note_failure(str(number), 0)
    assert guard.note_failure("0", 0) == 1
    assert guard.note_failure(str(ADDRESSES_REMEMBERED), 0) == 2


def test_a_client_is_an_ipv4_address_or_a_64_of_ipv6() -> None:
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == ""
