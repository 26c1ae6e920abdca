"""Renew secret, as a person walks it: from the problem to the page, and back again within a day."""

import pytest

from postroom.errors import SignInTroubleError
from postroom.outcome import Failure, FailureClass, StopCause, Stopped, TryLater
from postroom.store.records import Authentication
from tests.unit.console.visitor import EMAIL, PUBLIC_URL, House, Visitor

pytestmark = pytest.mark.anyio

WRONG = Failure(FailureClass.CONFIG, "client_refused", "AADSTS7000215: Invalid client secret provided", "secret_wrong")
AWAY = Failure(FailureClass.NETWORK, "sign_in_unavailable", "No answer: no route", "microsoft_unavailable")


async def open_page(house: House) -> Visitor:
    await house.set_up()
    visitor = await house.administrator()
    await visitor.open("/admin/mail-server")
    assert "Renew secret" in visitor.page.text
    server = await house.store.mail_servers.default()
    link = visitor.page.source.partition('/secret"')[0].rpartition('"')[2] + "/secret"
    await visitor.open(link)
    assert visitor.page.status == 200
    assert server.host in visitor.page.text
    return visitor


async def secret_of(house: House) -> str:
    server = await house.store.mail_servers.default()
    return (await house.store.mailboxes.open_grant(server.mailbox_id)).client_secret


async def test_it_is_renewed_and_taken_back(house: House) -> None:
    visitor = await open_page(house)
    await visitor.submit("/secret", client_secret="new~secret", secret_ends_on="2029-01-31")
    assert "Microsoft accepts the new secret" in visitor.page.text
    assert "The secret of before" in visitor.page.text
    assert "expires on 31 Jan 2029" in visitor.page.text
    assert "secret~value" not in visitor.page.source + str(visitor.page.headers)
    assert await secret_of(house) == "new~secret"
    await visitor.submit("/back")
    assert "it is used again" in visitor.page.text
    assert await secret_of(house) == "the~secret~value"
    entries = await house.store.audit.recent(2)
    assert [(entry.who, entry.action) for entry in entries] == [(EMAIL, "renewed client secret")] * 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"client_secret": ""}, "Enter the Client Secret"),
        ({"client_secret": "11111111-2222-3333-4444-555555555555"}, "looks like the Secret ID"),
        ({"client_secret": "new~secret", "secret_ends_on": "soon"}, "soon is not a date"),
        ({"client_secret": "new~secret", "secret_ends_on": ""}, "Enter the date"),
    ],
)
async def test_what_was_mistyped_is_told_before_anything_is_asked(
    house: House, values: dict[str, str], sentence: str
) -> None:
    visitor = await open_page(house)
    page = await visitor.submit("/secret", **values)
    assert (page.status, sentence in page.text) == (422, True), page.text
    assert await secret_of(house) == "the~secret~value"


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        (Stopped(WRONG, StopCause.CREDENTIAL), "The client secret is wrong"),
        (TryLater(AWAY), "Microsoft"),
    ],
)
async def test_what_microsoft_refuses_changes_nothing_and_says_what_to_do(
    house: House, outcome: Stopped | TryLater, title: str
) -> None:
    visitor = await open_page(house)
    house.secrets.trouble = SignInTroubleError(outcome)
    page = await visitor.submit("/secret", client_secret="bad~secret", secret_ends_on="2029-01-31")
    assert page.status == 422
    assert title in page.text
    assert "Nothing was changed" in page.text
    assert "2029-01-31" in page.source, "the date needs no typing again"
    assert "bad~secret" not in page.source
    assert await secret_of(house) == "the~secret~value"


async def test_a_sign_in_that_has_ended_is_told_beside_it(house: House) -> None:
    visitor = await open_page(house)
    house.secrets.ended = Stopped(WRONG, StopCause.SIGN_IN)
    page = await visitor.submit("/secret", client_secret="new~secret", secret_ends_on="2029-01-31")
    assert "wants somebody to sign in again" in page.text


async def test_the_problem_leads_here(house: House) -> None:
    visitor = await open_page(house)
    server = await house.store.mail_servers.default()
    await house.store.mailboxes.stop(server.mailbox_id, WRONG, StopCause.CREDENTIAL, None)
    for path in ("/", "/admin/mail-server"):
        page = await visitor.open(path)
        assert '/secret" role="button">Renew secret</a>' in page.source, path


async def test_a_password_has_no_client_secret(house: House) -> None:
    await house.set_up(authentication=Authentication.BASIC, password="x")
    visitor = await house.administrator()
    page = await visitor.open("/admin/mail-servers/default/secret")
    assert page.url.startswith(f"{PUBLIC_URL}/admin/mail-servers")
    assert "Renew secret" not in (await visitor.open("/admin/mail-server")).text


async def test_what_somebody_disconnected_meanwhile_is_no_error(house: House) -> None:
    visitor = await open_page(house)
    here, values = visitor.page.url, visitor.form_values("/secret")
    server = await house.store.mail_servers.default()
    await house.store.mailboxes.disconnect(server.mailbox_id, EMAIL)
    for page in (
        await visitor.post(here, {**values, "client_secret": "new~secret", "secret_ends_on": "2029-01-31"}),
        await visitor.post(f"{here}/back", values),
        await visitor.open(here),
    ):
        assert (page.status, page.url) == (200, f"{PUBLIC_URL}/admin/mail-servers")
