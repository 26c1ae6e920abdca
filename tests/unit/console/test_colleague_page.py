"""A colleague signs in for a mailbox without an account here: by a link that works once."""

import re

import pytest

from postroom.clock import DAY_US
from tests.unit.console.test_sign_in_pages import STEP, at_the_step
from tests.unit.console.visitor import AUTHORIZE_URL, EMAIL, PUBLIC_URL, House, Visitor

pytestmark = pytest.mark.anyio

CALLBACK = "/oauth/callback?code=good&state=1"


async def make_link(house: House) -> tuple[Visitor, str]:
    """The administrator, and the token of the link that was made."""
    administrator = await at_the_step(house)
    page = await administrator.submit("/sign-in/link")
    [token] = re.findall(rf"{PUBLIC_URL}/colleague#token=([\w-]+)", page.source)
    await administrator.open(STEP)
    assert token not in administrator.page.source, "shown once"
    return administrator, token


async def open_link(house: House, token: str) -> Visitor:
    colleague = house.visitor()
    await colleague.open("/colleague")
    await colleague.submit("/colleague", token=token)
    return colleague


async def test_a_colleague_sees_what_is_asked_signs_in_and_both_see_that_it_is_done(house: House) -> None:
    administrator, token = await make_link(house)
    assert "Nobody has opened it yet" in administrator.page.text
    colleague = await open_link(house, token)
    for told in (EMAIL, "scanner@contoso.com", "SMTP.Send", "send mail as the mailbox"):
        assert told in colleague.page.text
    for kept in ("you@fabrikam.com", "smtp.office365.com", "the~secret~value", token):
        assert kept not in colleague.page.source, "the link tells nothing else"
    assert "It was opened" in (await administrator.open(STEP)).text
    answer = await colleague.client.get("/colleague/start")
    assert answer.headers["location"] == AUTHORIZE_URL
    page = await colleague.open(CALLBACK)
    assert (page.url, "Done" in page.text) == (f"{PUBLIC_URL}/colleague", True)
    page = await administrator.open(STEP)
    assert "The link was used: somebody signed in as scanner@contoso.com" in page.text
    assert "Connected as scanner@contoso.com" in page.text
    entries = {(entry.who, entry.action) for entry in await house.store.audit.recent(5)}
    assert (EMAIL, "made sign-in link") in entries
    assert (f"scanner@contoso.com by a link of {EMAIL}", "signed in to Microsoft") in entries


async def test_it_works_once(house: House) -> None:
    _, token = await make_link(house)
    first, second = await open_link(house, token), await open_link(house, token)
    await first.client.get("/colleague/start")
    await first.open(CALLBACK)
    await second.client.get("/colleague/start")
    assert len(house.sign_ins.started) == 1, "nothing is begun by a used link"
    assert "works no more" in (await second.open("/colleague")).text


async def test_what_was_withdrawn_during_the_sign_in_keeps_nothing(house: House) -> None:
    administrator, token = await make_link(house)
    colleague = await open_link(house, token)
    await colleague.client.get("/colleague/start")
    await administrator.submit("/sign-in/withdraw")
    assert "was withdrawn" in administrator.page.text
    page = await colleague.open(CALLBACK)
    assert (page.status, "can no longer be used" in page.text) == (422, True)
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    assert draft.refresh_token == ""


async def test_who_did_not_begin_cannot_end_it(house: House) -> None:
    administrator, token = await make_link(house)
    colleague, other = await open_link(house, token), await open_link(house, token)
    await colleague.client.get("/colleague/start")
    assert "begun in another browser" in (await other.open(CALLBACK)).text
    assert (await house.visitor().open(CALLBACK)).status == 403
    assert "did not begin the sign-in" in (await administrator.open(CALLBACK)).text
    assert "Done" in (await colleague.open(CALLBACK)).text


async def test_where_microsoft_cannot_return_the_colleague_pastes(house: House) -> None:
    _, token = await make_link(house)
    colleague = await open_link(house, token)
    await colleague.open("/colleague", {"host": "192.168.1.5:8025"})
    await colleague.submit("/colleague/begin")
    assert AUTHORIZE_URL in colleague.page.text
    page = await colleague.submit("/colleague/paste", address=f"{PUBLIC_URL}/?code=good")
    assert (page.status, "not the whole address" in page.text) == (422, True)
    page = await colleague.submit("/colleague/paste", address=f"{PUBLIC_URL}{CALLBACK}")
    assert "Done" in page.text


async def test_it_ends_after_a_day_and_with_the_settings_it_was_made_for(house: House) -> None:
    _, token = await make_link(house)
    colleague = await open_link(house, token)
    draft = await house.store.mail_servers.load_draft()
    assert draft is not None
    await house.store.mail_servers.discard_draft()
    assert "can no longer be used" in (await colleague.open("/colleague")).text
    await house.store.mail_servers.keep_draft(draft)
    assert "Sign in to Microsoft as" in (await colleague.open("/colleague")).text
    house.clock.advance(DAY_US / 1_000_000)
    assert "can no longer be used" in (await colleague.open("/colleague")).text
    await colleague.client.get("/colleague/start")
    assert house.sign_ins.started == []


async def test_guessing_is_slowed_and_learns_nothing(house: House) -> None:
    _, token = await make_link(house)
    guesser = house.visitor()
    await guesser.open("/colleague")
    for _ in range(3):
        page = await guesser.submit("/colleague", token="guessed")
        assert (page.status, "There is no such link" in page.text) == (422, True)
    page = await guesser.submit("/colleague", token=token)
    assert (page.status, "Too many wrong codes" in page.text) == (429, True)


async def test_a_newer_link_takes_the_place_of_the_one_before(house: House) -> None:
    administrator, token = await make_link(house)
    await administrator.submit("/sign-in/link")
    assert "There is no such link" in (await open_link(house, token)).page.text
