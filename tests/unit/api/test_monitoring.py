"""What monitors ask: /livez, /readyz and /metrics, judged by Prometheus's own parsers."""

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from postroom.api import readiness
from postroom.api.app import beside, make_api
from postroom.clock import HOUR_US
from postroom.deliver.attempt_metrics import AttemptMetrics
from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.ids import public_id
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater
from postroom.store.records import NEW, AppSettings, MailServerDraft, Settlement
from postroom.store.sending_settings import SendingSettings
from tests.unit.api.caller_of import MAIL, SENDER, House, client_of

pytestmark = pytest.mark.anyio

SENT = Sent("250 2.0.0 OK")
NO_USER = Refused(Failure(FailureClass.RECIPIENT, "recipient_unknown", "550 5.1.1 No such user", "recipient_unknown"))
BUSY = TryLater(Failure(FailureClass.THROTTLE, "server_busy", "432 4.3.2 Slow down", "server_busy"), 1 << 60)
ENDED = Failure(FailureClass.IDENTITY, "grant_revoked", "AADSTS50173: the grant was revoked", "sign_in_again")


@asynccontextmanager
async def asking(
    house: House, *, from_address: str = "127.0.0.1", key: str = "", **monitors: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """A monitor at this address, with a key or without."""
    room = replace(house.room, monitors=replace(house.room.monitors, **monitors))
    app = beside(no_console, make_api(room))
    transport = httpx2.ASGITransport(app, client=(from_address, 50_000))
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(transport=transport, base_url="http://relay.example", headers=headers) as client:
        yield client


async def no_console(*_: object) -> None:
    raise AssertionError("this is the API's to answer")


def read(page: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(page)}


def value_of(families: dict[str, Metric], sample: str, **labels: str) -> float | None:
    for family in families.values():
        for it in family.samples:
            if it.name == f"postroom_{sample}" and it.labels == labels:
                return float(it.value)
    return None


async def scrape(house: House, **monitors: Any) -> dict[str, Metric]:
    async with asking(house, key=house.key, **monitors) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return read(answer.text)


async def settle(house: House, *outcomes: Outcome) -> None:
    [lease] = await house.store.outbox.lease_due(1)
    each = dict(zip([recipient.recipient_id for recipient in lease.recipients], outcomes, strict=True))
    AttemptMetrics(house.room.intake.metrics, house.clock).note(lease, outcomes, 0.2)
    await house.store.outbox.settle(lease, Settlement(each))


# ---- alive and ready ----


async def test_it_lives_and_is_ready_and_asks_nobody_for_a_key(house: House) -> None:
    async with asking(house, from_address="192.0.2.7") as client:
        assert (await client.get("/livez")).json() == {"alive": True}
        for path in ("/readyz", "/healthz"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.json() == {
                "ready": True,
                "conditions": [{"name": name, "ok": True, "reason": ""} for name in ("listeners", "database", "room")],
            }
            assert (await client.head(path)).status_code == 200


async def test_it_stays_ready_while_microsoft_is_away(house: House) -> None:
    [mailbox] = await house.store.mailboxes.all()
    await house.store.mailboxes.stop(mailbox.mailbox_id, ENDED, StopCause.MAIL_SERVER_AWAY, None)
    async with asking(house) as client:
        assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("trouble", "name", "reason"),
    [
        ("stops", "listeners", "Postroom is stopping"),
        ("closed", "listeners", "A listener has closed"),
        (StoreFullError("The disk is full (ENOSPC)."), "database", "The disk is full"),
        (StoreUnavailableError("The database could not be written."), "database", "could not be written"),
        (
            StoreUnavailableError("The file /srv/post/postroom.sqlite3 cannot be found: gone."),
            "database",
            "The file … cannot be found: gone.",
        ),
        (OSError(5, "Input/output error"), "database", "Input/output error"),
        ("hangs", "database", "has not answered for"),
        ("full", "room", "The store of waiting mail is full"),
    ],
)
async def test_it_says_why_it_is_not_ready(
    house: House, monkeypatch: pytest.MonkeyPatch, trouble: str | Exception, name: str, reason: str
) -> None:
    async def fail() -> None:
        if isinstance(trouble, Exception):
            raise trouble
        await asyncio.Event().wait()

    async def has_no_room() -> bool:
        return False

    if isinstance(trouble, Exception) or trouble == "hangs":
        monkeypatch.setattr(house.store, "prove_writable", fail)
        monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.01)
    if trouble == "full":
        monkeypatch.setattr(house.store.outbox, "has_room", has_no_room)
    if trouble == "stops":
        house.room.shutdown.set()
    async with asking(house, is_listening=lambda: trouble != "closed") as client:
        answer = await client.get("/readyz")
    told = {it["name"]: it for it in answer.json()["conditions"]}
    assert (answer.status_code, answer.json()["ready"], told[name]["ok"]) == (503, False, False)
    assert reason in told[name]["reason"]


