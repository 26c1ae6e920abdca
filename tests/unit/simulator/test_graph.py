from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import graph
from postroom.simulator.scopes import GRAPH, OUTLOOK
from postroom.simulator.tenant import AppRegistration, Tenant, User
from postroom.simulator.tokens import Tokens


@pytest.fixture
def server(tenant: Tenant, tokens: Tokens) -> Iterator[TestClient]:
    application = Starlette(routes=graph.routes(tenant, tokens))
    with TestClient(application, "https://graph.microsoft.com") as client:
        yield client


@pytest.fixture
def bearer(tokens: Tokens, app: AppRegistration, scanner: User) -> dict[str, str]:
    token = tokens.issue_access_token(app.client_id, scanner, GRAPH, ["User.Read"])
    return {"authorization": f"Bearer {token}"}


def expect_error(server: TestClient, headers: dict[str, str], status: int, code: str, path: str = "/v1.0/me") -> str:
    answer = server.get(path, headers=headers)
    body: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, body["code"]) == (status, code)
    assert set(body["innerError"]) == {"date", "request-id", "client-request-id"}
    assert answer.headers["request-id"] == body["innerError"]["request-id"]
    assert ("www-authenticate" in answer.headers) == (status == 401)
    return str(body["message"])


def test_me_gives_the_default_properties(server: TestClient, bearer: dict[str, str], scanner: User) -> None:
    me = server.get("/v1.0/me", headers=bearer).json()
    assert me == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/$entity",
        "businessPhones": [],
        "displayName": "Scanner",
        "givenName": None,
        "id": scanner.object_id,
        "jobTitle": None,
        "mail": "scanner@contoso.com",
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": None,
        "userPrincipalName": "scanner@contoso.com",
    }


def test_select_gives_what_it_names(server: TestClient, bearer: dict[str, str], scanner: User) -> None:
    scanner.proxy_addresses.append("scan@contoso.com")
    found = server.get("/v1.0/me?$select=id,mail,proxyAddresses", headers=bearer).json()
    assert found == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users(id,mail,proxyAddresses)/$entity",
        "id": scanner.object_id,
        "mail": "scanner@contoso.com",
        "proxyAddresses": ["SMTP:scanner@contoso.com", "smtp:scan@contoso.com"],
    }


def test_select_of_an_unknown_property_is_refused(server: TestClient, bearer: dict[str, str]) -> None:
    message = expect_error(server, bearer, 400, "BadRequest", "/v1.0/me?$select=id,shoeSize")
    assert "Could not find a property named 'shoeSize' on type 'microsoft.graph.user'" in message


def test_a_person_without_a_mailbox_has_no_mail(server: TestClient, tokens: Tokens, app: AppRegistration) -> None:
    person = tokens.tenant.add_user("dan@contoso.com", "Dan Doe", is_mailbox=False)
    token = tokens.issue_access_token(app.client_id, person, GRAPH, ["User.Read"])
    me = server.get("/v1.0/me", headers={"authorization": f"Bearer {token}"}).json()
    assert (me["mail"], me["givenName"], me["surname"]) == (None, "Dan", "Doe")


def test_licences_are_listed(server: TestClient, bearer: dict[str, str]) -> None:
    [sku] = server.get("/v1.0/me/licenseDetails", headers=bearer).json()["value"]
    assert sku["skuPartNumber"] == "EXCHANGESTANDARD"
    plans = {plan["servicePlanName"]: plan for plan in sku["servicePlans"]}
    assert plans["EXCHANGE_S_STANDARD"]["servicePlanId"] == "9aaf7827-d63c-4b61-89c3-182f06f82e5c"
    assert plans["EXCHANGE_S_STANDARD"]["provisioningStatus"] == "Success"
    assert plans["EXCHANGE_S_FOUNDATION"]["appliesTo"] == "Company"


def test_without_a_licence_the_list_is_empty(server: TestClient, bearer: dict[str, str], scanner: User) -> None:
    scanner.licensed = False
    assert server.get("/v1.0/me/licenseDetails", headers=bearer).json()["value"] == []


def test_the_switch_limits_what_is_listed(server: TestClient, bearer: dict[str, str], tenant: Tenant) -> None:
    tenant.license_read = "limited"
    [sku] = server.get("/v1.0/me/licenseDetails", headers=bearer).json()["value"]
    assert sku["skuId"]
    assert (sku["skuPartNumber"], sku["servicePlans"]) == (None, [])


def test_the_switch_refuses_the_licences(server: TestClient, bearer: dict[str, str], tenant: Tenant) -> None:
    tenant.license_read = "forbidden"
    message = expect_error(server, bearer, 403, "Authorization_RequestDenied", "/v1.0/me/licenseDetails")
    assert message == "Insufficient privileges to complete the operation."


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"authorization": "Basic YTpi"}])
def test_no_token_is_told(server: TestClient, headers: dict[str, str]) -> None:
    assert expect_error(server, headers, 401, "InvalidAuthenticationToken") == "Access token is empty."


def test_a_token_for_smtp_is_refused(server: TestClient, tokens: Tokens, app: AppRegistration, scanner: User) -> None:
    token = tokens.issue_access_token(app.client_id, scanner, OUTLOOK, ["SMTP.Send", "User.Read"])
    message = expect_error(server, {"authorization": f"Bearer {token}"}, 401, "InvalidAuthenticationToken")
    assert message == "Access token validation failure. Invalid audience."


def test_a_token_without_user_read_is_refused(
    server: TestClient, tokens: Tokens, app: AppRegistration, scanner: User
) -> None:
    token = tokens.issue_access_token(app.client_id, scanner, GRAPH, ["SMTP.Send"])
    expect_error(server, {"authorization": f"Bearer {token}"}, 403, "Authorization_RequestDenied")


def test_an_old_token_is_refused(server: TestClient, bearer: dict[str, str], tenant: Tenant) -> None:
    tenant.clock.advance(3600)
    message = expect_error(server, bearer, 401, "InvalidAuthenticationToken")
    assert message == "Lifetime validation failed, the token is expired."


def test_a_revoked_token_is_refused(server: TestClient, bearer: dict[str, str], tenant: Tenant, scanner: User) -> None:
    tenant.revoke_sessions(scanner.object_id)
    assert "TokenIssuedBeforeRevocationTimestamp" in expect_error(server, bearer, 401, "InvalidAuthenticationToken")


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
def test_what_is_no_token_is_refused(server: TestClient, token: str) -> None:
    message = expect_error(server, {"authorization": f"Bearer {token}"}, 401, "InvalidAuthenticationToken")
    assert message == "CompactToken parsing failed with error code: 80049217"
