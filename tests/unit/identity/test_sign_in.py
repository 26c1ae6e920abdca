"""A person signs in: there and back, with everything that can be wrong on the way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest

from postroom.clock import ManualClock
from postroom.identity.profile import LicenceState, judge_licences, read_licence
from postroom.identity.providers import MICROSOFT
from postroom.identity.sign_in import LIFETIME_US, Seat, SignedIn, SignInRefused, SignIns, settings_changed
from postroom.network import Internet, Rehearsal
from postroom.outcome import FailureClass
from postroom.store.records import EmailType, MailServerDraft, SendRight, SignedInUser
from tests.unit.identity.pretend_entra import (
    CLIENT_SECRET,
    OBJECT_ID,
    SMTP_SEND,
    TENANT,
    USER_READ,
    PretendEntra,
    entra_error,
    oauth_draft,
)

REDIRECT = "http://localhost:8025/oauth/callback"
SESSION = Seat("session-1", "draft")
PINNED = SignedInUser(OBJECT_ID, TENANT, "scanner@contoso.onmicrosoft.com", addresses=("scanner@contoso.com",))


class Walk:
    """SignIns before a pretend Entra, and the way there and back."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.entra = PretendEntra(self.clock)
        self.http = self.entra.client()
        self.sign_ins = SignIns(self.http, self.clock, Internet())
        self.kept: list[MailServerDraft] = []

    async def keep(self, signed_in: MailServerDraft) -> None:
        self.kept.append(signed_in)

    def start(self, draft: MailServerDraft | None = None, seat: Seat = SESSION, **options: bool) -> str:
        """Begin, and let Entra remember the nonce; the state is returned."""
        begun = self.sign_ins.begin(draft or oauth_draft(), seat, REDIRECT, self.keep, **options)
        query = parse_qs(urlsplit(begun.url).query)
        self.entra.nonce = query["nonce"][0]
        return query["state"][0]

    async def sign_in(self, draft: MailServerDraft | None = None) -> MailServerDraft:
        return (await self.sign_ins.complete(SESSION, {"state": self.start(draft), "code": "code-1"})).draft

    async def paste(self, text: str, seat: Seat = SESSION) -> SignedIn:
        return await self.sign_ins.complete_pasted(seat, text, REDIRECT)

    async def refused(self, draft: MailServerDraft | None = None) -> SignInRefused:
        with pytest.raises(SignInRefused) as refused:
            await self.sign_in(draft)
        assert "Nothing was saved" in str(refused.value)
        assert self.kept == []
        return refused.value


@pytest.fixture
async def walk() -> AsyncIterator[Walk]:
    walk = Walk()
    yield walk
    await walk.http.aclose()


@pytest.mark.anyio
async def test_a_sign_in_fills_the_draft(walk: Walk) -> None:
    draft = await walk.sign_in(oauth_draft(verified_at_us=7))
    assert draft.user == SignedInUser(
        object_id=OBJECT_ID,
        tenant_id=TENANT,
        user_principal_name="scanner@contoso.onmicrosoft.com",
        display_name="Scanner",
        mail="scanner@contoso.com",
        addresses=("scanner@contoso.onmicrosoft.com", "scanner@contoso.com", "kopierer@contoso.com"),
    )
    assert draft.refresh_token == "refresh-2", "the rotated one, from the request for Graph"
    assert {SMTP_SEND, USER_READ} <= set(draft.scopes)
    assert draft.granted_at_us == walk.clock.now_us()
    assert draft.verified_at_us is None
    code_form, graph_form = walk.entra.forms
    assert (code_form["code"], code_form["redirect_uri"]) == ("code-1", REDIRECT)
    assert code_form["client_secret"] == CLIENT_SECRET
    assert graph_form["refresh_token"] == "refresh-1", "Graph's token comes from the same sign-in"
    assert graph_form["scope"].startswith(USER_READ)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "username",
    ["SCANNER@Contoso.com", "scanner@contoso.onmicrosoft.com", "kopierer@contoso.com", " scanner@contoso.com"],
)
async def test_the_username_is_matched_with_every_address_of_the_account(walk: Walk, username: str) -> None:
    assert (await walk.sign_in(oauth_draft(username=username))).user is not None


@pytest.mark.anyio
async def test_an_address_for_telephony_does_not_match(walk: Walk) -> None:
    walk.entra.me |= {"mail": None, "proxyAddresses": ["sip:scanner@contoso.com"]}
    assert (await walk.refused()).code == "account_mismatch"


