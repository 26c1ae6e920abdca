"""The admin consent endpoints: who may grant, what is granted, and the two redirects."""

from collections.abc import Iterator

import pytest

from postroom.simulator.registration import ApplicationPermission, AppRegistration
from postroom.simulator.scopes import GRAPH
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.entra_world import EXCHANGE_DEFAULT, REDIRECT_URI, SMTP_SEND, Page, World

SEND_AS_APP = ApplicationPermission("https://outlook.office365.com", "SMTP.SendAsApp")
MAIL_SEND = ApplicationPermission(GRAPH, "Mail.Send")


@pytest.fixture
def world(tenant: Tenant, tokens: Tokens, app: AppRegistration, scanner: User) -> Iterator[World]:
    world = World(tenant, tokens, app, scanner)
    world.directory.add_application_permission(app.client_id, "Office 365 Exchange Online", "SMTP.SendAsApp")
    with world.server, world.browser:
        yield world


def ask(world: World, path: str = "v2.0/adminconsent", tenant: str = "", scope: str = EXCHANGE_DEFAULT) -> Page:
    params = {"client_id": world.app.client_id, "redirect_uri": REDIRECT_URI, "state": "s1", "scope": scope}
    return world.get(f"/{tenant or world.tenant.tenant_id}/{path}", **params)


def test_accepting_grants_app_roles_for_everybody(world: World) -> None:
    page = world.sign_in(ask(world), world.anna)
    assert "for your organization Contoso" in page.text
    assert "SMTP.SendAsApp (application)" in page.text
    back = world.submit(page, answer="accept").answer
    assert back == {
        "admin_consent": "True",
        "tenant": world.tenant.tenant_id,
        "scope": EXCHANGE_DEFAULT,
        "state": "s1",
    }
    assert world.app.granted_permissions == {SEND_AS_APP}
    token = world.ask_as_app().json()["access_token"]
    assert world.tokens.read_claims(token)["roles"] == ["SMTP.SendAsApp"]


def test_named_scopes_grant_what_is_named(world: World) -> None:
    page = world.sign_in(ask(world, scope=f"{SMTP_SEND} offline_access"), world.anna)
    world.submit(page, answer="accept")
    assert world.app.admin_consented == {"SMTP.Send", "offline_access"}
    assert world.app.granted_permissions == set()


def test_cancelling_says_admin_consent_true_as_well(world: World) -> None:
    back = world.submit(world.sign_in(ask(world), world.anna), answer="cancel").answer
    assert (back["admin_consent"], back["error"], back["state"]) == ("True", "consent_required", "s1")
    assert back["error_description"].startswith("AADSTS65004: ")
    assert world.app.granted_permissions == set()


def test_the_first_version_grants_all_that_is_listed(world: World) -> None:
    page = world.sign_in(ask(world, "adminconsent", scope=""), world.anna)
    back = world.submit(page, answer="accept").answer
    assert back == {"admin_consent": "True", "tenant": world.tenant.tenant_id, "state": "s1"}
    assert world.app.granted_permissions == {SEND_AS_APP}
    assert world.app.admin_consented == world.app.delegated_permissions


def test_the_first_version_fails_in_its_own_words(world: World) -> None:
    page = world.sign_in(ask(world, "adminconsent", scope=""), world.anna)
    back = world.submit(page, answer="cancel").answer
    assert (back["error"], back["error_description"]) == ("permission_denied", "The admin canceled the request")
    assert back["admin_consent"] == "True"


def test_others_may_not_grant(world: World) -> None:
    page = world.sign_in(ask(world))
    assert "AADSTS90094" in page.text
    back = world.submit(page, answer="back").answer
    assert (back["admin_consent"], back["error"]) == ("True", "consent_required")
    world.directory.assign_role(world.scanner.object_id, "Application Administrator")
    assert "for your organization" in ask(world).text


def test_roles_of_graph_need_a_global_administrator(world: World) -> None:
    world.directory.add_application_permission(world.app.client_id, "Microsoft Graph", "Mail.Send")
    world.directory.assign_role(world.scanner.object_id, "Cloud Application Administrator")
    scope = f"{GRAPH}/.default"
    assert "AADSTS90094" in world.sign_in(ask(world, scope=scope)).text
    world.browser.cookies.clear()
    page = world.sign_in(ask(world, scope=scope), world.anna)
    world.submit(page, answer="accept")
    assert world.app.granted_permissions == {MAIL_SEND}


def test_common_is_not_taken_and_organizations_is(world: World) -> None:
    world.app.is_multitenant = True
    assert "AADSTS90023" in ask(world, tenant="common").text
    assert "<h1>Sign in</h1>" in ask(world, tenant="organizations").text


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"client_id": "nobody"}, 700016),
        ({"redirect_uri": "https://elsewhere.example"}, 50011),
        ({"scope": ""}, 900144),
    ],
)
def test_a_bad_request_is_told_on_the_page(world: World, params: dict[str, str], code: int) -> None:
    good = {"client_id": world.app.client_id, "redirect_uri": REDIRECT_URI, "scope": EXCHANGE_DEFAULT}
    page = world.get(f"/{world.tenant.tenant_id}/v2.0/adminconsent", **{**good, **params})
    assert (page.status, page.location) == (400, "")
    assert f"AADSTS{code}: " in page.text
