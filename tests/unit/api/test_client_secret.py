"""Renewing a client secret over the API."""

from datetime import date

import pytest

from postroom.errors import SignInTroubleError
from postroom.outcome import Failure, FailureClass, StopCause, Stopped, TryLater
from tests.unit.api.caller_of import House
from tests.unit.pretend_secrets import PretendSecrets

pytestmark = pytest.mark.anyio

PATH = "/api/v1/mail-servers/default/secret"
NEW = {"client_secret": "new~secret", "ends_on": "2029-01-31"}
FAILURE = Failure(FailureClass.CONFIG, "client_refused", "AADSTS7000215: Invalid client secret.", "secret_wrong")


async def test_renewed_and_taken_back_without_ever_showing_it(house: House) -> None:
    answer = await house.client.post(PATH, json=NEW)
    told = answer.json()
    assert (told["ends_on"], told["needs_sign_in"]) == ("2029-01-31", False)
    assert told["old_secret_kept_until"]
    assert "new~secret" not in answer.text
    server = await house.store.mail_servers.default()
    grant = await house.store.mailboxes.open_grant(server.mailbox_id)
    assert (grant.client_secret, grant.secret_ends_on) == ("new~secret", date(2029, 1, 31))
    await house.client.post(PATH, json={**NEW, "client_secret": "newer~secret"})
    assert (await house.client.post(f"{PATH}/back")).json()["ends_on"] == "2029-01-31"
    assert (await house.store.mailboxes.open_grant(server.mailbox_id)).client_secret == "new~secret"


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (Stopped(FAILURE, StopCause.CREDENTIAL), 422, "client_secret_refused"),
        (TryLater(FAILURE), 503, "sign_in_service_unavailable"),
    ],
)
async def test_a_refusal_has_microsofts_words_a_code_and_a_step(
    house: House, outcome: Stopped | TryLater, status: int, code: str
) -> None:
    desk = house.room.client_secrets
    assert isinstance(desk, PretendSecrets)
    desk.trouble = SignInTroubleError(outcome)
    for path, body in ((PATH, NEW), (f"{PATH}/back", None)):
        answer = await house.client.post(path, json=body)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code)
        assert problem["detail"] == "AADSTS7000215: Invalid client secret. Nothing was changed."
        assert "Create a new client secret" in problem["remedy"]


@pytest.mark.parametrize(
    "asked", [{"ends_on": "2029-01-31"}, {**NEW, "ends_on": "soon"}, {**NEW, "client_secret": "a b"}]
)
async def test_what_cannot_be_is_said(house: House, asked: dict[str, str]) -> None:
    assert (await house.client.post(PATH, json=asked)).status_code == 422
