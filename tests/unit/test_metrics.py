"""What is declared, and what keeps labels few."""

import re

import pytest
from prometheus_client import CollectorRegistry

from postroom.metrics import APP_LABELS, COUNTED_METRICS, READ_METRICS, Metrics


def test_two_sets_do_not_share_anything() -> None:
    first, second = Metrics(CollectorRegistry()), Metrics()
    first.note_received("submission", "HP")
    assert (
        first.registry.get_sample_value("postroom_messages_received_total", {"listener": "submission", "app": "HP"})
        == 1
    )
    assert (
        second.registry.get_sample_value("postroom_messages_received_total", {"listener": "submission", "app": "HP"})
        is None
    )


def test_so_many_apps_are_told_apart_and_the_rest_together() -> None:
    metrics = Metrics()
    for number in range(APP_LABELS + 10):
        for listener in ("submission", "http"):
            metrics.note_received(listener, f"App {number}")
    value = metrics.registry.get_sample_value
    assert value("postroom_messages_received_total", {"listener": "http", "app": "other"}) == 10
    assert value("postroom_messages_received_total", {"listener": "submission", "app": "App 199"}) == 1


@pytest.mark.parametrize("name", ["10.2.3.77", "fe80::1", "scan@contoso.com", "Scanner [10.2.3.77]", "a <b@c>"])
def test_an_app_called_by_an_address_is_not_named(name: str) -> None:
    metrics = Metrics()
    metrics.note_received("device", name)
    assert (
        metrics.registry.get_sample_value("postroom_messages_received_total", {"listener": "device", "app": "other"})
        == 1
    )


@pytest.mark.parametrize("name", ["HP 2nd floor", "CAFE", "v1.2.3", "12:30 report"])
def test_other_names_stay(name: str) -> None:
    metrics = Metrics()
    metrics.note_received("device", name)
    assert metrics.registry.get_sample_value("postroom_messages_received_total", {"listener": "device", "app": name})


def test_names_and_units_are_as_prometheus_wants_them() -> None:
    declared = READ_METRICS + COUNTED_METRICS
    assert len({metric.full_name for metric in declared}) == len(declared)
    for metric in declared:
        assert re.fullmatch(r"[a-z_]+", metric.name)
        assert metric.help_text.endswith(".")
        assert not metric.name.endswith(("_minutes", "_hours", "_us", "_ms", "_total", "_count", "_sum"))
