"""What tokens say and how long they are good: rotation, passwords, roles, clouds, and trouble on the way."""

import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import userinfo
from postroom.simulator.clouds import CHINA, DOD, GCC_HIGH, Cloud
from postroom.simulator.directory_rules import DEFAULT_USER_ROLE, ROLES, PasswordReset
from postroom.simulator.issued_grants import SignInProof
from postroom.simulator.registration import AppRegistration, GroupMembershipClaims, Platform
from postroom.simulator.tenant import DAY_SECONDS, Tenant, TokenEndpointFault, User
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.entra_world import EXCHANGE_DEFAULT, SMTP_SEND, USER_READ, World, expect_error


@pytest.fixture
def world(tenant: Tenant, tokens: Tokens, app: AppRegistration, scanner: User) -> Iterator[World]:
    tenant.grant_admin_consent(app.client_id)
    world = World(tenant, tokens, app, scanner)
    with world.server, world.browser:
        yield world


# Refresh tokens


def test_the_stricter_rotation_revokes_the_family_on_reuse(world: World) -> None:
    world.tenant.entra.refresh_rotation = "strict"
    first = world.refresh_token()
    second = world.refresh(first).json()["refresh_token"]
    third = world.refresh(second).json()["refresh_token"]
    expect_error(world.refresh(first), 70000, "invalid_grant")
    expect_error(world.refresh(third), 70000, "invalid_grant")
    assert world.refresh(world.refresh_token()).status_code == 200


def test_a_refusal_does_not_use_a_token_up(world: World) -> None:
    world.tenant.entra.refresh_rotation = "strict"
    token = world.refresh_token()
    world.directory.add_policy("Block", "block")
    assert world.refresh(token).status_code == 400
    world.directory.remove_policy("Block")
    assert world.refresh(token).status_code == 200


@pytest.mark.parametrize(
    ("by", "platform", "survives"),
    [
        ("user", "web", True),
        ("self-service", "web", True),
        ("Azure portal", "web", True),
        ("Entra admin center", "web", False),
        ("user", "public", False),
        ("self-service", "public", False),
        ("Azure portal", "public", False),
        ("Entra admin center", "public", False),
    ],
)
def test_a_new_password_ends_some_refresh_tokens(
    world: World, by: PasswordReset, platform: Platform, survives: bool
) -> None:
    """Microsoft Learn's table of what revokes which tokens."""
    token = world.refresh_token(proof=SignInProof(world.tenant.clock.now(), platform=platform))
    world.directory.reset_password(world.scanner.object_id, "Another-1", by=by)
    answer = world.refresh(token)
    if survives:
        assert answer.status_code == 200
    else:
        expect_error(answer, 50173, "invalid_grant")


def test_an_expired_password_and_a_lock_leave_refresh_tokens_alone(world: World) -> None:
    token = world.refresh_token()
    world.directory.expire_password(world.scanner.object_id)
    world.directory.lock_user(world.scanner.object_id)
    assert world.refresh(token).status_code == 200


