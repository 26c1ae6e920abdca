"""The walk through Microsoft's sign-in: remembered browsers, second factor, consent rules, and the ways back."""

from collections.abc import Iterator

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from postroom.simulator.registration import AppRegistration
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.entra_world import REDIRECT_URI, SMTP_SEND, USER_READ, World

APPLICATIONS = "https://graph.microsoft.com/Application.Read.All"


@pytest.fixture
def world(tenant: Tenant, tokens: Tokens, app: AppRegistration, scanner: User) -> Iterator[World]:
    tenant.grant_admin_consent(app.client_id)
    world = World(tenant, tokens, app, scanner)
    with world.server, world.browser:
        yield world


@pytest.fixture
def unconsented(world: World) -> World:
    world.tenant.revoke_consent(world.app.client_id)
    return world


# The browser remembers


def test_who_signed_in_need_not_do_it_again(world: World) -> None:
    assert "code" in world.open_and_sign_in().answer
    cookie = next(one for one in world.browser.cookies.jar if one.name == "ESTSAUTH")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert "code" in world.open().answer
    assert "code" in world.open(prompt="none").answer


def test_prompt_login_asks_all_the_same(world: World) -> None:
    world.open_and_sign_in()
    assert "<h1>Sign in</h1>" in world.open(prompt="login").text


def test_select_account_offers_who_is_signed_in_and_others(world: World) -> None:
    world.open_and_sign_in()
    page = world.open(prompt="select_account")
    assert "Pick an account" in page.text
    back = world.submit(page, account=world.scanner.object_id).answer
    code = world.tokens.code(back["code"])
    assert code is not None
    assert code.object_id == world.scanner.object_id
    other = world.submit(world.open(prompt="select_account"), account="")
    assert "<h1>Sign in</h1>" in other.text


def test_of_two_people_the_hint_chooses(world: World) -> None:
    world.open_and_sign_in()
    world.open_and_sign_in(world.anna, prompt="login")
    assert "Pick an account" in world.open().text
    for person in (world.anna, world.scanner):
        code = world.tokens.code(world.open(login_hint=person.mail).answer["code"])
        assert code is not None
        assert code.object_id == person.object_id
    assert 'value="noreply@contoso.com"' in world.open(login_hint="noreply@contoso.com").text


def test_the_domain_hint_leaves_out_other_domains(world: World) -> None:
    world.open_and_sign_in()
    assert "code" in world.open(domain_hint="contoso.com").answer
    assert "<h1>Sign in</h1>" in world.open(domain_hint="fabrikam.com").text
    assert world.open(domain_hint="fabrikam.com", prompt="none").answer["error"] == "login_required"


@pytest.mark.parametrize("end", ["revoked", "disabled", "password", "frequency"])
def test_a_session_ends(world: World, end: str) -> None:
    world.open_and_sign_in()
    object_id = world.scanner.object_id
    if end == "revoked":
        world.tenant.revoke_sessions(object_id)
    elif end == "disabled":
        world.directory.disable_user(object_id)
    elif end == "password":
        world.directory.reset_password(object_id, "Another-1")
    else:
        world.directory.add_policy("Hourly", "sign-in frequency", frequency_hours=1)
        world.tenant.clock.advance(3601)
    assert world.open(prompt="none").answer["error"] == "login_required"


def test_signing_out_forgets(world: World) -> None:
    world.open_and_sign_in()
    path = f"/{world.tenant.tenant_id}/oauth2/v2.0/logout"
    assert "You signed out" in world.get(path, post_logout_redirect_uri="https://elsewhere.example").text
    assert world.open(prompt="none").answer["error"] == "login_required"
    world.open_and_sign_in()
    page = world.get(path, post_logout_redirect_uri=REDIRECT_URI, state="s1")
    assert page.location == f"{REDIRECT_URI}?state=s1"
    assert world.open(prompt="none").answer["error"] == "login_required"


# What the request asks back