@pytest.mark.anyio
async def test_another_account_is_refused_with_both_names(walk: Walk) -> None:
    refusal = await walk.refused(oauth_draft(username="printer@contoso.com"))
    assert (refusal.code, refusal.remedy_id) == ("account_mismatch", "account_mismatch")
    assert str(refusal) == (
        "You signed in as scanner@contoso.onmicrosoft.com but the username is printer@contoso.com. Nothing was saved."
    )


@pytest.mark.anyio
async def test_preferred_username_is_never_believed(walk: Walk) -> None:
    walk.entra.claims = {"preferred_username": "printer@contoso.com"}
    assert (await walk.refused(oauth_draft(username="printer@contoso.com"))).code == "account_mismatch"


@pytest.mark.anyio
async def test_the_same_person_may_sign_in_again(walk: Walk) -> None:
    assert (await walk.sign_in(oauth_draft(user=PINNED))).user is not None


@pytest.mark.anyio
@pytest.mark.parametrize("addresses", [("scanner@contoso.com",), ()])
async def test_the_same_name_with_another_object_behind_it_is_refused(walk: Walk, addresses: tuple[str, ...]) -> None:
    pinned = msgspec.structs.replace(PINNED, object_id="an-older-object", addresses=addresses)
    refusal = await walk.refused(oauth_draft(user=pinned))
    assert (refusal.code, refusal.remedy_id) == ("account_changed", "account_changed")
    assert "an-older-object" in str(refusal)
    assert OBJECT_ID in str(refusal)


@pytest.mark.anyio
async def test_a_username_that_was_changed_on_purpose_unpins(walk: Walk) -> None:
    before = SignedInUser("another-object", TENANT, "printer@contoso.com", addresses=("printer@contoso.com",))
    draft = await walk.sign_in(oauth_draft(user=before))
    assert draft.user is not None
    assert draft.user.object_id == OBJECT_ID


@pytest.mark.anyio
async def test_the_profile_must_be_that_of_the_id_token(walk: Walk) -> None:
    walk.entra.me |= {"id": "somebody-else"}
    refusal = await walk.refused()
    assert "two different accounts" in str(refusal)


@pytest.mark.anyio
async def test_a_repeated_callback_gets_the_same_result_and_asks_nobody(walk: Walk) -> None:
    params = {"state": walk.start(), "code": "code-1"}
    first, second = await asyncio.gather(
        walk.sign_ins.complete(SESSION, params), walk.sign_ins.complete(SESSION, params)
    )
    third = await walk.sign_ins.complete(SESSION, params)
    assert first == second, "two at once are one"
    assert (third.draft, third.is_repeated) == (first.draft, True)
    assert walk.kept == [first.draft], "a repeated callback changes nothing"
    assert [form["grant_type"] for form in walk.entra.forms] == ["authorization_code", "refresh_token"]


@pytest.mark.anyio
async def test_a_state_counts_once(walk: Walk) -> None:
    state = walk.start()
    await walk.sign_ins.complete(SESSION, {"state": state, "code": "code-1"})
    with pytest.raises(SignInRefused, match="has already been used") as refused:
        await walk.sign_ins.complete(SESSION, {"state": state, "code": "code-2"})
    assert refused.value.remedy_id == "sign_in_restart"
    assert len(walk.entra.forms) == 2


@pytest.mark.anyio
async def test_a_callback_of_another_browser_is_refused_and_spoils_nothing(walk: Walk) -> None:
    params = {"state": walk.start(), "code": "code-1"}
    with pytest.raises(SignInRefused, match="begun in another browser or session"):
        await walk.sign_ins.complete(Seat("session-2", "draft"), params)
    assert walk.entra.forms == []
    assert (await walk.sign_ins.complete(SESSION, params)).draft.user is not None


@pytest.mark.anyio
@pytest.mark.parametrize("params", [{}, {"state": "made-up", "code": "code-1"}, {"error": "access_denied"}])
async def test_a_callback_that_nobody_began_is_refused(walk: Walk, params: dict[str, str]) -> None:
    walk.start()
    with pytest.raises(SignInRefused, match="is not known any more"):
        await walk.sign_ins.complete(SESSION, params)


