"""The expiry calendar on the pages: what ends, and what is a problem before it does."""

from datetime import timedelta

import pytest

from postroom.clock import DAY_US, date_at
from postroom.console.announcements import announcement
from postroom.console.problems import basic_problems
from postroom.store.records import Authentication
from tests.unit.console.visitor import House

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("days", "is_problem"), [(61, False), (60, True), (1, True), (-1, True)])
async def test_a_client_secret_is_told_from_60_days_before(house: House, days: int, is_problem: bool) -> None:
    today = date_at(house.clock.now_us())
    await house.set_up(secret_ends_on=today + timedelta(days=days), granted_at_us=house.clock.now_us())
    visitor = await house.administrator()
    page = await visitor.open("/")
    assert ("Client secret for scanner@contoso.com" in page.text) is True
    assert ("Renew secret" in page.text) is is_problem
    assert ("needs attention" in page.text) is is_problem


@pytest.mark.parametrize(("idle_days", "is_problem"), [(29, False), (30, True)])
async def test_a_sign_in_that_nothing_renews_is_told(house: House, idle_days: int, is_problem: bool) -> None:
    await house.set_up(granted_at_us=house.clock.now_us())
    house.clock.advance(idle_days * 86_400)
    visitor = await house.administrator()
    page = await visitor.open("/")
    told = "The sign-in of scanner@contoso.com could not be renewed for a month"
    assert (told in page.text) is is_problem


async def test_a_password_at_microsoft_is_a_problem_once_their_date_is_near(house: House) -> None:
    await house.set_up(authentication=Authentication.BASIC, password="x")
    server = await house.store.mail_servers.default()
    on = announcement("basic_authentication").on
    assert on is not None
    until = (on - date_at(0)).days
    assert basic_problems([server], (until - 61) * DAY_US) == []
    [problem] = basic_problems([server], (until - 60) * DAY_US)
    assert "retiring Basic authentication" in problem.title
    assert "As of 23 Nov 2026" in problem.effect
    await house.set_up(host="relay.example.lan", authentication=Authentication.BASIC, password="x")
    assert basic_problems([await house.store.mail_servers.default()], until * DAY_US) == []