def test_a_code_comes_with_an_id_token(world: World) -> None:
    world.directory.enable_id_tokens(world.app.client_id, enabled=True)
    page = world.open_and_sign_in(response_type="code id_token")
    assert f"{REDIRECT_URI}#" in page.location
    keys = KeySet.import_key_set(world.tokens.key_set())  # type: ignore[arg-type]
    claims = jwt.decode(page.answer["id_token"], keys, algorithms=["RS256"]).claims
    assert (claims["nonce"], claims["aud"]) == ("n-0S6_WzA2Mj", world.app.client_id)
    assert len(claims["c_hash"]) == 22
    assert world.redeem(page.answer["code"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"nonce": ""}, 90014), ({"response_mode": "query"}, 70007), ({"response_mode": "pigeon"}, 90023)],
)
def test_an_id_token_has_its_conditions(world: World, changes: dict[str, str], code: int) -> None:
    world.directory.enable_id_tokens(world.app.client_id, enabled=True)
    back = world.open(response_type="code id_token", **changes).answer
    assert back["error_description"].startswith(f"AADSTS{code}: ")


def test_default_stands_for_the_registrations_list(world: World) -> None:
    back = world.open_and_sign_in(scope="offline_access https://outlook.office.com/.default").answer
    answer = world.redeem(back["code"], scope="").json()
    assert answer["scope"] == SMTP_SEND


def test_the_request_may_be_posted(world: World) -> None:
    answer = world.browser.post(f"/{world.tenant.tenant_id}/oauth2/v2.0/authorize", data=world.query)
    assert "<h1>Sign in</h1>" in answer.text


# A second factor


def test_a_second_factor_is_set_up_then_approved(world: World) -> None:
    world.directory.require_mfa(world.scanner.object_id)
    page = world.open_and_sign_in()
    assert "More information required" in page.text
    first = world.submit(page, answer="register").answer
    assert world.scanner.sign_in.mfa_is_registered
    refresh_token = world.redeem(first["code"]).json()["refresh_token"]
    answer = world.refresh(refresh_token).json()
    assert world.tokens.read_claims(answer["access_token"])["amr"] == ["pwd", "mfa"]

    again = world.open_and_sign_in(prompt="login")
    assert "Approve sign in request" in again.text
    assert "code" in world.submit(again, answer="approve").answer


def test_silently_a_second_factor_is_an_error(world: World) -> None:
    world.open_and_sign_in()
    world.directory.register_mfa(world.scanner.object_id)
    world.directory.add_policy("MFA", "require MFA")
    back = world.open(prompt="none").answer
    assert back["error"] == "interaction_required"
    assert back["error_description"].startswith("AADSTS50076: ")


def test_an_excluded_user_needs_no_second_factor(world: World) -> None:
    world.directory.add_policy("MFA", "require MFA")
    world.directory.exclude_user("MFA", world.scanner.object_id)
    assert "code" in world.open_and_sign_in().answer
    world.directory.exclude_user("MFA", world.scanner.object_id, excluded=False)
    assert "AADSTS50079" in world.open_and_sign_in(prompt="login").text
    world.directory.switch_policy("MFA", enabled=False)
    assert "code" in world.open_and_sign_in(prompt="login").answer


def test_security_defaults_ask_administrators_each_time(world: World) -> None:
    world.directory.set_security_defaults(enabled=True)
    for person in (world.scanner, world.anna):
        assert "More information required" in world.open_and_sign_in(person, prompt="login").text
        world.directory.register_mfa(person.object_id)
    assert "code" in world.open_and_sign_in(world.scanner, prompt="login").answer
    assert "AADSTS50076" in world.open_and_sign_in(world.anna, prompt="login").text


# Refused by a rule


def test_a_refusal_leads_back_to_the_app(world: World) -> None:
    world.directory.add_policy("Nobody", "block")
    page = world.open_and_sign_in()
    assert "You cannot access this right now" in page.text
    back = world.submit(page, answer="back").answer
    assert (back["error"], back["state"]) == ("access_denied", "af0ifjsldkj")
    assert back["error_description"].startswith("AADSTS53003: ")