@pytest.mark.anyio
async def test_an_attempt_lives_for_fifteen_minutes(walk: Walk) -> None:
    late, early = walk.start(), walk.start()
    walk.clock.advance(LIFETIME_US / 1_000_000 - 1)
    assert (await walk.sign_ins.complete(SESSION, {"state": early, "code": "c"})).draft.user is not None
    walk.clock.advance(1)
    with pytest.raises(SignInRefused, match="it took too long") as refused:
        await walk.sign_ins.complete(SESSION, {"state": late, "code": "c"})
    assert refused.value.code == "sign_in_expired"


@pytest.mark.anyio
async def test_a_browser_that_goes_away_does_not_break_the_sign_in(walk: Walk) -> None:
    params = {"state": walk.start(), "code": "code-1"}
    callback = asyncio.ensure_future(walk.sign_ins.complete(SESSION, params))
    await asyncio.sleep(0)
    callback.cancel()
    with pytest.raises(asyncio.CancelledError):
        await callback
    assert (await walk.sign_ins.complete(SESSION, params)).draft.refresh_token == "refresh-2"
    assert len(walk.entra.forms) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("description", "error", "remedy_id"),
    [
        ("AADSTS65004: User declined to consent to access the app.", "access_denied", "consent_declined"),
        ("AADSTS90094: The grant requires admin permissions.", "access_denied", "admin_approval_needed"),
        ("AADSTS50105: Not assigned to a role.", "access_denied", "account_unknown"),
        ("AADSTS70011: The scope does not exist.", "invalid_scope", "permission_missing"),
        ("AADSTS90033: A transient error has occurred.", "server_error", "microsoft_unavailable"),
    ],
)
async def test_an_error_that_comes_back_is_explained(walk: Walk, description: str, error: str, remedy_id: str) -> None:
    params = {"state": walk.start(), "error": error, "error_description": description + "\r\nTrace ID: 1"}
    with pytest.raises(SignInRefused) as refused:
        await walk.sign_ins.complete(SESSION, params)
    assert (refused.value.code, refused.value.remedy_id) == (remedy_id, remedy_id)
    assert str(refused.value) == f"{description} Nothing was saved."
    assert walk.entra.forms == []


@pytest.mark.anyio
async def test_a_permission_that_was_not_granted_is_named(walk: Walk) -> None:
    walk.entra.smtp_scope = "https://outlook.office.com/IMAP.AccessAsUser.All openid"
    refusal = await walk.refused()
    assert (refusal.code, refusal.remedy_id) == ("scope_missing", "permission_missing")
    assert "did not grant SMTP.Send to the app" in str(refusal)
    assert "(granted: IMAP.AccessAsUser.All, openid)" in str(refusal)
    assert refusal.failure.failure_class is FailureClass.PERMISSION


@pytest.mark.anyio
async def test_without_a_refresh_token_nothing_is_kept(walk: Walk) -> None:
    walk.entra.rotates = False
    refusal = await walk.refused()
    assert "did not grant offline_access" in str(refusal)


@pytest.mark.anyio
async def test_a_wrong_secret_is_explained_by_its_number(walk: Walk) -> None:
    walk.entra.answers = [entra_error("invalid_client", 7000215, 401)]
    refusal = await walk.refused()
    assert (refusal.code, refusal.remedy_id) == ("secret_wrong", "secret_wrong")
    assert refusal.failure.trace is not None
    assert "0d1c-trace" in refusal.failure.trace
    assert CLIENT_SECRET not in repr(refusal.failure)


@pytest.mark.anyio
async def test_missing_consent_for_the_profile_is_refused(walk: Walk) -> None:
    walk.entra.answers = [walk.entra.issue, entra_error("invalid_grant", 65001, suberror="consent_required")]
    assert (await walk.refused()).remedy_id == "admin_approval_needed"


@pytest.mark.anyio
async def test_a_bad_id_token_is_refused(walk: Walk) -> None:
    walk.entra.claims = {"nonce": "of-another-sign-in"}
    assert (await walk.refused()).code == "id_token_refused"


@pytest.mark.anyio
async def test_the_issuer_is_the_one_of_the_tenant(walk: Walk) -> None:
    walk.entra.issuer = "https://login.microsoftonline.com/99999999-0000-0000-0000-000000000000/v2.0"
    assert "it was issued by" in str(await walk.refused(oauth_draft(tenant="contoso.com")))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("response", "code"),
    [
        (httpx2.Response(503), "sign_in_unavailable"),
        (httpx2.Response(200, html="<html>"), "sign_in_unavailable"),
        (httpx2.Response(403, json={"error": {"code": "Denied", "message": "No."}}), "profile_unreadable"),
    ],
)
async def test_a_graph_that_does_not_tell_is_named(walk: Walk, response: httpx2.Response, code: str) -> None:
    walk.entra.me_response = response
    assert (await walk.refused()).code == code


