"""What monitors read: every counter and gauge, declared once with its help text, on a registry that is passed in.

Counters and histograms belong to this process and grow where things happen. Gauges, and counters that the store keeps,
are read at a scrape (`api/scrape`) and shown by `show`. No label holds an address, or grows without bound.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

NAMESPACE = "postroom"
APP_LABELS = 200
"""So many apps are told apart; what comes beyond is `other`."""
OTHER = "other"


class Declared(NamedTuple):
    """One metric: what it is called, and what it means to who reads it."""

    name: str
    """Without the namespace, and without the `_total` of a counter."""
    help_text: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter", "histogram"] = "gauge"
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{NAMESPACE}_{self.name}" + ("_total" if self.kind == "counter" else "")


READ_METRICS = (
    Declared("up", "1: Postroom answers."),
    Declared("build_info", "1, with the version that runs.", ("version",)),
    Declared("ready", "1 while mail can be taken and stored, as /readyz says, else 0."),
    Declared("disk_free_bytes", "Free on the disk of the data folder."),
    Declared("smtp_connections", "Open connections of clients; tls is the version, or none.", ("listener", "tls")),
    Declared("queue_messages", "Messages that have not ended, by state.", ("state",)),
    Declared("queue_recipients", "Recipients that have not ended, by state.", ("state",)),
    Declared("queue_waiting_recipients", "Recipients that wait, by what they wait for.", ("cause",)),
    Declared("queue_oldest_age_seconds", "Age of the oldest message that has not ended; 0 when there is none."),
    Declared(
        "messages_finished",
        "Messages whose last recipient ended, since the data folder was made: by state, and by the class of the "
        "failure where a recipient failed. It goes on over restarts.",
        ("status", "class"),
        "counter",
    ),
    Declared("last_accepted_timestamp_seconds", "When a mail server last accepted a message."),
    Declared(
        "mail_server_ready",
        "1 while mail may go this way: it is set up, and neither it nor its mailbox is stopped; else 0.",
        ("mail_server", "mailbox"),
    ),
    Declared("mailbox_ready", "1 while the mailbox may send, else 0.", ("mailbox",)),
    Declared(
        "mailbox_state",
        "1 for the state that the mailbox is in, with the cause when it is stopped.",
        ("mailbox", "state", "cause"),
    ),
    Declared(
        "quota_used_ratio",
        "How much of a limit of the mailbox is used, the one that holds now: messages in the last 60 seconds, "
        "recipients in the last 24 hours, and those outside of the organisation, which a tenant's mailboxes share.",
        ("mailbox", "quota"),
    ),
    Declared(
        "oauth_token_expiry_timestamp_seconds",
        "When the access token ends. It is renewed ten minutes before, while it is used.",
        ("mailbox", "resource"),
    ),
    Declared(
        "credential_expiry_timestamp_seconds",
        "When a credential ends: client_secret or certificate of an app, sign_in of a mailbox unless it is renewed "
        "before (weekly, by itself), tls_certificate of the SMTP listeners.",
        ("kind", "mailbox"),
    ),
    Declared(
        "canary_age_seconds",
        "How long no canary has arrived, counted from when it was switched on at the earliest.",
    ),
    Declared("canary_period_seconds", "How often a canary flies."),
)
"""Absent while there is nothing to say."""

COUNTED_METRICS = (
    Declared("messages_received", "Messages that were taken: they are on the disk.", ("listener", "app"), "counter"),
    Declared(
        "messages_refused",
        "Clients, commands and messages that were refused, by the code of the refusal.",
        ("listener", "reason"),
        "counter",
    ),
    Declared(
        "delivery_attempts",
        "Attempts that ended, each counted once, by the outcome of the recipient that fared worst.",
        ("result", "class", "code"),
        "counter",
    ),
    Declared(
        "attempt_duration_seconds",
        "How long an attempt took, with connecting.",
        (),
        "histogram",
        (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600),
    ),
    Declared(
        "delivery_duration_seconds",
        "From when a message began to come in to when the mail server accepted it. What its sender scheduled for later "
        "counts from the same moment.",
        (),
        "histogram",
        (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400, 432_000),
    ),
    Declared(
        "mailbox_slowed",
        "Attempts that the mail server answered with a wish to slow down.",
        ("mailbox",),
        "counter",
    ),
    Declared(
        "oauth_refresh",
        "Answers of the sign-in service: renewed, or the code of the failure.",
        ("result",),
        "counter",
    ),
)
"""By this process, since it started."""

_COUNTED = {declared.name: declared for declared in COUNTED_METRICS}

Samples = list[tuple[Sequence[str], float]]
"""Label values and number."""
Values = Mapping[str, Samples]
"""By name."""


class Metrics:
    """All of them. Each has its heading in docs/metrics.md."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # when each series began says nothing here, and doubles the page
        self.registry = registry if registry is not None else CollectorRegistry()
        self._read = _ReadCollector()
        self.registry.register(self._read)
        self.messages_received = self._counter("messages_received")
        self.messages_refused = self._counter("messages_refused")
        self.delivery_attempts = self._counter("delivery_attempts")
        self.attempt_duration = self._histogram("attempt_duration_seconds")
        self.delivery_duration = self._histogram("delivery_duration_seconds")
        self.mailbox_slowed = self._counter("mailbox_slowed")
        self.oauth_refresh = self._counter("oauth_refresh")
        ProcessCollector(registry=self.registry)
        self._received: dict[tuple[str, str], Counter] = {}
        self._apps: dict[str, str] = {}

    def _counter(self, name: str) -> Counter:
        declared = _COUNTED[name]
        return Counter(name, declared.help_text, declared.labels, namespace=NAMESPACE, registry=self.registry)

    def _histogram(self, name: str) -> Histogram:
        declared = _COUNTED[name]
        return Histogram(
            name, declared.help_text, namespace=NAMESPACE, registry=self.registry, buckets=declared.buckets
        )

    def show(self, values: Values) -> None:
        """What was read for this scrape, in place of what was read before."""
        self._read.values = values

    def note_received(self, listener: str, app_name: str) -> None:
        counter = self._received.get((listener, app_name))
        if counter is None:
            counter = self.messages_received.labels(listener, self._app_label(app_name))
            self._received[listener, app_name] = counter
        counter.inc()

    def note_refused(self, listener: str, reason: str) -> None:
        self.messages_refused.labels(listener, reason).inc()

    def _app_label(self, name: str) -> str:
        if name not in self._apps and len(self._apps) < APP_LABELS and not _holds_address(name):
            self._apps[name] = name
        return self._apps.get(name, OTHER)


class _ReadCollector(Collector):
    """Shows what was read last."""

    def __init__(self) -> None:
        self.values: Values = {}

    def describe(self) -> Iterator[Metric]:
        return (self._family(metric) for metric in READ_METRICS)

    def collect(self) -> Iterator[Metric]:
        for metric in READ_METRICS:
            family = self._family(metric)
            for labels, value in self.values.get(metric.name, ()):
                family.add_metric(labels, value)
            if family.samples:
                yield family

    def _family(self, metric: Declared) -> CounterMetricFamily | GaugeMetricFamily:
        make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        return make(f"{NAMESPACE}_{metric.name}", metric.help_text, labels=metric.labels)


def _holds_address(name: str) -> bool:
    """A device may be called by its address, a program by that of its sender."""
    return any("@" in word or _is_ip_address(word) for word in name.split())


def _is_ip_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word.strip("[](),;"))
    except ValueError:
        return False
    return True