async def test_a_flood_of_questions_costs_one_write(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    prove = house.store.prove_writable

    async def count() -> None:
        writes.append(1)
        await prove()

    monkeypatch.setattr(house.store, "prove_writable", count)
    async with asking(house) as client:
        await asyncio.gather(*(client.get("/readyz") for _ in range(50)))
        assert len(writes) == 1
        monkeypatch.setattr(readiness, "ASKED_AGAIN_AFTER_SECONDS", 0.0)
        await client.get("/readyz")
    assert len(writes) == 2


# ---- who may read the metrics ----


async def test_a_key_with_the_scope_reads_them_and_no_other(house: House) -> None:
    for key, status, code in (
        (await house.make_key(house.app, "metrics:read"), 200, ""),
        (await house.make_key(house.app, "send", "settings:read"), 403, "insufficient_scope"),
        ("pr_live_wrong", 401, "invalid_api_key"),
        ("", 401, "missing_api_key"),
    ):
        async with asking(house, key=key) as client:
            answer = await client.get("/metrics")
        assert answer.status_code == status
        assert not code or answer.json()["code"] == code


@pytest.mark.parametrize(
    ("from_address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.8.7.6", {}, 200),
        ("::1", {}, 200),
        ("10.2.3.4", {}, 401),
        ("2001:db8::7", {}, 401),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.7"}, 401),
        ("127.0.0.1", {"forwarded": "for=203.0.113.7"}, 401),
        ("127.0.0.1", {"authorization": "Bearer pr_live_wrong"}, 401),
    ],
)
async def test_where_the_settings_say_so_this_machine_needs_no_key(
    house: House, from_address: str, headers: dict[str, str], status: int
) -> None:
    async with asking(house, from_address=from_address, is_open_to_loopback=True) as client:
        assert (await client.get("/metrics", headers=headers)).status_code == status


async def test_the_administrators_socket_needs_none(house: House) -> None:
    assert (await house.administrator.get("/metrics")).status_code == 200


# ---- what they say ----


async def test_both_forms_are_read_by_prometheus_own_parsers(house: House) -> None:
    async with asking(house, key=house.key) as client:
        text = await client.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        wanted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        open_metrics = await client.get("/metrics", headers={"accept": wanted})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")
    families = list(openmetrics.text_string_to_metric_families(open_metrics.text))  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"postroom_up", "postroom_messages_received"}
    assert value_of(read(text.text), "up") == 1
    assert "_created" not in text.text + open_metrics.text


