"""The checks that run in the background: watched, joined, ended by shutdown and by changes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date

import anyio
import pytest
from msgspec.structs import replace

from postroom.checks.finding import Finding, FindingState
from postroom.console.verification import Verification, Verifications
from postroom.store.records import MailServerDraft
from tests.unit.console.visitor import PUBLIC_URL, STEPS, House, Visitor, full_draft

pytestmark = pytest.mark.anyio


async def until_found(verification: Verification, number: int) -> None:
    while len(verification.findings) < number:
        await verification.next_change().wait()


@pytest.fixture
def gate(house: House) -> asyncio.Semaphore:
    """Each release lets one check come to its finding."""
    house.checks.gate = asyncio.Semaphore(0)
    return house.checks.gate


@pytest.fixture
def verifications(house: House) -> Verifications:
    return Verifications(house.clock, house.checks.verify, house.rooms.shutdown)


async def test_each_finding_is_seen_as_it_happens(verifications: Verifications, gate: asyncio.Semaphore) -> None:
    verification = await verifications.start(full_draft())
    for number in range(1, len(STEPS) + 1):
        assert len(verification.findings) == number - 1
        gate.release()
        await until_found(verification, number)
    await verification.next_change().wait()
    assert not verification.is_running
    assert verification.has_passed


async def test_a_second_start_of_the_same_joins_the_run(verifications: Verifications, gate: asyncio.Semaphore) -> None:
    first = await verifications.start(full_draft())
    assert await verifications.start(replace(full_draft(), refresh_token="rotated meanwhile")) is first
    await verifications.close()
    assert not first.is_running


async def test_other_settings_end_the_run_and_hide_its_result(
    verifications: Verifications, gate: asyncio.Semaphore, house: House
) -> None:
    first = await verifications.start(full_draft())
    gate.release()
    await until_found(first, 1)
    other = replace(full_draft(), sender="other@contoso.com")
    second = await verifications.start(other)
    assert (first.is_running, first.trouble) == (False, "The checks were stopped.")
    assert house.checks.has_ended
    assert verifications.of(full_draft()) is None
    assert verifications.of(other) is second
    await verifications.close()


async def test_the_servers_stop_ends_the_run(
    verifications: Verifications, gate: asyncio.Semaphore, house: House
) -> None:
    verification = await verifications.start(full_draft())
    gate.release()
    await until_found(verification, 1)
    house.rooms.shutdown.set()
    await verification.next_change().wait()
    assert not verification.is_running
    assert house.checks.has_ended
    await verifications.close()


async def test_checks_that_break_say_so(house: House) -> None:
    async def broken(_draft: MailServerDraft):  # type: ignore[no-untyped-def]
        yield Finding("resolve", "Resolve", "pass")  # type: ignore[arg-type]
        raise RuntimeError("no such resolver")

    verifications = Verifications(house.clock, broken, house.rooms.shutdown)
    verification = await verifications.start(full_draft())
    while verification.is_running:
        await verification.next_change().wait()
    assert verification.trouble == "The checks broke off: no such resolver"
    assert not verification.has_passed
    await verifications.close()


async def test_a_change_of_the_draft_ends_the_run_before_it_can_write(house: House, gate: asyncio.Semaphore) -> None:
    visitor = await house.administrator()
    await house.store.mail_servers.keep_draft(replace(full_draft(), secret_ends_on=None))
    await visitor.open("/admin/mail-server/app")
    await visitor.submit("/app")
    await visitor.open("/admin/mail-server/check")
    page = await visitor.submit("/check")
    assert "Checking …" in page.text
    await visitor.open("/admin/mail-server/addresses")
    await visitor.submit("/addresses", test_address="changed@fabrikam.com")
    for _step in STEPS:
        gate.release()
    await anyio.wait_all_tasks_blocked()
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert (draft.test_address, draft.verified_at_us) == ("changed@fabrikam.com", None)


async def test_saving_ends_the_run_before_it_can_bring_the_draft_back(house: House, gate: asyncio.Semaphore) -> None:
    visitor = await house.administrator()
    draft = replace(full_draft(), secret_ends_on=date(2030, 1, 1))
    await house.store.mail_servers.keep_draft(draft)
    await visitor.open("/admin/mail-server/check")
    csrf_token = visitor.form_values("/check")["csrf_token"]
    await visitor.submit("/check")
    await anyio.wait_all_tasks_blocked()
    page = await visitor.post("/admin/mail-server/save", {"csrf_token": csrf_token, "anyway": "on"})
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/test?said=saved-anyway"
    assert house.checks.has_ended, "its renewed token would be the draft's only, and not that of what is live"
    for _step in STEPS:
        gate.release()
    await anyio.wait_all_tasks_blocked()
    assert await house.store.mail_servers.load_draft() is None


async def test_ending_a_run_twice_lets_it_tidy_up(house: House) -> None:
    is_tidying, may_end = asyncio.Event(), asyncio.Event()
    kept: list[str] = []

    async def renewing(_draft: MailServerDraft) -> AsyncIterator[Finding]:
        try:
            yield Finding("resolve", "Resolve", FindingState.PASS)
            await asyncio.Event().wait()
        finally:
            is_tidying.set()
            await may_end.wait()
            kept.append("the renewed token")

    verifications = Verifications(house.clock, renewing, house.rooms.shutdown)
    await until_found(await verifications.start(full_draft()), 1)
    closers = [asyncio.create_task(verifications.close())]
    await is_tidying.wait()
    closers.append(asyncio.create_task(verifications.close()))
    await anyio.wait_all_tasks_blocked()
    assert not any(closer.done() for closer in closers)
    may_end.set()
    await asyncio.gather(*closers)
    assert kept == ["the renewed token"]


async def read_stream(visitor: Visitor, told: list[str]) -> None:
    answer = await visitor.client.get("/admin/mail-server/check/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told.append(answer.text)


async def test_the_stream_ends_when_the_server_stops(house: House, gate: asyncio.Semaphore) -> None:
    visitor = await house.administrator()
    await house.store.mail_servers.keep_draft(replace(full_draft(), secret_ends_on=None))
    await visitor.open("/admin/mail-server/app")
    await visitor.submit("/app")
    await visitor.open("/admin/mail-server/check")
    await visitor.submit("/check")
    told: list[str] = []
    async with anyio.create_task_group() as group:
        group.start_soon(read_stream, visitor, told)
        gate.release()
        await anyio.wait_all_tasks_blocked()
        assert told == []
        house.rooms.shutdown.set()
    assert "evidence of resolve" in told[0]
    assert told[0].endswith("event: done\ndata: done\n\n")
