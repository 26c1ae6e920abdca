"""The door: the first administrator, signing in and out, and who may post."""

from pathlib import Path

import anyio
import httpx2
import pytest

from postroom.clock import ManualClock
from postroom.console.session import Brake
from postroom.console.visit import safe_path
from tests.unit.console.visitor import EMAIL, PASSPHRASE, PUBLIC_URL, House, Visitor, open_house

pytestmark = pytest.mark.anyio


async def test_before_the_set_up_every_page_leads_to_it(house: House) -> None:
    page = await house.visitor().open("/deliveries")
    assert page.url == f"{PUBLIC_URL}/setup"
    assert "Create the first administrator" in page.text


async def test_the_link_makes_the_first_administrator_and_signs_in(house: House) -> None:
    visitor = await house.administrator()
    assert "You are the first administrator" in visitor.page.text
    assert "Anna Berg" in visitor.page.text
    cookies = {cookie.name: cookie for cookie in visitor.client.cookies.jar}
    assert "HttpOnly" in cookies["postroom_session"]._rest  # type: ignore[attr-defined]


async def test_a_wrong_link_and_a_short_passphrase_are_said_at_their_fields(house: House) -> None:
    await house.store.people.make_setup_link_token()
    visitor = house.visitor()
    await visitor.open("/setup?token=wrong")
    page = await visitor.submit("/setup", name="Anna", email="anna", passphrase="short")
    assert page.status == 422
    assert "anna is not an e-mail address" in page.text
    assert "at least 12 characters" in page.text
    assert 'value="wrong"' in page.source
    page = await visitor.submit("/setup", name="Anna", email=EMAIL, passphrase=PASSPHRASE)
    assert page.status == 422
    assert "This set-up link is not valid" in page.text


async def test_of_two_set_ups_at_once_one_makes_the_administrator_and_the_other_is_told(house: House) -> None:
    token = await house.store.people.make_setup_link_token()
    first, second = house.visitor(), house.visitor()
    for visitor in (first, second):
        await visitor.open(f"/setup?token={token}")

    async def set_up(visitor: Visitor, email: str) -> None:
        await visitor.submit("/setup", name="Anna", email=email, passphrase=PASSPHRASE)

    async with anyio.create_task_group() as group:
        group.start_soon(set_up, first, "first@contoso.com")
        group.start_soon(set_up, second, "second@contoso.com")

    statuses = sorted((first.page.status, second.page.status))
    assert statuses == [200, 409]
    loser = first if first.page.status == 409 else second
    assert "The first administrator exists already" in loser.page.text
    assert "used this link and became the first administrator" in loser.page.text
    assert "postroom_session" not in loser.client.cookies


async def test_a_used_link_shows_the_way_to_the_sign_in(house: House) -> None:
    await house.administrator()
    page = await house.visitor().open("/setup?token=anything")
    assert "The first administrator exists already" in page.text
    assert "used this link" not in page.text, "whoever holds no link is not told who the administrator is"
    assert not any(form.action == "/setup" for form in page.forms)


async def test_signing_in_leads_to_the_page_that_was_asked_for_and_out_again(house: House) -> None:
    await house.administrator()
    visitor = house.visitor()
    page = await visitor.open("/deliveries?q=status:failed")
    assert page.url.startswith(f"{PUBLIC_URL}/sign-in")
    page = await visitor.submit("/sign-in", email=EMAIL, passphrase=PASSPHRASE)
    assert page.url == f"{PUBLIC_URL}/deliveries?q=status:failed"
    page = await visitor.submit("/sign-out")
    assert "You are signed out" in page.text
    assert (await visitor.open("/")).url.startswith(f"{PUBLIC_URL}/sign-in")


