"""The Mail Server page, step by step as a person walks it, over a real store."""

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import date

import pytest
from msgspec.structs import replace

from postroom.checks.finding import Finding, FindingState
from postroom.console.announcements import announcement
from postroom.console.problems import Problem
from postroom.console.rooms import ConsoleRooms
from postroom.identity.refused import refuse
from postroom.identity.sign_in import Seat, SignedIn
from postroom.message import MailboxState
from postroom.outcome import Failure, FailureClass, StopCause
from postroom.store.records import Authentication, MailServerDraft, SendRight
from tests.unit.console.visitor import AUTHORIZE_URL, EMAIL, GUID, PUBLIC_URL, House, Visitor, full_draft

pytestmark = pytest.mark.anyio

SMTP_AUTH_OFF = Failure(
    FailureClass.CONFIG,
    "smtp_auth_off_tenant",
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
    "smtp_auth_off_tenant",
    smtp_code=535,
    enhanced="5.7.139",
)
FAILING = Finding("sign_in", "Sign in", FindingState.FAIL, "535 5.7.139", ("C: AUTH XOAUTH2",), SMTP_AUTH_OFF, 12)


async def walk_to_sign_in(visitor: Visitor, **addresses: str) -> None:
    await visitor.open("/admin/mail-server")
    await visitor.submit("/begin")
    await visitor.submit("/server")
    given = {"sender": "scanner@contoso.com", "username": "scanner@contoso.com", "test_address": "you@fabrikam.com"}
    await visitor.submit("/addresses", **{**given, **addresses})
    await visitor.submit("/method", authentication="oauth")
    await visitor.submit("/app", tenant=GUID, client_id=GUID, client_secret="the~secret~value")
    assert visitor.page.url == f"{PUBLIC_URL}/admin/mail-server/sign-in", visitor.page.text


async def sign_in(visitor: Visitor) -> None:
    answer = await visitor.client.get("/admin/mail-server/sign-in/start")
    assert (answer.status_code, answer.headers["location"]) == (303, AUTHORIZE_URL)
    await visitor.open("/oauth/callback?code=good&state=1")


async def run_checks(house: House, visitor: Visitor) -> None:
    await visitor.open("/admin/mail-server/check")
    await visitor.submit("/check")
    latest = None
    async with visitor.client.stream("GET", "/admin/mail-server/check/events") as stream:
        latest = "".join([text async for text in stream.aiter_text()])
    assert latest.endswith("event: done\ndata: done\n\n")
    await visitor.open("/admin/mail-server/check")


async def test_the_fields_stand_under_their_names(house: House) -> None:
    visitor = await house.administrator()
    await visitor.open("/admin/mail-server")
    texts = [(await visitor.submit("/begin")).text]
    texts += [(await visitor.open(f"/admin/mail-server/{step}")).text for step in ("addresses", "method", "app")]
    draft = MailServerDraft(authentication=Authentication.BASIC)
    await house.store.mail_servers.keep_draft(draft)
    texts.append((await visitor.open("/admin/mail-server/password")).text)
    for name in (
        *("Server Name", "Port", "Email Type", "Enable TLS", "Sender Email Address", "Username"),
        *("Test Email Address", "Redirect URL", "Tenant ID", "Client ID", "Client Secret", "Password"),
        *("SMTP.Send", "offline_access", "User.Read", f"{PUBLIC_URL}/oauth/callback"),
    ):
        assert any(name in text for text in texts), name