async def test_what_came_in_is_counted_and_what_was_refused_with_its_reason(house: House) -> None:
    await house.client.post("/api/v1/messages", json=MAIL)
    await house.client.post("/api/v1/messages", json={**MAIL, "from": "ceo@contoso.example"})
    await house.client.post("/api/v1/messages/batch", json=[MAIL, {**MAIL, "to": "nobody"}])
    await house.client.post("/api/v1/messages/batch?atomic=true", json=[MAIL, MAIL])
    replayed = {"Idempotency-Key": "1"}
    for _ in range(2):
        await house.client.post("/api/v1/messages", json=MAIL, headers=replayed)
    await house.client.get("/api/v1/messages?limit=x")
    families = await scrape(house)
    assert value_of(families, "messages_received_total", listener="http", app="CI") == 5
    refused = {it.labels["reason"]: it.value for it in families["postroom_messages_refused"].samples}
    assert refused == {"sender_not_allowed": 1, "validation_error": 1}


async def test_what_waits_what_ended_and_how_the_attempts_went(house: House) -> None:
    for recipients in (["a@x.example"], ["b@x.example", "c@x.example"], ["d@x.example"], ["e@x.example"]):
        await house.client.post("/api/v1/messages", json={**MAIL, "to": recipients})
    house.clock.advance(90)
    await settle(house, SENT)
    await settle(house, SENT, NO_USER)
    await settle(house, BUSY)
    families = await scrape(house)
    attempts = {
        (it.labels["result"], it.labels["class"], it.labels["code"]): it.value
        for it in families["postroom_delivery_attempts"].samples
    }
    assert attempts == {
        ("sent", "", ""): 1,
        ("refused", "recipient", "recipient_unknown"): 1,
        ("later", "throttle", "server_busy"): 1,
    }
    mailbox = public_id((await house.store.mailboxes.all())[0].mailbox_id)
    for sample, labels, expected in (
        ("attempt_duration_seconds_count", {}, 3),
        ("attempt_duration_seconds_bucket", {"le": "0.25"}, 3),
        ("delivery_duration_seconds_count", {}, 2),
        ("delivery_duration_seconds_bucket", {"le": "60.0"}, 0),
        ("delivery_duration_seconds_bucket", {"le": "300.0"}, 2),
        ("mailbox_slowed_total", {"mailbox": mailbox}, 1),
        ("messages_finished_total", {"status": "sent", "class": ""}, 1),
        ("messages_finished_total", {"status": "partly failed", "class": "recipient"}, 1),
        ("queue_messages", {"state": "queued"}, 1),
        ("queue_messages", {"state": "deferred"}, 1),
        ("queue_recipients", {"state": "deferred"}, 1),
        ("queue_waiting_recipients", {"cause": "lane"}, 1),
        ("queue_waiting_recipients", {"cause": "a later try"}, 1),
        ("queue_oldest_age_seconds", {}, 90),
        ("last_accepted_timestamp_seconds", {}, house.clock.now_us() / 1e6),
        ("mailbox_ready", {"mailbox": mailbox}, 1),
        ("mailbox_state", {"mailbox": mailbox, "state": "slowed", "cause": ""}, 1),
        ("quota_used_ratio", {"mailbox": mailbox, "quota": "messages_a_minute"}, 3 / 16),
        ("quota_used_ratio", {"mailbox": mailbox, "quota": "recipients_a_day"}, 4 / 10_000),
    ):
        assert value_of(families, sample, **labels) == pytest.approx(expected), (sample, labels)


async def test_a_stopped_mailbox_is_told_with_its_cause_and_no_longer_as_ready(house: House) -> None:
    [mailbox] = await house.store.mailboxes.all()
    name = public_id(mailbox.mailbox_id)
    await scrape(house)
    await house.store.mailboxes.stop(mailbox.mailbox_id, ENDED, StopCause.SIGN_IN, None)
    families = await scrape(house)
    assert value_of(families, "mailbox_ready", mailbox=name) == 0
    assert [it.labels for it in families["postroom_mailbox_state"].samples] == [
        {"mailbox": name, "state": "stopped", "cause": "sign-in"}
    ]


