"""Step Sign in where the browser does not come back by itself, and under which address the console is opened."""

from datetime import date
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.console.visitor import AUTHORIZE_URL, EMAIL, PUBLIC_URL, House, Page, Visitor, full_draft, open_house

pytestmark = pytest.mark.anyio

STEP = "/admin/mail-server/sign-in"
PASTED = f"{PUBLIC_URL}/oauth/callback?code=good&state=1"


async def at_the_step(house: House) -> Visitor:
    """An administrator who has entered everything but the sign-in."""
    visitor = await house.administrator()
    draft = replace(full_draft(), refresh_token="", scopes=(), user=None, secret_ends_on=date(2029, 1, 31))
    await house.store.mail_servers.keep_draft(draft)
    await visitor.open(STEP)
    assert visitor.page.status == 200
    return visitor


async def test_the_address_is_pasted_where_the_browser_that_signs_in_is_another(house: House) -> None:
    visitor = await at_the_step(house)
    page = await visitor.submit("/sign-in/begin")
    assert AUTHORIZE_URL in page.text, "to be opened on another computer"
    page = await visitor.submit("/sign-in/paste", address=PASTED)
    assert "The sign-in is complete" in page.text
    assert "Connected as scanner@contoso.com" in page.text
    page = await visitor.post(f"{STEP}/paste", {"address": PASTED, **csrf_of(visitor)})
    assert "had been taken before" in page.text
    [entry] = [entry for entry in await house.store.audit.recent(9) if "Microsoft" in entry.action]
    assert (entry.who, entry.action, entry.target) == (EMAIL, "signed in to Microsoft", "scanner@contoso.com")


async def test_a_wrong_paste_says_what_to_copy_and_never_shows_it_again(house: House) -> None:
    visitor = await at_the_step(house)
    await visitor.submit("/sign-in/begin")
    page = await visitor.submit("/sign-in/paste", address="http://localhost:8025/?code=good")
    assert page.status == 422
    assert "not the whole address" in page.text
    assert f"begins with {PUBLIC_URL}/oauth/callback?" in page.text
    assert "code=good" not in page.source
    assert "The sign-in is complete" in (await visitor.submit("/sign-in/paste", address=PASTED)).text


async def test_where_microsoft_cannot_return_to_pasting_is_the_way(tmp_path: Path) -> None:
    async with open_house(tmp_path / "lan", public_url="http://mail.example.lan:8025") as house:
        visitor = await at_the_step(house)
        assert "The sign-in cannot return here by itself" in visitor.page.text
        assert "http://localhost:8025/oauth/callback" in visitor.page.text
        page = await visitor.submit("/sign-in/begin")
        assert house.sign_ins.started[-1][2] == "http://localhost:8025/oauth/callback"
        page = await visitor.submit("/sign-in/paste", address=PASTED)
        assert "Connected as scanner@contoso.com" in page.text


async def test_the_redirect_url_is_that_of_the_settings_whatever_a_client_says(tmp_path: Path) -> None:
    async with open_house(tmp_path / "proxy", public_url="https://mail.example.com") as house:
        visitor = await at_the_step(house)
        lies = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "http"}
        page = await visitor.open("/admin/mail-server/app", lies)
        assert "https://mail.example.com/oauth/callback" in page.text
        assert "evil.example" not in page.source
        assert hint_of(page).endswith('data-public-origin="https://mail.example.com" >'), "the mismatch is said"
        await visitor.client.get("/admin/mail-server/sign-in/start", headers=lies)
        assert house.sign_ins.started[-1][2] == "https://mail.example.com/oauth/callback"
        behind = {"host": "127.0.0.1:8025", "x-forwarded-host": "mail.example.com"}
        page = await visitor.open("/admin/mail-server/app", behind)
        assert hint_of(page).endswith("hidden>")


def hint_of(page: Page) -> str:
    found = page.source.partition("data-public-origin")
    return "data-public-origin" + found[2].partition(">")[0] + ">"


def csrf_of(visitor: Visitor) -> dict[str, str]:
    return {"csrf_token": visitor.form_values("/theme")["csrf_token"]}
