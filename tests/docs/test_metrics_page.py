"""Each metric that a scrape can show has its heading in docs/metrics.md."""

from pathlib import Path

from postroom.metrics import COUNTED_METRICS, NAMESPACE, READ_METRICS, Metrics

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text().splitlines()


def test_each_metric_has_its_heading() -> None:
    metrics = Metrics()
    metrics.show({metric.name: [(["x"] * len(metric.labels), 1.0)] for metric in READ_METRICS})
    families = [it for it in metrics.registry.collect() if it.name.startswith(f"{NAMESPACE}_")]
    assert len(families) > 20
    names = [f"{it.name}_total" if it.type == "counter" else it.name for it in families]
    assert [name for name in names if f"### {name}" not in PAGE] == []


def test_no_heading_is_left_of_a_metric_that_is_gone() -> None:
    known = {f"### {metric.full_name}" for metric in READ_METRICS + COUNTED_METRICS}
    assert {line for line in PAGE if line.startswith("### ")} == known