async def test_a_way_that_is_stopped_alone_is_told_beside_its_mailbox(house: House) -> None:
    draft = MailServerDraft(
        mail_server_id=NEW, mailbox_id=1, name="graph", sender=SENDER, username=SENDER, refresh_token="x"
    )
    graph = await house.store.mail_servers.save(draft, "test")
    await house.client.post("/api/v1/messages", json=MAIL)
    await settle(house, Stopped(ENDED, StopCause.SMTP_AUTH_OFF))
    families = await scrape(house)
    mailbox = public_id(1)
    assert value_of(families, "mail_server_ready", mail_server=public_id(1), mailbox=mailbox) == 0
    assert value_of(families, "mail_server_ready", mail_server=public_id(graph.mail_server_id), mailbox=mailbox) == 1
    assert value_of(families, "mailbox_ready", mailbox=mailbox) == 1


async def test_what_other_rooms_know_is_asked_of_them(house: House) -> None:
    families = await scrape(
        house,
        connections=lambda: {("submission", "TLSv1.3"): 2, ("device", ""): 1},
        token_ends=lambda: {(1, "smtp"): 1_800_000_000_000_000},
        certificate_ends=datetime(2028, 1, 1, tzinfo=UTC),
    )
    assert value_of(families, "smtp_connections", listener="submission", tls="TLSv1.3") == 2
    assert value_of(families, "smtp_connections", listener="device", tls="none") == 1
    assert value_of(families, "oauth_token_expiry_timestamp_seconds", mailbox=public_id(1), resource="smtp") == 1.8e9
    assert value_of(
        families, "credential_expiry_timestamp_seconds", kind="tls_certificate", mailbox=""
    ) == pytest.approx(1_830_297_600)
    assert value_of(families, "disk_free_bytes") == pytest.approx(house.store.outbox.disk_free_bytes, rel=0.1)


async def test_the_canarys_age_is_told_while_it_is_on_and_only_then(house: House) -> None:
    assert "postroom_canary_age_seconds" not in await scrape(house)
    await house.store.sending_settings.save(
        msgspec.structs.replace(SendingSettings(), canary_is_on=True, canary_every_us=HOUR_US), "anna"
    )
    house.clock.advance(90)
    families = await scrape(house)
    assert (value_of(families, "canary_age_seconds"), value_of(families, "canary_period_seconds")) == (90, 3600)


async def test_with_the_database_away_the_rest_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise StoreUnavailableError("The database could not be read.")

    await house.client.post("/api/v1/messages", json=MAIL)
    await scrape(house)
    monkeypatch.setattr(house.store.figures, "read", fail)
    monkeypatch.setattr(house.store, "prove_writable", fail)
    families = read((await house.administrator.get("/metrics")).text)
    assert (value_of(families, "up"), value_of(families, "ready")) == (1, 0)
    assert value_of(families, "messages_received_total", listener="http", app="CI") == 1
    assert "postroom_queue_messages" not in families, "what is not known is not repeated"


async def test_no_label_holds_an_address(house: House) -> None:
    for name in ("10.2.3.77", "ticket@contoso.example", "Printer (2001:db8::7)"):
        settings = AppSettings(name=name, senders=(SENDER,))
        app, _ = await house.store.apps.create(settings, "test")
        async with client_of(house.room, await house.make_key(app, "send")) as client:
            await client.post("/api/v1/messages", json=MAIL)
            await client.post("/api/v1/messages", json={**MAIL, "to": "nobody"})
    await settle(house, NO_USER)
    families = await scrape(house)
    assert value_of(families, "messages_received_total", listener="http", app="other") == 3
    values = {value for family in families.values() for it in family.samples for value in it.labels.values()}
    assert [value for value in values if "@" in value or _holds_ip_address(value)] == []


def _holds_ip_address(text: str) -> bool:
    for word in re.findall(r"[0-9A-Fa-f:.]{3,}", text):
        try:
            ipaddress.ip_address(word)
        except ValueError:
            continue
        return True
    return False
