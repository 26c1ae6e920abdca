"""Runs the checks of a mail server: each step as it happens, with the server's reply; the first failure ends it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

import httpx2
import msgspec

from postroom.checks.finding import Finding, FindingState
from postroom.checks.graph_steps import GraphSteps
from postroom.checks.mail_server_steps import STEP_SECONDS, MailServerSteps, Step, StepFailed
from postroom.checks.prerequisites import can_work_together
from postroom.clock import Clock
from postroom.deliver.smtp_connection import SmtpFailure
from postroom.errors import PostroomError, SignInTroubleError
from postroom.identity.draft_book import DraftBook, KeepDraft
from postroom.identity.providers import MICROSOFT, Provider, provider_of
from postroom.network import Network
from postroom.outcome import Failure, FailureClass
from postroom.store.records import DialogueLine, EmailType, MailServerDraft

WHOLE_SECONDS = 45.0

# Troubles that make dialling pointless; the page itself shows the others at their fields.
_DIALLED_FIELDS = frozenset({"host", "port", "email_type", "use_tls", "authorities"})


class Steps(Protocol):
    """One walk along the path of a way out."""

    @property
    def dialogue(self) -> Sequence[DialogueLine]: ...
    def in_order(self) -> tuple[Step, ...]: ...
    async def close(self) -> None: ...


async def verify_mail_server(
    draft: MailServerDraft,
    network: Network,
    keep_draft: KeepDraft,
    clock: Clock,
    http: httpx2.AsyncClient,
    provider: Provider = MICROSOFT,
) -> AsyncGenerator[Finding]:
    """The findings of resolve, connect, greeting, tls, token, sign_in, sender and recipient, in the order of the path;
    Microsoft Graph greets nobody, and has its TLS while connecting.

    Settings that cannot work give one more, `settings`, before them. After a failure the rest is `not_run`. A refresh
    token that is rotated on the way is kept through `keep_draft` at once; when every step has passed, so is the draft
    with `verified_at_us`. Each step has 10 seconds, the whole 45. Nothing is sent.
    """
    book = DraftBook(draft, keep_draft, clock)
    walk = GraphSteps if draft.email_type is EmailType.GRAPH else MailServerSteps
    steps = walk(book, network, http, clock, provider_of(draft.cloud, provider))
    async with aclosing(_run(steps, draft)) as findings:
        has_failed = False
        async for finding in findings:
            has_failed = has_failed or finding.state is FindingState.FAIL
            if finding.check_id == "recipient" and not has_failed:
                await keep_draft(msgspec.structs.replace(book.draft, verified_at_us=clock.now_us()))
            yield finding


async def _run(steps: Steps, draft: MailServerDraft) -> AsyncGenerator[Finding]:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + WHOLE_SECONDS
    settings = _judge_settings(draft)
    if settings is not None:
        yield settings
    has_failed = settings is not None
    try:
        for step in steps.in_order():
            if has_failed:
                yield Finding(step.check_id, step.title, FindingState.NOT_RUN)
                continue
            finding = await _take(step, steps, draft, ends_at)
            has_failed = finding.state is FindingState.FAIL
            yield finding
    finally:
        await steps.close()


async def _take(step: Step, steps: Steps, draft: MailServerDraft, ends_at: float) -> Finding:
    """One step, within its limit and what is left of the whole."""
    loop = asyncio.get_running_loop()
    began_at, said_before = loop.time(), len(steps.dialogue)
    state, failure = FindingState.FAIL, None
    try:
        async with asyncio.timeout(min(step.limit_seconds, ends_at - began_at)):
            evidence = await step.take()
        state, failure, text = evidence.state, evidence.failure, evidence.text
    except SmtpFailure as failed:
        failure = failed.outcome.failure
    except SignInTroubleError as trouble:
        failure = trouble.outcome.failure
    except StepFailed as failed:
        failure = failed.failure
    except TimeoutError:
        failure = _too_slow(step, draft)
    except PostroomError as trouble:
        failure = Failure(FailureClass.LOCAL, "store_unavailable", str(trouble), "store_unavailable")
    said = steps.dialogue[said_before:]
    return Finding(
        check_id=step.check_id,
        title=step.title,
        state=state,
        evidence=failure.text if failure and state is FindingState.FAIL else text,
        transcript=tuple(f"{line.who}: {line.text}" for line in said),
        failure=failure,
        duration_ms=round((loop.time() - began_at) * 1000),
    )


def _judge_settings(draft: MailServerDraft) -> Finding | None:
    troubles = [it.sentence for it in can_work_together(draft) if it.field in _DIALLED_FIELDS]
    if not troubles:
        return None
    text = " ".join(troubles)
    failure = Failure(FailureClass.CONFIG, "settings_do_not_fit", text, "settings_do_not_fit")
    return Finding("settings", "Settings", FindingState.FAIL, text, failure=failure)


def _too_slow(step: Step, draft: MailServerDraft) -> Failure:
    is_ours = step.check_id == "token"
    who = "Microsoft's sign-in service" if is_ours else f"{draft.host}:{draft.port}"
    text = f"{who} did not answer within {STEP_SECONDS:.0f} seconds."
    remedy_id = "microsoft_unavailable" if is_ours else "no_connection"
    return Failure(FailureClass.NETWORK, "step_timeout", text, remedy_id)
