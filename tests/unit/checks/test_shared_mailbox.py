"""A shared mailbox with the token of a member: a mailbox other than the Username, by SMTP and by Graph."""

import base64

import pytest

from postroom.checks.finding import FindingState
from postroom.checks.run import verify_mail_server
from postroom.clock import SystemClock
from postroom.identity.draft_book import DRAFT_MAILBOX_ID, DraftBook
from postroom.identity.tokens import TokenKeeper
from postroom.store.records import EmailType, MailServerDraft
from tests.unit.checks.test_run import Rehearsed, rehearsed

__all__ = ["rehearsed"]

pytestmark = pytest.mark.anyio

OFFICE = "office@contoso.com"
SEND = f"https://graph.microsoft.com/v1.0/users/{OFFICE}/sendMail"
MAIL = base64.b64encode(f"From: {OFFICE}\r\nTo: ops@fabrikam.example\r\nSubject: Hello\r\n\r\nHello\r\n".encode())


def share(rehearsed: Rehearsed) -> None:
    """A shared mailbox, of which scanner@contoso.com is a member."""
    office = rehearsed.tenant.add_user(OFFICE, "Office", "A-password-for-nobody-1", is_shared=True)
    for right in ("full_access", "send_as"):
        rehearsed.tenant.grant_right(right, office.object_id, "scanner@contoso.com")


async def keep(_draft: MailServerDraft) -> None:
    """The keeper's rotated token is of no use to the test."""


async def test_by_smtp(rehearsed: Rehearsed) -> None:
    share(rehearsed)
    draft = await rehearsed.sign_in(rehearsed.draft(sender=OFFICE, mailbox_address=OFFICE))
    assert draft.user is not None
    assert draft.user.user_principal_name == "scanner@contoso.com", "the member, not the mailbox"
    checks = verify_mail_server(draft, rehearsed.network, keep, SystemClock(), rehearsed.http)
    findings = [finding async for finding in checks]
    assert {finding.state for finding in findings} <= {FindingState.PASS, FindingState.WARN}, findings


async def test_by_graph(rehearsed: Rehearsed) -> None:
    share(rehearsed)
    draft = rehearsed.draft(
        sender=OFFICE, mailbox_address=OFFICE, email_type=EmailType.GRAPH, host="graph.microsoft.com", port=443
    )
    rehearsed.tenant.add_permission(rehearsed.app.client_id, "Mail.Send")
    rehearsed.tenant.add_permission(rehearsed.app.client_id, "Mail.Send.Shared")
    signed_in = await rehearsed.sign_in(draft)
    keeper = TokenKeeper(DraftBook(signed_in, keep, SystemClock()), rehearsed.http, SystemClock())
    bearer = await keeper.graph_sign_in_for(DRAFT_MAILBOX_ID)
    assert bearer.user == OFFICE
    headers = {"Authorization": f"Bearer {bearer.token}", "Content-Type": "text/plain"}
    answer = await rehearsed.http.post(SEND, headers=headers, content=MAIL)
    assert answer.status_code == 202, answer.text
    assert [message.came_by for message in rehearsed.tenant.messages] == ["Graph"]


async def test_by_graph_a_token_without_the_permission_of_its_own_is_refused(rehearsed: Rehearsed) -> None:
    """Why it is asked for: Mail.Send alone does not do."""
    share(rehearsed)
    draft = rehearsed.draft(email_type=EmailType.GRAPH, host="graph.microsoft.com", port=443)
    rehearsed.tenant.add_permission(rehearsed.app.client_id, "Mail.Send")
    signed_in = await rehearsed.sign_in(draft)
    keeper = TokenKeeper(DraftBook(signed_in, keep, SystemClock()), rehearsed.http, SystemClock())
    bearer = await keeper.graph_sign_in_for(DRAFT_MAILBOX_ID)
    headers = {"Authorization": f"Bearer {bearer.token}", "Content-Type": "text/plain"}
    answer = await rehearsed.http.post(SEND, headers=headers, content=MAIL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ErrorAccessDenied")