def test_a_single_page_apps_tokens_end_after_a_day_however_often_they_are_used(world: World) -> None:
    token = world.refresh_token(proof=SignInProof(world.tenant.clock.now(), platform="spa")).value
    for _ in range(2):
        world.tenant.clock.advance(DAY_SECONDS // 2 - 10)
        token = world.refresh(token, client_secret="").json()["refresh_token"]
    world.tenant.clock.advance(60)
    expect_error(world.refresh(token, client_secret=""), 700084, "invalid_grant")


def test_a_confidential_apps_token_needs_its_secret(world: World) -> None:
    expect_error(world.refresh(client_secret=""), 7000218, "invalid_client", status=401)


def test_a_second_factor_once_passed_lasts(world: World) -> None:
    token = world.refresh_token(proof=SignInProof(world.tenant.clock.now(), did_mfa=True))
    world.directory.add_policy("MFA", "require MFA")
    answer = world.refresh(token).json()
    assert world.refresh(answer["refresh_token"]).status_code == 200


def test_an_excluded_user_refreshes_past_the_policies(world: World) -> None:
    token = world.refresh_token()
    world.directory.add_policy("Devices", "require compliant device")
    body = world.refresh(token).json()
    assert "capolids" in body["claims"]
    assert body["suberror"] == "message_only"
    world.directory.exclude_user("Devices", world.scanner.object_id)
    assert world.refresh(token).status_code == 200


# What tokens say


@pytest.mark.parametrize(
    ("setting", "has_roles"), [("None", False), ("SecurityGroup", False), ("DirectoryRole", True), ("All", True)]
)
def test_directory_roles_stand_in_wids_if_the_manifest_says_so(
    world: World, setting: GroupMembershipClaims, has_roles: bool
) -> None:
    world.directory.assign_role(world.scanner.object_id, "Exchange Administrator")
    world.directory.set_group_membership_claims(world.app.client_id, setting)
    answer = world.redeem(world.code()).json()
    for token in (answer["access_token"], answer["id_token"]):
        claims = world.tokens.read_claims(token)
        wanted = [ROLES["Exchange Administrator"], DEFAULT_USER_ROLE] if has_roles else None
        assert claims.get("wids") == wanted


def test_an_apps_roles_are_those_of_the_resource(world: World) -> None:
    for service, value in (("Office 365 Exchange Online", "SMTP.SendAsApp"), ("Microsoft Graph", "Mail.Send")):
        world.directory.add_application_permission(world.app.client_id, service, value)
    assert "roles" not in world.tokens.read_claims(world.ask_as_app().json()["access_token"])
    world.directory.grant_admin_consent(world.app.client_id, world.anna.object_id)
    exchange = world.ask_as_app().json()
    graph = world.ask_as_app(scope="https://graph.microsoft.com/.default").json()
    assert set(exchange) == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    assert world.tokens.read_claims(exchange["access_token"])["roles"] == ["SMTP.SendAsApp"]
    assert world.tokens.read_claims(graph["access_token"])["roles"] == ["Mail.Send"]


def test_an_apps_token_names_the_enterprise_application(world: World) -> None:
    claims = world.tokens.read_claims(world.ask_as_app().json()["access_token"])
    assert claims["oid"] == claims["sub"] == world.directory.enterprise_application(world.app.client_id).object_id
    assert claims["oid"] != world.app.object_id
    assert (claims["idtyp"], claims["appidacr"], claims["ver"]) == ("app", "1", "1.0")
    assert "upn" not in claims
    assert "scp" not in claims


@pytest.mark.parametrize(
    "scope",
    [SMTP_SEND, f"{EXCHANGE_DEFAULT} https://graph.microsoft.com/.default", f"{EXCHANGE_DEFAULT} openid", ".default"],
)
def test_an_app_asks_for_one_default(world: World, scope: str) -> None:
    expect_error(world.ask_as_app(scope=scope), 70011, "invalid_scope")


def test_a_policy_for_workload_identities_blocks_apps_only(world: World) -> None:
    world.directory.add_policy("Apps", "block", for_apps=True)
    expect_error(world.ask_as_app(), 53003, "invalid_grant")
    assert world.refresh().status_code == 200


def test_userinfo_serves_what_the_scopes_allow(world: World) -> None:
    directory = Starlette(routes=userinfo.routes(world.tenant, world.tokens))
    with TestClient(directory, "https://graph.microsoft.com") as graph:
        answers = {}
        for scope in (f"openid profile email {USER_READ}", f"openid {USER_READ}", SMTP_SEND):
            token = world.redeem(world.code(scope), scope="").json()["access_token"]
            answers[scope] = graph.get("/oidc/userinfo", headers={"authorization": f"Bearer {token}"})
        full, small, wrong = answers.values()
        assert full.json()["email"] == "scanner@contoso.com"
        assert full.json()["name"] == "Scanner"
        assert small.json() == {"sub": full.json()["sub"]}
        assert wrong.status_code == 401
        assert graph.get("/oidc/userinfo").status_code == 401


# Clouds


@pytest.mark.parametrize("cloud", [GCC_HIGH, DOD, CHINA], ids=lambda cloud: cloud.name)
def test_a_tenant_of_another_cloud_speaks_its_names(world: World, cloud: Cloud) -> None:
    world.tenant.cloud = cloud
    base = f"{cloud.login_url}/{world.tenant.tenant_id}"
    world.server.base_url = cloud.login_url
    found = world.server.get(f"/{world.tenant.tenant_id}/v2.0/.well-known/openid-configuration").json()
    assert found["issuer"] == f"{base}/v2.0"
    assert found["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert found["userinfo_endpoint"] == f"{cloud.graph}/oidc/userinfo"
    assert (found["cloud_instance_name"], found["msgraph_host"]) == (cloud.instance, cloud.graph_host)
    token = world.ask_as_app(scope=f"{cloud.exchange}/.default").json()["access_token"]
    claims = world.tokens.read_claims(token)
    assert claims["aud"] == cloud.exchange
    assert claims["iss"] == f"https://{cloud.issuer_host}/{world.tenant.tenant_id}/"
    refused = world.ask_as_app(scope="https://outlook.office.com/.default")
    expect_error(refused, 500011, "invalid_resource")
    assert refused.json()["error_uri"].startswith(cloud.login_url)


def test_the_consumers_issuer_is_that_of_personal_accounts(world: World) -> None:
    found = world.server.get("/consumers/v2.0/.well-known/openid-configuration").json()
    assert found["issuer"] == "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"


# Trouble on the way


def test_throttling_by_something_between(world: World) -> None:
    world.tenant.token_endpoint_fault = "429_retry_after"
    world.tenant.entra.retry_after_seconds = 7
    answer = world.refresh()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_an_answer_without_content(world: World) -> None:
    world.tenant.token_endpoint_fault = "empty"
    answer = world.refresh()
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_slow_answer_is_right_in_the_end(world: World) -> None:
    world.tenant.token_endpoint_fault = "slow"
    world.tenant.entra.slow_seconds = 0.05
    started = time.monotonic()
    assert world.refresh().status_code == 200
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize("fault", ["500", "503_retry_after", "429_retry_after", "html", "empty"])
def test_device_codes_meet_the_same_trouble(world: World, fault: TokenEndpointFault) -> None:
    world.tenant.token_endpoint_fault = fault
    answer = world.start_device_raw()
    assert answer.status_code != 200 or "user_code" not in answer.text


def test_a_loop_is_forgotten_after_a_while(world: World) -> None:
    world.tenant.entra.detects_loops = True
    token = world.refresh_token()
    statuses = [world.refresh(token).status_code for _ in range(15)]
    assert statuses == [200] * 14 + [400]
    world.tenant.clock.advance(301)
    assert world.refresh(token).status_code == 200