@pytest.mark.anyio
async def test_no_network_says_so(walk: Walk) -> None:
    walk.entra.answers = [httpx2.ConnectError("connection refused")]
    refusal = await walk.refused()
    assert (refusal.code, refusal.remedy_id) == ("sign_in_unavailable", "microsoft_unavailable")
    assert "connection refused" in str(refusal)


@pytest.mark.anyio
async def test_what_is_missing_is_said_before_the_browser_goes_anywhere(walk: Walk) -> None:
    with pytest.raises(SignInRefused, match="Fill in Username and Client Secret before signing in"):
        walk.start(oauth_draft(username="", client_secret=""))
    with pytest.raises(SignInRefused, match="also lets other organisations' accounts sign in"):
        walk.start(oauth_draft(tenant="common"))


@pytest.mark.anyio
async def test_in_a_rehearsal_the_browser_goes_to_localhost(walk: Walk) -> None:
    from postroom.simulator.authority import Authority

    pem = Authority.create().pem.decode()
    rehearsal = Rehearsal({}, pem, "http://localhost:8026")
    begun = SignIns(walk.http, walk.clock, rehearsal).begin(oauth_draft(), SESSION, REDIRECT, walk.keep)
    assert begun.url.startswith(f"http://localhost:8026/{TENANT}/oauth2/v2.0/authorize?")


def address_of(state: str, answer: str = "code=secret-code-1") -> str:
    return f"{REDIRECT}?{answer}&state={state}&session_state=s"


@pytest.mark.anyio
@pytest.mark.parametrize("wrap", ["{}", "  {}\n", "http://localhost:9999{}", "{}#_=_"])
async def test_the_address_on_which_it_ended_is_as_good_as_coming_back(walk: Walk, wrap: str) -> None:
    address = address_of(walk.start())
    if "9999" in wrap:
        address = address.removeprefix("http://localhost:8025")
    assert (await walk.paste(wrap.format(address))).draft.user is not None
    assert len(walk.kept) == 1


@pytest.mark.anyio
async def test_an_address_that_a_terminal_broke_into_lines_is_read(walk: Walk) -> None:
    address = address_of(walk.start())
    assert (await walk.paste(f"{address[:60]}\n{address[60:]}")).draft.user is not None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pasted", "code", "sentence"),
    [
        ("", "pasted_nothing", "Nothing was pasted"),
        ("x" * 20_000, "pasted_not_an_address", "longer than any address"),
        ("http://[::1", "pasted_not_an_address", "not an address"),
        ("localhost:8025", "pasted_not_an_address", "not the whole address"),
        ("1.AXoA-secret-code-1", "pasted_not_an_address", "not the whole address"),
        ("http://localhost:8025/admin/mail-server?x=1", "pasted_another_page", "another page"),
        (
            "https://login.microsoftonline.com/t/oauth2/v2.0/authorize?client_id=1&state=STATE",
            "pasted_microsofts_page",
            "not finished there",
        ),
        (REDIRECT, "pasted_without_code", "holds no answer of Microsoft"),
        (f"{REDIRECT}?state=STATE", "pasted_without_code", "holds no answer of Microsoft"),
        (f"{REDIRECT}?code=secret-code-1", "pasted_without_state", "cut off"),
        (f"{REDIRECT}?code=secret-code-1&state=another", "sign_in_unknown", "not known any more"),
    ],
)
async def test_each_wrong_paste_has_its_own_sentence_and_the_attempt_lives_on(
    walk: Walk, pasted: str, code: str, sentence: str
) -> None:
    state = walk.start()
    with pytest.raises(SignInRefused) as refused:
        await walk.paste(pasted.replace("STATE", state))
    assert refused.value.code == code
    assert sentence in str(refused.value)
    assert "Nothing was saved" in str(refused.value)
    assert "secret-code" not in repr(refused.value.failure), "the code is repeated nowhere"
    assert walk.entra.forms == []
    assert (await walk.paste(address_of(state))).draft.user is not None


@pytest.mark.anyio
async def test_a_refusal_of_microsofts_that_is_pasted_is_explained(walk: Walk) -> None:
    answer = "error=access_denied&error_description=AADSTS65004%3A+User+declined+to+consent."
    with pytest.raises(SignInRefused, match="User declined to consent") as refused:
        await walk.paste(address_of(walk.start(), answer))
    assert refused.value.code == "consent_declined"


