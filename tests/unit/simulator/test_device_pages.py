"""The device code flow: what the device is told while a person types the code elsewhere."""

from collections.abc import Iterator

import pytest

from postroom.simulator.registration import AppRegistration
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.entra_world import Page, World, expect_error


@pytest.fixture
def world(tenant: Tenant, tokens: Tokens, app: AppRegistration, scanner: User) -> Iterator[World]:
    tenant.grant_admin_consent(app.client_id)
    world = World(tenant, tokens, app, scanner)
    world.directory.allow_public_client_flows(app.client_id, allowed=True)
    with world.server, world.browser:
        yield world


def enter(world: World, user_code: str) -> Page:
    return world.submit(world.get("/devicelogin"), otc=user_code)


def test_the_answer_has_what_microsoft_documents(world: World) -> None:
    device = world.start_device()
    assert set(device) == {"user_code", "device_code", "verification_uri", "expires_in", "interval", "message"}
    assert (device["expires_in"], device["interval"]) == (900, 5)
    assert len(device["user_code"]) == 9
    assert device["user_code"] in device["message"]
    assert device["verification_uri"] in device["message"]


def test_a_person_lets_the_device_in(world: World) -> None:
    device = world.start_device()
    expect_error(world.poll(device), 70016, "authorization_pending")
    confirm = world.sign_in(enter(world, device["user_code"].lower()))
    assert "Are you trying to sign in to Postroom?" in confirm.text
    expect_error(world.poll(device), 70016, "authorization_pending")
    assert "You have signed in to the Postroom application" in world.submit(confirm, answer="continue").text
    answer = world.poll(device)
    assert answer.status_code == 200
    assert {"access_token", "refresh_token", "id_token"} <= set(answer.json())
    assert world.tokens.read_claims(answer.json()["access_token"])["appidacr"] == "0"
    expect_error(world.poll(device), 70018, "bad_verification_code")


def test_consent_is_asked_here_too(world: World) -> None:
    world.tenant.revoke_consent(world.app.client_id)
    device = world.start_device()
    page = world.submit(world.sign_in(enter(world, device["user_code"])), answer="continue")
    assert "Permissions requested" in page.text
    world.submit(page, answer="cancel")
    expect_error(world.poll(device), 70017, "authorization_declined")


@pytest.mark.parametrize("control", ["block device code", "block"])
def test_conditional_access_blocks_the_flow(world: World, control: str) -> None:
    world.directory.add_policy("No devices", control)  # type: ignore[arg-type]
    device = world.start_device()
    page = world.sign_in(enter(world, device["user_code"]))
    assert "AADSTS53003" in page.text
    expect_error(world.poll(device), 53003, "invalid_grant")
    assert "You have not signed in" in world.submit(page, answer="back").text
    expect_error(world.poll(device), 53003, "invalid_grant")


def test_only_device_codes_are_blocked(world: World) -> None:
    world.directory.add_policy("No devices", "block device code")
    assert "code" in world.open_and_sign_in().answer


def test_a_wrong_code_is_told_and_tried_again(world: World) -> None:
    device = world.start_device()
    wrong = enter(world, "WRONG1234")
    assert "AADSTS70018" in wrong.text
    assert "AADSTS90119" in world.submit(wrong, otc=" ").text
    assert "<h1>Sign in</h1>" in world.submit(wrong, otc=device["user_code"]).text


def test_a_code_answers_once(world: World) -> None:
    device = world.start_device()
    first = world.sign_in(enter(world, device["user_code"]))
    second = enter(world, device["user_code"])
    assert "Are you trying to sign in" in second.text
    world.submit(first, answer="continue")
    assert "AADSTS90120" in world.submit(second, answer="continue").text
    assert "AADSTS70018" in enter(world, device["user_code"]).text


def test_codes_end_after_a_quarter_of_an_hour(world: World) -> None:
    device = world.start_device()
    world.tenant.clock.advance(901)
    expect_error(world.poll(device), 70019, "expired_token")
    assert "AADSTS70018" in enter(world, device["user_code"]).text


def test_public_client_flows_must_be_allowed(world: World) -> None:
    world.directory.allow_public_client_flows(world.app.client_id, allowed=False)
    device = world.start_device()
    expect_error(world.poll(device), 7000218, "invalid_client", status=401)
    expect_error(world.poll(device, client_secret=world.app.secrets[0].value), 70016, "authorization_pending")


def test_a_device_code_belongs_to_its_app(world: World) -> None:
    other = world.tenant.register_app("Other")
    world.directory.allow_public_client_flows(other.client_id, allowed=True)
    expect_error(world.poll(world.start_device(), client_id=other.client_id), 70018, "bad_verification_code")


def test_a_form_of_another_site_is_not_taken(world: World) -> None:
    form = {"otc": world.start_device()["user_code"]}
    headers = {"origin": "https://evil.example"}
    answer = world.browser.post("/common/oauth2/deviceauth", data=form, headers=headers)
    assert answer.status_code == 400
