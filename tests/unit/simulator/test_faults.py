from collections.abc import Callable

import pytest

from postroom.simulator.faults import (
    FAULTS,
    STAGES,
    Fault,
    fault_for,
    message_faults,
    recipient_fault,
    sender_fault,
    sign_in_fault,
    sign_in_faults,
)


@pytest.mark.parametrize("address", ["anna@example.net", "postmaster@contoso.com", "4510@example.net", "451", ""])
def test_an_ordinary_address_has_no_fault(address: str) -> None:
    assert fault_for(address) is None


@pytest.mark.parametrize("address", ["451@example.net", "451@contoso.com", "451+monday@example.net"])
def test_the_local_part_decides_and_the_domain_does_not(address: str) -> None:
    fault = fault_for(address)

    assert fault is not None
    assert fault.reply.startswith("451 4.7.0 ")


def test_capitals_do_not_matter() -> None:
    assert fault_for("SLOW@Example.net") == fault_for("slow@example.net")


def test_a_recipient_fault_is_not_struck_again_at_the_end_of_the_message() -> None:
    assert recipient_fault("550@example.net") is not None
    assert message_faults("scanner@contoso.com", ["550@example.net"]) == ()


def test_a_message_fault_lets_the_recipient_pass() -> None:
    assert recipient_fault("slow@example.net") is None
    assert [fault.local_part for fault in message_faults("", ["anna@example.net", "slow@example.net"])] == ["slow"]


def test_the_sender_may_ask_for_a_message_fault_too() -> None:
    faults = message_faults("mailbox-full@contoso.com", ["anna@example.net"])

    assert [fault.reply[:10] for fault in faults] == ["554 5.2.2 "]


def test_two_recipients_with_one_fault_strike_once() -> None:
    assert len(message_faults("", ["slow@example.net", "slow+b@example.net"])) == 1


def test_once_waits_for_the_message_because_it_goes_by_its_message_id() -> None:
    fault = fault_for("451-once@example.net")

    assert fault is not None
    assert fault.is_once
    assert fault.stage == "message"
    assert fault.reply == (fault_for("451@x.test") or fault).reply
    assert recipient_fault("451-once@example.net") is None


def test_once_of_nothing_is_nothing() -> None:
    assert fault_for("anna-once@example.net") is None


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.local_part for fault in FAULTS])
def test_each_line_of_the_table_is_found_by_its_address_and_says_what_it_means(fault: Fault) -> None:
    assert fault_for(f"{fault.address}example.net") == fault
    assert fault.meaning.endswith(".")
    assert bool(fault.reply) == (fault.effect == "refuse")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("sign-in-later@contoso.com", sign_in_fault),
        ("rate-limited@contoso.com", sender_fault),
        ("throttled@example.net", recipient_fault),
    ],
)
def test_a_fault_strikes_at_its_own_stage_only(address: str, found: Callable[[str], Fault | None]) -> None:
    everywhere = (sign_in_fault, sender_fault, recipient_fault)

    assert [stage for stage in everywhere if stage(address)] == [found]
    assert message_faults(address, [address]) == ()


def test_each_stage_has_its_title_and_no_two_lines_one_address() -> None:
    assert {fault.stage for fault in FAULTS} == STAGES.keys()
    assert len({fault.local_part for fault in FAULTS}) == len(FAULTS)
    assert set(sign_in_faults()) == {fault.local_part for fault in FAULTS if fault.stage == "sign-in"}
