import pytest

from postroom.clock import ManualClock
from postroom.ids import IdMaker, parse_public_id, public_id


def test_ids_grow_even_when_the_clock_goes_back() -> None:
    clock = ManualClock()
    maker = IdMaker(clock)
    first = [maker.make_id() for _ in range(5000)]
    clock.advance(-3600)
    assert maker.make_id() > first[-1]
    assert first == sorted(set(first))


def test_an_id_of_a_later_millisecond_is_greater_whatever_the_node() -> None:
    clock = ManualClock()
    earlier = IdMaker(clock, node=1023).make_id()
    clock.advance(0.001)
    assert IdMaker(clock, node=0).make_id() > earlier


def test_the_public_form_reads_back() -> None:
    number = IdMaker(ManualClock(), node=7).make_id()
    assert len(public_id(number)) == 13
    assert parse_public_id(public_id(number)) == number
    assert parse_public_id(public_id(number).lower()) == number


@pytest.mark.parametrize("text", ["", "short", "U" * 13, "ZZZZZZZZZZZZZ", "0" * 12 + "é"])
def test_what_is_no_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        parse_public_id(text)


def test_a_node_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="node 1024 does not fit"):
        IdMaker(ManualClock(), node=1024)