@pytest.mark.anyio
async def test_what_is_pasted_twice_is_told_as_such(walk: Walk) -> None:
    address = address_of(walk.start())
    assert not (await walk.paste(address)).is_repeated
    assert (await walk.paste(address)).is_repeated
    assert len(walk.kept) == 1
    walk.entra.claims = {"nonce": "of-another-sign-in"}
    address = address_of(walk.start())
    for sentence in ("belongs to another sign-in", "was pasted before, and did not help: The ID token"):
        with pytest.raises(SignInRefused, match=sentence):
            await walk.paste(address)


@pytest.mark.anyio
async def test_an_address_of_another_sign_in_is_refused_and_spoils_nothing(walk: Walk) -> None:
    other = Seat(SESSION.browser, "ms 2")
    address = address_of(walk.start(seat=other))
    with pytest.raises(SignInRefused, match=r"belongs to another sign-in, as scanner@contoso.com") as refused:
        await walk.paste(address)
    assert refused.value.code == "sign_in_for_another"
    assert (await walk.paste(address, other)).draft.user is not None


@pytest.mark.anyio
async def test_what_was_given_up_cannot_be_completed(walk: Walk) -> None:
    address = address_of(walk.start())
    assert walk.sign_ins.waiting_until_us(SESSION) is not None
    walk.sign_ins.give_up("draft")
    assert walk.sign_ins.waiting_until_us(SESSION) is None
    with pytest.raises(SignInRefused, match="not known any more"):
        await walk.paste(address)


@pytest.mark.anyio
async def test_a_place_that_changed_meanwhile_takes_nothing(walk: Walk) -> None:
    async def keep(_signed_in: MailServerDraft) -> None:
        raise settings_changed()

    walk.keep = keep  # type: ignore[method-assign,assignment]
    with pytest.raises(SignInRefused, match="settings were changed during the sign-in"):
        await walk.sign_in()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fields",
    [{"mailbox_address": "office@contoso.com"}, {"sender": "office@contoso.com", "send_right": SendRight.SEND_AS}],
)
async def test_graph_is_asked_for_the_right_to_send_for_another(walk: Walk, fields: dict[str, Any]) -> None:
    """Microsoft Learn, "Send Outlook messages from another user": Mail.Send.Shared."""
    draft = oauth_draft(email_type=EmailType.GRAPH, **fields)
    walk.entra.smtp_scope = f"{MICROSOFT.graph_mail_scope} openid"
    walk.entra.graph_scope = f"{MICROSOFT.graph_mail_scope} {USER_READ}"
    refusal = await walk.refused(draft)
    assert "did not grant Mail.Send.Shared to the app" in str(refusal)
    walk.entra.graph_scope += f" {MICROSOFT.graph_shared_mail_scope}"
    assert MICROSOFT.graph_shared_mail_scope in (await walk.sign_in(draft)).scopes
    assert MICROSOFT.graph_shared_mail_scope in walk.entra.forms[-2]["scope"].split()


def licences(*plans: tuple[str, str]) -> bytes:
    listed = [{"servicePlanName": name, "provisioningStatus": status} for name, status in plans]
    return msgspec.json.encode({"value": [{"skuPartNumber": "X", "servicePlans": listed}]})


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (licences(("EXCHANGE_S_FOUNDATION", "Success"), ("EXCHANGE_S_ENTERPRISE", "Success")), LicenceState.LICENSED),
        (licences(("EXCHANGE_S_STANDARD", "PendingProvisioning")), LicenceState.PENDING),
        (licences(("EXCHANGE_S_STANDARD", "Disabled")), LicenceState.NOT_LICENSED),
        (licences(("EXCHANGE_S_FOUNDATION", "Success"), ("MIP_S_Exchange", "Success")), LicenceState.NOT_LICENSED),
        (b'{"value": []}', LicenceState.NOT_LICENSED),
    ],
)
def test_a_licence_is_one_with_a_mailbox(body: bytes, state: LicenceState) -> None:
    assert judge_licences(body).state is state


@pytest.mark.anyio
async def test_a_licence_that_may_not_be_read_is_unknown(walk: Walk) -> None:
    note = await read_licence(walk.http, MICROSOFT, "access-1")
    assert (note.state, note.text) == (LicenceState.UNKNOWN, "licence unknown: Microsoft Graph answered 403")