def test_silently_a_refusal_goes_back_at_once(world: World) -> None:
    world.open_and_sign_in()
    world.directory.require_assignment(world.app.client_id, required=True)
    back = world.open(prompt="none").answer
    assert back["error"] == "access_denied"
    assert "AADSTS50105: Your administrator has configured the application Postroom" in back["error_description"]
    world.directory.assign_user(world.app.client_id, world.scanner.object_id)
    assert "code" in world.open(prompt="none").answer


def test_a_guest_signs_in_at_the_tenants_own_address(world: World) -> None:
    guest = world.directory.invite_guest("kim@fabrikam.com", "Kim-5")
    page = world.submit(world.open(), loginfmt="kim@fabrikam.com", passwd="Kim-5")
    code = world.tokens.code(page.answer["code"])
    assert code is not None
    assert code.object_id == guest.object_id
    world.app.is_multitenant = True
    assert "<h1>Sign in</h1>" in world.open(tenant="common").text


def test_a_lock_opens_by_itself(world: World) -> None:
    page = world.open()
    for _ in range(10):
        page = world.sign_in(page, password="wrong")
    page = world.sign_in(page)
    assert "AADSTS50053" in page.text
    world.tenant.clock.advance(61)
    assert "code" in world.sign_in(page).answer


# Consent


def test_a_user_consents_for_themselves(unconsented: World) -> None:
    page = unconsented.open_and_sign_in()
    assert "Permissions requested" in page.text
    assert "Consent on behalf of your organization" not in page.text
    assert "code" in unconsented.submit(page, answer="accept").answer
    assert set(unconsented.app.user_consented) == {unconsented.scanner.object_id}


def test_declining_is_told(unconsented: World) -> None:
    back = unconsented.submit(unconsented.open_and_sign_in(), answer="cancel").answer
    assert back["error"] == "access_denied"
    assert back["error_description"].startswith("AADSTS65004: ")


def test_an_administrator_may_consent_for_everybody(unconsented: World) -> None:
    page = unconsented.open_and_sign_in(unconsented.anna)
    assert "Consent on behalf of your organization" in page.text
    unconsented.submit(page, answer="accept", for_organisation="on")
    assert "SMTP.Send" in unconsented.app.admin_consented
    assert "code" in unconsented.open_and_sign_in(unconsented.scanner, prompt="login").answer


def test_silently_missing_consent_is_an_error(unconsented: World) -> None:
    unconsented.open_and_sign_in()
    back = unconsented.open(prompt="none").answer
    assert back["error"] == "consent_required"
    assert back["error_description"].startswith("AADSTS65001: ")


def test_the_setting_asks_for_an_administrator(unconsented: World) -> None:
    unconsented.directory.set_user_consent("admin only")
    page = unconsented.open_and_sign_in()
    assert "Need admin approval" in page.text
    assert "Request approval" not in page.text
    back = unconsented.submit(page, answer="back").answer
    assert back["error"] == "access_denied"
    assert back["error_description"].startswith("AADSTS90094: ")
    assert "Permissions requested" in unconsented.open_and_sign_in(unconsented.anna, prompt="login").text


def test_approval_may_be_requested(unconsented: World) -> None:
    unconsented.directory.set_user_consent("admin request workflow")
    page = unconsented.open_and_sign_in()
    back = unconsented.submit(page, answer="request approval").answer
    assert back["error_description"].startswith("AADSTS90095: ")


def test_some_permissions_are_for_administrators_only(unconsented: World) -> None:
    page = unconsented.open_and_sign_in(scope=APPLICATIONS)
    assert "AADSTS90094" in page.text
    assert "Permissions requested" in unconsented.open_and_sign_in(scope=USER_READ, prompt="login").text
