"""Signing in to Microsoft over the API: in any browser, completed with the address on which it ended."""

from typing import Any

import httpx2
import pytest

from postroom.message import MailboxState
from postroom.outcome import Failure, FailureClass, StopCause
from tests.unit.api.caller_of import REDIRECT_URL, House
from tests.unit.identity.pretend_entra import CLIENT_SECRET, OBJECT_ID, TENANT, oauth_draft

pytestmark = pytest.mark.anyio

LIVE, DRAFT = "/api/v1/mail-servers/default/oauth", "/api/v1/mail-servers/draft/oauth"


async def set_up(house: House, **fields: Any) -> int:
    """A mail server whose sign-in has ended; its mailbox."""
    draft = oauth_draft(refresh_token="old-refresh", scopes=("SMTP.Send",), granted_at_us=1, **fields)
    server = await house.store.mail_servers.save(draft, "test")
    ended = Failure(FailureClass.IDENTITY, "sign_in_ended", "It has ended.", "sign_in_ended")
    await house.store.mailboxes.stop(server.mailbox_id, ended, StopCause.SIGN_IN, None)
    return server.mailbox_id


async def begin(client: httpx2.AsyncClient, path: str = LIVE) -> dict[str, Any]:
    answer = await client.post(f"{path}/start", json={})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def complete(client: httpx2.AsyncClient, address: str, path: str = LIVE) -> httpx2.Response:
    return await client.post(f"{path}/complete", json={"redirected_url": address})


async def test_what_is_set_up_is_signed_in_anew_and_sends_again(house: House) -> None:
    mailbox_id = await set_up(house)
    begun = await begin(house.client)
    assert begun["redirect_url"] == REDIRECT_URL
    assert (await house.client.get(LIVE)).json()["waiting_until"] == begun["expires_at"]
    address = house.entra.address_of(begun["authorize_url"])
    answer = await complete(house.client, address)
    told = answer.json()
    assert (told["signed_in_as"], told["missing_permissions"]) == ("scanner@contoso.onmicrosoft.com", [])
    assert (told["was_repeated"], told["waiting_until"]) == (False, None)
    grant = await house.store.mailboxes.open_grant(mailbox_id)
    assert (grant.refresh_token, grant.client_secret) == ("refresh-2", CLIENT_SECRET)
    assert grant.user is not None
    assert (grant.user.object_id, grant.user.tenant_id) == (OBJECT_ID, TENANT), "pinned"
    assert (await house.store.mailboxes.find(mailbox_id)).state is MailboxState.READY
    assert "refresh-2" not in answer.text
    entry = (await house.store.audit.recent(1))[0]
    assert (entry.action, entry.target) == ("signed in to Microsoft", "scanner@contoso.com")
    assert (await complete(house.client, address)).json()["was_repeated"] is True


async def test_a_pause_of_a_person_outlives_a_sign_in(house: House) -> None:
    mailbox_id = await set_up(house)
    await house.store.mailboxes.pause(mailbox_id, "test")
    begun = await begin(house.client)
    assert (await complete(house.client, house.entra.address_of(begun["authorize_url"]))).status_code == 200
    assert (await house.store.mailboxes.find(mailbox_id)).cause == StopCause.PAUSED


async def test_the_draft_keeps_it_until_it_is_saved(house: House) -> None:
    await house.store.mail_servers.keep_draft(oauth_draft())
    assert (await house.client.get(DRAFT)).json()["signed_in_as"] is None
    begun = await begin(house.client, DRAFT)
    await complete(house.client, house.entra.address_of(begun["authorize_url"]), DRAFT)
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.refresh_token == "refresh-2"
    assert (await house.client.get(DRAFT)).json()["signed_in_as"] == "scanner@contoso.onmicrosoft.com"


async def test_only_who_began_completes_it(house: House) -> None:
    await set_up(house)
    begun = await begin(house.administrator)
    address = house.entra.address_of(begun["authorize_url"])
    answer = await complete(house.client, address)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["errors"][0]["code"]) == (
        422,
        "sign_in_refused",
        "sign_in_elsewhere",
    )
    assert (await complete(house.administrator, address)).status_code == 200


async def test_another_account_is_refused_with_reason_and_step_and_changes_nothing(house: House) -> None:
    mailbox_id = await set_up(house, username="printer@contoso.com")
    begun = await begin(house.client)
    problem = (await complete(house.client, house.entra.address_of(begun["authorize_url"]))).json()
    assert problem["detail"].startswith("You signed in as scanner@contoso.onmicrosoft.com but the username is printer")
    assert problem["remedy"].startswith("Sign in again as printer@contoso.com")
    assert (await house.store.mailboxes.open_grant(mailbox_id)).refresh_token == "old-refresh"
    assert (await house.store.mailboxes.find(mailbox_id)).state is MailboxState.STOPPED


async def test_settings_that_changed_meanwhile_take_nothing(house: House) -> None:
    await set_up(house)
    begun = await begin(house.client)
    await set_up(house, client_id="99999999-2222-3333-4444-555555555555")
    problem = (await complete(house.client, house.entra.address_of(begun["authorize_url"]))).json()
    assert problem["errors"][0]["code"] == "sign_in_settings_changed"


async def test_a_sign_in_service_that_is_away_is_no_refusal(house: House) -> None:
    await set_up(house)
    begun = await begin(house.client)
    house.entra.answers = [httpx2.ConnectError("no route")]
    answer = await complete(house.client, house.entra.address_of(begun["authorize_url"]))
    assert (answer.status_code, answer.json()["code"]) == (503, "sign_in_service_unavailable")


async def test_a_wrong_paste_repeats_nothing_of_it(house: House) -> None:
    await set_up(house)
    await begin(house.client)
    answer = await complete(house.client, "http://localhost:8025/?code=secret-code")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "pasted_not_an_address")
    assert "secret-code" not in answer.text


async def test_where_nobody_signs_in_it_says_so(house: House) -> None:
    answer = await house.client.get(DRAFT)
    assert (answer.status_code, "No mail server is being set up" in answer.text) == (409, True)
    await house.store.mail_servers.keep_draft(oauth_draft(authentication="basic"))
    assert "signs in with a password" in (await house.client.post(f"{DRAFT}/start", json={})).text