async def test_the_whole_walk_saves_a_verified_mail_server(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await sign_in(visitor)
    assert "Connected as scanner@contoso.com" in visitor.page.text
    await run_checks(house, visitor)
    assert "evidence of recipient" in visitor.page.text
    page = await visitor.submit("/save")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/test?said=saved"
    live = await house.store.mail_servers.default()
    assert (live.host, live.sender, live.verified_at_us) == (
        "smtp.office365.com",
        "scanner@contoso.com",
        house.clock.now_us(),
    )
    mailbox = await house.store.mailboxes.find(live.mailbox_id)
    assert mailbox.state is MailboxState.READY
    assert await house.store.mail_servers.load_draft() is None


async def test_the_secret_is_never_on_a_page_again(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    page = await visitor.open("/admin/mail-server/app")
    assert "the~secret~value" not in page.source
    assert "it ends in …alue" in page.text


async def test_a_secret_typed_beside_a_mistake_is_not_lost(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await house.store.mail_servers.discard_draft()
    await visitor.open("/admin/mail-server/app")
    page = await visitor.submit("/app", tenant="common", client_id=GUID, client_secret="shown~once")
    assert page.status == 422
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.client_secret == "shown~once"


async def test_the_secret_id_is_not_taken_for_the_secret(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await visitor.open("/admin/mail-server/app")
    page = await visitor.submit("/app", client_secret=GUID)
    assert page.status == 422
    assert "This looks like the Secret ID" in page.text
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.client_secret == "the~secret~value"


async def test_the_block_of_the_script_fills_in_all_four_fields(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    page = await visitor.open("/admin/mail-server/app")
    assert "Switches Authenticated SMTP on for scanner@contoso.com" in page.text
    values = {"tenant": GUID, "client_id": GUID, "client_secret": "of~the~script", "secret_ends_on": "2028-01-02"}
    block = "POSTROOM-SETUP:" + base64.b64encode(json.dumps(values).encode()).decode()
    page = await visitor.submit("/app", setup_block=block[:-9])
    assert page.status == 422
    assert "This is not the whole block" in page.text
    assert block[:40] not in page.source, "it holds the secret"
    page = await visitor.submit("/app", setup_block=block)
    assert page.status == 200
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert (draft.tenant, draft.client_id, draft.client_secret) == (GUID, GUID, "of~the~script")
    assert draft.secret_ends_on == date(2028, 1, 2)


async def test_the_date_is_prefilled_with_the_longest_life_of_a_secret(house: House) -> None:
    visitor = await house.administrator()
    await visitor.open("/admin/mail-server/app")
    assert visitor.form_values("/app")["secret_ends_on"] == "2028-09-20"  # 730 days after the test's clock


async def test_a_mistake_is_told_in_a_summary_and_at_its_field(house: House) -> None:
    visitor = await house.administrator()
    await visitor.open("/admin/mail-server/server")
    page = await visitor.submit("/server", port="465")
    assert page.status == 422
    assert '<a href="#port">' in page.source
    assert 'id="trouble-port"' in page.source
    assert 'aria-describedby="hint-port trouble-port"' in page.source
    assert await house.store.mail_servers.load_draft() is None


async def test_send_on_behalf_is_asked_for_with_the_real_commands(house: House) -> None:
    visitor = await house.administrator()
    await visitor.open("/admin/mail-server/addresses")
    page = await visitor.submit(
        "/addresses", sender="noreply@contoso.com", username="scanner@contoso.com", test_address="you@fabrikam.com"
    )
    assert page.status == 422
    command = 'Set-Mailbox -Identity noreply@contoso.com -GrantSendOnBehalfTo @{Add="scanner@contoso.com"}'
    assert command in page.text
    page = await visitor.submit("/addresses", send_right_is_granted="on")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/method"
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.send_right is SendRight.SEND_ON_BEHALF


async def test_another_account_is_refused_with_both_names_and_nothing_is_saved(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    before = await house.store.mail_servers.load_draft()
    house.sign_ins.refusal = refuse(
        "account_mismatch",
        "You signed in as anna@contoso.com but the username is scanner@contoso.com. Nothing was saved.",
        "account_mismatch",
    )
    await visitor.client.get("/admin/mail-server/sign-in/start")
    page = await visitor.open("/oauth/callback?code=good&state=1")
    assert page.status == 422
    assert "anna@contoso.com" in page.text
    assert "Try again as scanner@contoso.com" in page.text
    assert await house.store.mail_servers.load_draft() == before
    await visitor.client.get("/admin/mail-server/sign-in/start?choose=yes")
    assert house.sign_ins.started[-1][3] is True


async def test_a_username_that_changed_during_the_sign_in_is_not_connected(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await visitor.client.get("/admin/mail-server/sign-in/start")
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    await house.store.mail_servers.keep_draft(replace(draft, username="other@contoso.com"))
    page = await visitor.open("/oauth/callback?code=good&state=1")
    assert page.status == 422
    assert "The settings were changed during the sign-in" in page.text
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.refresh_token == ""


async def test_the_callback_of_a_browser_without_session_says_where_to_paste_its_address(house: House) -> None:
    await house.administrator()
    page = await house.visitor().open("/oauth/callback?code=good&state=1")
    assert (page.status, "did not begin the sign-in" in page.text) == (403, True)
    assert "code=good" not in page.source


async def test_a_failed_check_shows_the_card_with_the_real_values_and_does_not_save(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await sign_in(visitor)
    house.checks.failing = FAILING
    await run_checks(house, visitor)
    text = visitor.page.text
    assert "SmtpClientAuthentication is disabled for the Tenant" in text
    assert "Set-CASMailbox -Identity scanner@contoso.com -SmtpClientAuthenticationDisabled $false" in text
    assert "Who can do it: Exchange administrator" in text
    assert "not run" in text
    page = await visitor.post("/admin/mail-server/save", visitor.form_values("/check"))
    assert "Not saved yet" in page.text
    assert not (await house.store.mail_servers.default()).is_set_up


async def test_a_failure_that_comes_while_the_page_is_made_stands_on_the_next_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await sign_in(visitor)
    house.checks.failing, house.checks.gate = FAILING, asyncio.Semaphore(0)

    async def look_for_problems_slowly(_rooms: ConsoleRooms) -> list[Problem]:
        assert house.checks.gate is not None
        for _ in range(100):
            house.checks.gate.release()
            await asyncio.sleep(0)
        return []

    await visitor.open("/admin/mail-server/check")
    monkeypatch.setattr("postroom.console.visit.find_problems", look_for_problems_slowly)
    page = await visitor.submit("/check")
    assert house.checks.has_ended, "every finding came while the page was made"
    assert (page.status, "SmtpClientAuthentication is disabled" in page.text) == (200, False)
    assert "SmtpClientAuthentication is disabled" in (await visitor.open("/admin/mail-server/check")).text


async def test_saving_anyway_is_possible_says_so_and_is_in_the_audit(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await sign_in(visitor)
    house.checks.failing = FAILING
    await run_checks(house, visitor)
    page = await visitor.submit("/save")
    assert "Saved without passed checks" in page.text
    live = await house.store.mail_servers.default()
    assert (live.is_set_up, live.verified_at_us) == (True, None)
    assert "saved without passed checks" in (await visitor.open("/admin/mail-server")).text
    entries = await house.store.audit.recent(10)
    told = next(entry for entry in entries if entry.action == "mail server saved anyway")
    assert (told.who, told.after) == (EMAIL, "Saved although these checks failed: Sign in")


async def test_a_change_after_the_checks_needs_them_again(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await sign_in(visitor)
    await run_checks(house, visitor)
    await visitor.open("/admin/mail-server/addresses")
    await visitor.submit("/addresses", test_address="another@fabrikam.com")
    page = await visitor.open("/admin/mail-server/check")
    assert "Run the checks" in page.text
    assert "evidence of recipient" not in page.text
    page = await visitor.post("/admin/mail-server/save", visitor.form_values("/check"))
    assert "Not saved yet" in page.text


async def test_what_is_missing_is_named_before_checking(house: House) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    page = await visitor.open("/admin/mail-server/check")
    assert "Something is still missing" in page.text
    assert not any(form.action.endswith("/check") for form in page.forms)


async def test_basic_asks_for_the_password_with_microsofts_date_beside_it(house: House) -> None:
    visitor = await house.administrator()
    await house.store.mail_servers.keep_draft(replace(full_draft(), refresh_token="", user=None))
    await visitor.open("/admin/mail-server/method")
    assert "OAuth recommended" in visitor.page.text
    page = await visitor.submit("/method", authentication="basic")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/password"
    assert "end of December 2026" in page.text
    assert f"As of {announcement('basic_authentication').as_of:%d %b %Y}" in page.text
    page = await visitor.submit("/password", password=" pass word ")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/check"
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.password == " pass word "


async def test_what_is_set_up_is_summed_up_and_edited_as_a_draft(house: House) -> None:
    visitor = await house.administrator()
    await house.set_up()
    page = await visitor.open("/admin/mail-server")
    assert "unproved" in page.text
    assert "Contoso Scanner" in page.text
    page = await visitor.submit("/edit")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/server"
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert (draft.sender, draft.client_secret) == ("scanner@contoso.com", "the~secret~value")
    page = await visitor.open("/admin/mail-server")
    assert "There are changes that are not live yet" in page.text
    page = await visitor.submit("/discard")
    assert await house.store.mail_servers.load_draft() is None


async def test_the_checks_of_what_is_live_run_on_a_copy(house: House) -> None:
    visitor = await house.administrator()
    await house.set_up()
    await visitor.open("/admin/mail-server")
    page = await visitor.submit("/run-checks")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/check"
    assert (await house.store.mail_servers.default()).is_set_up


async def keep_pending_change(house: House) -> MailServerDraft:
    """Live is one thing, and somebody has begun to change the test address."""
    await house.set_up()
    pending = replace(full_draft(), test_address="changed@fabrikam.com")
    await house.store.mail_servers.keep_draft(pending)
    return pending


@pytest.mark.parametrize("action", ["/edit", "/sign-in-again"])
async def test_changes_that_are_not_live_are_gone_on_with(house: House, action: str) -> None:
    visitor = await house.administrator()
    await keep_pending_change(house)
    await visitor.open("/admin/mail-server")
    await visitor.submit(action)
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.test_address == "changed@fabrikam.com", "only Discard throws it away"
    await visitor.open("/admin/mail-server")
    await visitor.submit("/discard")
    await visitor.submit(action)
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.test_address == "you@fabrikam.com"


async def test_checks_of_what_is_live_wait_for_a_decision_about_changes(house: House) -> None:
    visitor = await house.administrator()
    pending = await keep_pending_change(house)
    await visitor.open("/admin/mail-server")
    page = await visitor.submit("/run-checks")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server?said=changes-first"
    assert "Nothing was checked: there are changes that are not live yet" in page.text
    assert await house.store.mail_servers.load_draft() == pending
    await visitor.submit("/discard")
    for _time in ("once", "and once more, over the copy that the first time made"):
        await visitor.open("/admin/mail-server")
        page = await visitor.submit("/run-checks")
        assert page.url == f"{PUBLIC_URL}/admin/mail-server/check"


async def test_what_was_entered_while_microsoft_answered_stays(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = await house.administrator()
    await walk_to_sign_in(visitor)
    await visitor.client.get("/admin/mail-server/sign-in/start")
    mail_servers, complete = house.store.mail_servers, house.sign_ins.complete

    async def complete_while_another_tab_saves(seat: Seat, params: Mapping[str, str]) -> SignedIn:
        draft = await mail_servers.load_draft()
        assert draft is not None
        await mail_servers.keep_draft(replace(draft, test_address="changed@fabrikam.com"))
        return await complete(seat, params)

    monkeypatch.setattr(house.sign_ins, "complete", complete_while_another_tab_saves)
    page = await visitor.open("/oauth/callback?code=good&state=1")
    assert "The sign-in is complete" in page.text
    draft = await mail_servers.load_draft()
    assert draft is not None
    assert (draft.refresh_token, draft.test_address) == ("refresh", "changed@fabrikam.com")


async def test_disconnecting_forgets_the_copy_of_the_sign_in_in_a_draft(house: House) -> None:
    visitor = await house.administrator()
    await house.set_up()
    await visitor.open("/admin/mail-server")
    await visitor.submit("/edit")
    await visitor.open("/admin/mail-server")
    await visitor.submit("/disconnect", confirmation="disconnect")
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert (draft.refresh_token, draft.client_secret, draft.password) == ("", "", "")
    assert draft.sender == "scanner@contoso.com"


async def test_a_stopped_mailbox_is_a_problem_with_its_cause_its_effect_and_the_way_out(house: House) -> None:
    visitor = await house.administrator()
    await house.set_up()
    live = await house.store.mail_servers.default()
    ended = Failure(FailureClass.IDENTITY, "sign_in_ended", "AADSTS50173: revoked", "sign_in_ended", trace="trace 1a2b")
    await house.store.mailboxes.stop(live.mailbox_id, ended, StopCause.SIGN_IN, None)
    house.clock.advance(180)
    page = await visitor.open("/")
    assert "Not sending" in page.text
    assert "The stored sign-in has ended" in page.text
    assert "No mail leaves through scanner@contoso.com" in page.text
    assert "3 min ago" in page.text
    assert "trace 1a2b" in page.text
    assert "Sign in again" in page.text
    await visitor.open("/admin/mail-server")
    page = await visitor.submit("/resume")
    assert "The mailbox tries again now" in page.text
    assert (await house.store.mailboxes.find(live.mailbox_id)).state is MailboxState.READY


async def test_signing_in_again_begins_with_what_is_live(house: House) -> None:
    visitor = await house.administrator()
    await house.set_up()
    await visitor.open("/admin/mail-server")
    page = await visitor.submit("/sign-in-again")
    assert page.url == f"{PUBLIC_URL}/admin/mail-server/sign-in"
    assert "Sign in to Microsoft as" in page.text
    assert "Connected as" not in page.text, "the sign-in may be what has ended"
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert (draft.refresh_token, draft.granted_at_us) == ("", None)
    assert draft.user is not None, "another account is still refused"


async def test_disconnecting_wants_the_word(house: House) -> None:
    visitor = await house.administrator()
    await house.set_up()
    live = await house.store.mail_servers.default()
    await visitor.open("/admin/mail-server")
    page = await visitor.submit("/disconnect", confirmation="yes")
    assert "Nothing was done" in page.text
    page = await visitor.submit("/disconnect", confirmation="Disconnect")
    assert "Disconnected" in page.text
    assert (await house.store.mailboxes.find(live.mailbox_id)).state is MailboxState.DISCONNECTED
    assert "The mailbox is disconnected" in (await visitor.open("/")).text


async def test_a_secret_near_its_end_needs_attention(house: House) -> None:
    from datetime import date

    visitor = await house.administrator()
    await house.set_up(secret_ends_on=date(2026, 10, 1))  # the test's clock stands at 21 September 2026
    page = await visitor.open("/")
    assert "Needs attention (1)" in page.text
    assert "The client secret expires in 10 days" in page.text
    assert "expires in 10 days" in (await visitor.open("/admin/mail-server")).text
