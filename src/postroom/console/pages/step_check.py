"""Step Check and save: the real path tried step by step while the person watches, and then the settings go live."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.responses import Response, StreamingResponse

from postroom.console.drafts import missing_before_check
from postroom.console.pages.step import load_draft, load_draft_to_change, server_parameter, step_page
from postroom.console.problems import way_of
from postroom.console.verification import Verification
from postroom.console.visit import Visit
from postroom.remedies import fill, remedy
from postroom.store.records import AuditEntry, MailServerDraft

_HEARTBEAT_SECONDS = 15


async def show(visit: Visit) -> Response:
    draft = await load_draft(visit)
    missing = missing_before_check(draft)
    return await step_page(
        visit, "check", draft, missing=missing, **_section(draft, visit.desk.verifications.of(draft))
    )


async def run(visit: Visit) -> Response:
    draft = await load_draft(visit)
    if not missing_before_check(draft):
        await visit.desk.verifications.start(draft)
    return visit.go("/admin/mail-server/check")


async def stream(visit: Visit) -> Response:
    """The findings as an event stream: each event is the whole section anew, the last one is `done`."""
    events = _events(visit, await load_draft(visit))
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def save(visit: Visit) -> Response:
    """Make the draft live. Without passed checks only when the person says so, and that is recorded."""
    draft = await load_draft_to_change(visit)  # with the token that a run which is still going has renewed
    if missing_before_check(draft):
        return visit.go("/admin/mail-server/check")
    is_verified = draft.verified_at_us is not None
    if not is_verified and not visit.form.is_on("anyway"):
        return visit.go("/admin/mail-server/check", said="not-verified")
    if not is_verified:
        await visit.rooms.store.audit.record(_saved_anyway(visit, draft))
    saved = await visit.rooms.store.mail_servers.save(draft, visit.who, visit.address)
    said = "saved" if is_verified else "saved-anyway"
    return visit.go("/admin/mail-server/test", said=said, **server_parameter(saved))


def _saved_anyway(visit: Visit, draft: MailServerDraft) -> AuditEntry:
    latest = visit.desk.verifications.of(draft)
    failed = [finding.title for finding in latest.findings if finding.state == "fail"] if latest else []
    after = f"Saved although these checks failed: {', '.join(failed)}" if failed else "Saved without checks that passed"
    return AuditEntry(visit.now_us, visit.who, visit.address, "mail server saved anyway", draft.host, "", after)


async def _events(visit: Visit, draft: MailServerDraft) -> AsyncIterator[str]:
    verification = visit.desk.verifications.of(draft)
    shutdown = visit.rooms.shutdown
    is_running = verification is not None
    while is_running and verification is not None and not shutdown.is_set():
        next_change = verification.next_change()
        is_running = verification.is_running
        current = await load_draft(visit)  # a run that passed has noted so in the draft
        yield _event(visit.fragment("parts/findings.html", draft=current, **_section(current, verification)))
        while is_running and not await _is_set_within_a_heartbeat(next_change, shutdown):
            yield ": still running\n\n"
    yield "event: done\ndata: done\n\n"


async def _is_set_within_a_heartbeat(*events: asyncio.Event) -> bool:
    """Whether one of them is set before the stream should show that it lives."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=_HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    return any(event.is_set() for event in events)


def _event(text: str) -> str:
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"


def _section(draft: MailServerDraft, verification: Verification | None) -> dict[str, object]:
    """What the list of findings shows: all of one moment, though more may come while the page is made."""
    seen = replace(verification, findings=[*verification.findings]) if verification else None
    failed = [finding for finding in seen.findings if finding.failure] if seen else []
    return {
        "verification": seen,
        "remedies": {
            finding.check_id: fill(remedy(finding.failure.remedy_id), _values(draft))
            for finding in failed
            if finding.failure
        },
    }


def _values(draft: MailServerDraft) -> dict[str, str]:
    return {
        "username": draft.username,
        "mailbox": draft.mailbox_address or draft.username,
        "sender": draft.sender,
        "host": draft.host,
        "port": str(draft.port),
        "email_type": draft.email_type.value.upper(),
        "ehlo_name": draft.ehlo_name,
        "recipient": draft.test_address,
        "tenant": draft.tenant,
        "client_id": draft.client_id,
        "way": way_of(draft.authentication),
    }
