import itertools
import time

import pytest

from postroom.simulator.clock import SimulatorClock


def test_no_two_readings_are_equal() -> None:
    clock = SimulatorClock()
    readings = [clock.now() for _ in range(2000)]
    assert all(earlier < later for earlier, later in itertools.pairwise(readings))


def test_it_starts_at_the_machines_time() -> None:
    before = time.time()
    assert before - 1 <= SimulatorClock().now() <= time.time() + 1


def test_advance_moves_now_but_not_what_the_machine_believes() -> None:
    clock = SimulatorClock()
    before = clock.now()
    clock.advance(86_400)
    assert clock.now() - before >= 86_400
    assert abs(clock.machine_now() - before) < 60
    assert clock.advanced_seconds == 86_400


def test_it_never_goes_back() -> None:
    with pytest.raises(ValueError, match="only moves forward"):
        SimulatorClock().advance(-1)
