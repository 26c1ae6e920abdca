"""Apps & devices: made, shown once, changed, disabled."""

import re

import pytest

from tests.unit.console.visitor import PUBLIC_URL, House, Visitor

pytestmark = pytest.mark.anyio


async def make_app(house: House, **fields: str) -> Visitor:
    visitor = await house.administrator()
    await house.set_up()
    await visitor.open("/apps")
    given = {"name": "HP 2nd floor", "kind": "Printer or scanner", "senders": "scanner@contoso.com\nhp@contoso.com"}
    await visitor.submit("/apps", **{**given, **fields})
    return visitor


def shown_password(visitor: Visitor) -> str:
    found = re.search(r'id="sheet-password">(\w{24})<', visitor.page.source)
    assert found, visitor.page.text
    return found.group(1)


async def test_the_password_is_shown_once_with_the_settings(house: House) -> None:
    visitor = await make_app(house)
    password = shown_password(visitor)
    for value in ("127.0.0.1", "2587", "STARTTLS", "hp-2nd-floor", "mail.example.lan"):
        assert value in visitor.page.text
    app = await house.store.apps.authenticate("hp-2nd-floor", password)
    assert app is not None
    assert app.senders == ("scanner@contoso.com", "hp@contoso.com")
    page = await visitor.open("/apps")
    assert "HP 2nd floor" in page.text
    assert "Never used" in page.text
    assert password not in page.source


async def test_a_name_and_proper_senders_are_asked_for(house: House) -> None:
    visitor = await make_app(house, name=" ", senders="scanner")
    assert visitor.page.status == 422
    assert "Enter a name" in visitor.page.text
    assert "scanner is not an e-mail address" in visitor.page.text
    assert await house.store.apps.list() == []


async def test_a_new_password_ends_the_old_one(house: House) -> None:
    visitor = await make_app(house)
    old = shown_password(visitor)
    [app] = await house.store.apps.list()
    await visitor.open("/apps")
    link = re.search(r'href="(/apps/\w{13})"', visitor.page.source)
    assert link
    await visitor.open(link.group(1))
    await visitor.submit("/password")
    new = shown_password(visitor)
    assert await house.store.apps.authenticate(app.login, old) is None
    assert await house.store.apps.authenticate(app.login, new) is not None


async def test_disabling_senders_and_enabling(house: House) -> None:
    visitor = await make_app(house)
    password = shown_password(visitor)
    link = re.search(r'href="(/apps/\w{13})"', visitor.page.source)
    assert link
    await visitor.open(link.group(1))
    page = await visitor.submit("/senders", senders="new@contoso.com")
    assert page.url == f"{PUBLIC_URL}{link.group(1)}?said=senders"
    page = await visitor.submit("/disable")
    assert "may no longer hand in mail" in page.text
    assert await house.store.apps.authenticate("hp-2nd-floor", password) is None
    page = await visitor.submit("/enable")
    app = await house.store.apps.authenticate("hp-2nd-floor", password)
    assert app is not None
    assert app.senders == ("new@contoso.com",)


async def test_names_are_text_and_never_markup(house: House) -> None:
    visitor = await make_app(house, name="<b onmouseover=alert(1)>HP</b>")
    page = await visitor.open("/apps")
    assert "<b onmouseover" not in page.source
    assert "&lt;b onmouseover" in page.source
