"""The watch over the browser is not blind: what must fail a journey is seen."""

import pytest

from tests.journeys.person import Person
from tests.journeys.watched import Watched

pytestmark = pytest.mark.anyio


async def test_what_goes_wrong_is_noted(person: Person, watched: Watched) -> None:
    page = person.page
    await person.open_setup_link()
    assert watched.troubles == []

    async with page.expect_event("console"):
        await page.evaluate("document.head.append(Object.assign(document.createElement('script'), {text: '1'}))")
    assert "Content Security Policy" in watched.troubles.pop()

    async with page.expect_event("response"):
        await page.evaluate("fetch('/nothing')")
    async with page.expect_event("pageerror"):
        await page.evaluate("setTimeout(() => { throw new Error('fell over') })")
    await page.route("**/cut-off", lambda route: route.abort("connectionreset"))
    async with page.expect_event("requestfailed"):
        await page.evaluate("fetch('/cut-off').catch(() => 0)")
    noted = "\n".join(watched.troubles)
    assert "status of 404" in noted
    assert "script: " in noted
    assert "request: " in noted
    watched.troubles.clear()