async def test_guessing_is_slowed_for_the_address_and_the_e_mail(house: House) -> None:
    await house.administrator()
    visitor = house.visitor()
    await visitor.open("/sign-in")
    for _attempt in range(3):
        page = await visitor.submit("/sign-in", email=EMAIL, passphrase="a wrong passphrase")
        assert page.status == 422
        assert "The e-mail address or the passphrase is wrong" in page.text
    page = await visitor.submit("/sign-in", email=EMAIL, passphrase=PASSPHRASE)
    assert page.status == 429
    assert "Too many failed attempts. Try again in 1 s." in page.text
    house.clock.advance(1)
    page = await visitor.submit("/sign-in", email=EMAIL, passphrase=PASSPHRASE)
    assert page.url == f"{PUBLIC_URL}/"


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    clock = ManualClock()
    brake = Brake(clock)
    for _failure in range(4):
        brake.note_failure("192.0.2.1", EMAIL)
    clock.advance(-86_400)
    assert brake.wait_seconds("192.0.2.1", EMAIL) == 2
    clock.advance(2)
    assert brake.wait_seconds("192.0.2.1", EMAIL) == 0


async def test_a_form_without_its_token_does_nothing(house: House) -> None:
    visitor = await house.administrator()
    page = await visitor.post("/apps", {"name": "HP", "kind": "Other", "csrf_token": "guessed"})
    assert page.status == 403
    assert "This form is too old" in page.text
    assert await house.store.apps.list() == []


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
async def test_a_form_from_another_site_does_nothing_even_with_its_token(house: House, headers: dict[str, str]) -> None:
    visitor = await house.administrator()
    await visitor.open("/apps/new")
    values = {**visitor.form_values("/apps"), "name": "HP"}
    page = await visitor.post("/apps", values, headers)
    assert page.status == 403
    assert "another site" in page.text
    assert await house.store.apps.list() == []


async def test_a_page_that_refreshes_itself_leaves_when_the_session_ended(house: House) -> None:
    await house.administrator()
    answer = await house.visitor().client.get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/sign-in")


@pytest.mark.parametrize("path", ["/", "/sign-in", "/nothing/here", "/static/console.css"])
async def test_every_answer_has_the_headers_of_security(house: House, path: str) -> None:
    visitor = await house.administrator()
    headers = (await visitor.open(path)).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")


async def test_a_page_that_breaks_says_so_without_the_reason_and_with_the_headers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await house.administrator()

    async def fail(*_arguments: object) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(house.store.messages, "counts", fail)
    page = await visitor.open("/deliveries")
    assert page.status == 500
    assert "Something broke on our side" in page.text
    assert "secret reason" not in page.source
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


async def test_a_form_larger_than_any_of_ours_is_not_read(house: House) -> None:
    visitor = await house.administrator()
    await visitor.open("/apps/new")
    page = await visitor.post("/apps", {**visitor.form_values("/apps"), "name": "x" * 200_000})
    assert page.status == 413


async def test_over_https_the_cookies_are_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data", public_url="https://mail.example.lan") as house:
        token = await house.store.people.make_setup_link_token()
        transport = httpx2.ASGITransport(house.app)
        async with httpx2.AsyncClient(transport=transport, base_url="https://mail.example.lan") as client:
            await client.get("/setup")
            values = {"csrf_token": client.cookies["__Host-postroom_visit"], "token": token, "name": "A"}
            answer = await client.post("/setup", data={**values, "email": EMAIL, "passphrase": PASSPHRASE})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-postroom_session=")
    assert "Secure" in cookie
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()


@pytest.mark.parametrize(
    "text", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\nb"]
)
async def test_after_signing_in_nobody_is_sent_to_another_site(text: str) -> None:
    assert safe_path(text) == "/"


async def test_the_theme_is_kept_and_leads_back(house: House) -> None:
    visitor = await house.administrator()
    await visitor.open("/apps")
    page = await visitor.submit("/theme", theme="dark")
    assert page.url == f"{PUBLIC_URL}/apps"
    assert 'data-theme="dark"' in page.source


async def test_a_rehearsal_is_said_on_every_page(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data", is_rehearsal=True) as house:
        visitor = house.visitor()
        assert "Rehearsal" in (await visitor.open("/setup")).text
        visitor = await house.administrator()
        for path in ("/", "/deliveries", "/apps", "/admin/mail-server", "/nothing"):
            page = await visitor.open(path)
            assert "Rehearsal" in page.text
            assert "http://localhost:8026" in page.source
