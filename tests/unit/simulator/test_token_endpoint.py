"""The token endpoint: what becomes tokens, and how each refusal reads."""

import hashlib
import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import entra
from postroom.simulator.client_assertions import ASSERTION_TYPE
from postroom.simulator.scopes import GRAPH, OUTLOOK, parse_scopes
from postroom.simulator.tenant import DAY_SECONDS, AppRegistration, Tenant, User
from postroom.simulator.tokens import GRAPH_AUDIENCES, AccessClaims, Tokens

REDIRECT_URI = "http://localhost:8025/oauth/callback"
SMTP_SEND = "https://outlook.office.com/SMTP.Send"
USER_READ = "https://graph.microsoft.com/User.Read"
BOTH = f"openid profile offline_access {SMTP_SEND} {USER_READ}"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
S256_CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.fixture
def server(tenant: Tenant, tokens: Tokens) -> Iterator[TestClient]:
    application = Starlette(routes=entra.server_routes(tenant, tokens))
    with TestClient(application, "https://login.microsoftonline.com") as client:
        yield client


class Asking:
    """An app that consents, collects codes and asks for tokens."""

    def __init__(self, server: TestClient, tenant: Tenant, tokens: Tokens, app: AppRegistration, user: User):
        self.server, self.tenant, self.tokens, self.app, self.user = server, tenant, tokens, app, user
        self.path = f"/{tenant.tenant_id}/oauth2/v2.0/token"

    def code(self, scope: str = BOTH, **options: Any) -> str:
        scopes = parse_scopes(scope, "Contoso")
        issued = self.tokens.issue_code(self.app.client_id, self.user, REDIRECT_URI, scopes, **options)
        return issued.value

    def credentials(self) -> dict[str, str]:
        return {"client_id": self.app.client_id, "client_secret": self.app.secrets[0].value}

    def redeem(self, code: str, scope: str = SMTP_SEND, **changes: str) -> tuple[int, dict[str, Any]]:
        return self.post({**self.form_for(code), "scope": scope, **changes})

    def form_for(self, code: str) -> dict[str, str]:
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "scope": SMTP_SEND,
            **self.credentials(),
        }

    def refresh(self, refresh_token: str, scope: str = "", **changes: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, **self.credentials(), **changes}
        return self.post({**form, "scope": scope} if scope else form)

    def post(self, form: dict[str, str], headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        given = {name: value for name, value in form.items() if value}
        answer = self.server.post(self.path, data=given, headers=headers)
        assert answer.headers["cache-control"].startswith("no-store")
        return answer.status_code, answer.json()

    def first_tokens(self) -> dict[str, Any]:
        status, answer = self.redeem(self.code())
        assert status == 200, answer
        return answer


@pytest.fixture
def asking(server: TestClient, tenant: Tenant, tokens: Tokens, app: AppRegistration, scanner: User) -> Asking:
    tenant.grant_admin_consent(app.client_id)
    return Asking(server, tenant, tokens, app, scanner)


def expect_refused(
    answer: tuple[int, dict[str, Any]], error: str, code: int, status: int = 400, suberror: str = ""
) -> str:
    """Check the whole error and give back its sentence."""
    answered_status, body = answer
    assert (answered_status, body["error"], body["error_codes"]) == (status, error, [code]), body
    description = body["error_description"]
    assert description.startswith(f"AADSTS{code}: ")
    trailer = f"\r\nTrace ID: {body['trace_id']}\r\nCorrelation ID: {body['correlation_id']}"
    assert description.endswith(f"{trailer}\r\nTimestamp: {body['timestamp']}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", body["timestamp"])
    assert body["error_uri"] == f"https://login.microsoftonline.com/error?code={code}"
    assert body.get("suberror", "") == suberror
    return str(description)


def read_access(asking: Asking, answer: dict[str, Any]) -> AccessClaims:
    claims = asking.tokens.check_access_token(answer["access_token"])
    assert isinstance(claims, AccessClaims), claims
    return claims


# Codes


def test_a_code_becomes_tokens_for_smtp(asking: Asking, scanner: User) -> None:
    status, answer = asking.redeem(asking.code(nonce="n-1"))
    assert status == 200
    assert set(answer) == {
        "token_type", "scope", "expires_in", "ext_expires_in", "access_token", "refresh_token", "id_token",
    }  # fmt: skip
    assert answer["token_type"] == "Bearer"
    assert answer["scope"] == SMTP_SEND
    assert answer["expires_in"] == 3599
    assert read_access(asking, answer).object_id == scanner.object_id


def test_the_domain_names_the_tenant_too(asking: Asking) -> None:
    asking.path = "/contoso.com/oauth2/v2.0/token"
    assert asking.redeem(asking.code())[0] == 200


def test_without_offline_access_there_is_no_refresh_token(asking: Asking) -> None:
    _, answer = asking.redeem(asking.code(SMTP_SEND))
    assert "refresh_token" not in answer
    assert "id_token" not in answer


def test_microsofts_libraries_are_told_the_users_home(asking: Asking, scanner: User) -> None:
    _, answer = asking.redeem(asking.code(), client_info="1")
    padded = answer["client_info"] + "=" * (-len(answer["client_info"]) % 4)
    home = msgspec.json.decode(urlsafe_b64decode(padded))
    assert home == {"uid": scanner.object_id, "utid": asking.tenant.tenant_id}


def test_a_code_is_good_once(asking: Asking) -> None:
    code = asking.code()
    assert asking.redeem(code)[0] == 200
    sentence = expect_refused(asking.redeem(code), "invalid_grant", 54005)
    assert "already redeemed" in sentence


def test_a_code_is_good_for_ten_minutes(asking: Asking) -> None:
    in_time, too_late = asking.code(), asking.code()
    asking.tenant.clock.advance(590)
    assert asking.redeem(in_time)[0] == 200
    asking.tenant.clock.advance(20)
    expect_refused(asking.redeem(too_late), "invalid_grant", 70008)


def test_a_code_of_another_app_is_refused(asking: Asking) -> None:
    code = asking.code()
    other = asking.tenant.register_app("Other", REDIRECT_URI)
    secret = asking.tenant.add_secret(other.client_id)
    answer = asking.redeem(code, client_id=other.client_id, client_secret=secret.value)
    expect_refused(answer, "invalid_grant", 70000)
    expect_refused(asking.redeem("made up"), "invalid_grant", 70000)


def test_the_redirect_uri_must_be_the_same(asking: Asking) -> None:
    answer = asking.redeem(asking.code(), redirect_uri="http://localhost:8025/elsewhere")
    sentence = expect_refused(answer, "invalid_grant", 500112)
    assert "'http://localhost:8025/elsewhere' does not match the reply address" in sentence


@pytest.mark.parametrize(("challenge", "method"), [(S256_CHALLENGE, "S256"), (VERIFIER, "plain")])
def test_pkce_is_checked(asking: Asking, challenge: str, method: str) -> None:
    code = asking.code(code_challenge=challenge, code_challenge_method=method)
    expect_refused(asking.redeem(code, code_verifier="x" * 43), "invalid_grant", 501481)
    expect_refused(asking.redeem(code), "invalid_grant", 50148)
    assert asking.redeem(code, code_verifier=VERIFIER)[0] == 200


def test_a_hashed_verifier_is_not_a_plain_one(asking: Asking) -> None:
    hashed = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    code = asking.code(code_challenge=hashed, code_challenge_method="plain")
    expect_refused(asking.redeem(code, code_verifier=VERIFIER), "invalid_grant", 501481)


def test_a_verifier_without_a_challenge_is_refused(asking: Asking) -> None:
    expect_refused(asking.redeem(asking.code(), code_verifier=VERIFIER), "invalid_grant", 501481)


def test_a_code_is_redeemed_for_one_resource(asking: Asking) -> None:
    code = asking.code()
    sentence = expect_refused(asking.redeem(code, BOTH), "invalid_scope", 28000)
    assert "contains more than one resource" in sentence
    expect_refused(asking.redeem(code, ""), "invalid_request", 28003)
    assert asking.redeem(code, USER_READ)[1]["scope"] == f"openid profile {USER_READ}"


def test_one_resource_needs_no_scope(asking: Asking) -> None:
    _, answer = asking.redeem(asking.code(f"{SMTP_SEND} offline_access"), "")
    assert answer["scope"] == SMTP_SEND


def test_an_unknown_scope_is_refused(asking: Asking) -> None:
    answer = asking.redeem(asking.code(), "https://outlook.office.com/SMTP.SendAsApp")
    expect_refused(answer, "invalid_scope", 70011)


def test_a_code_from_before_the_revocation_is_refused(asking: Asking, scanner: User) -> None:
    code = asking.code()
    asking.tenant.revoke_sessions(scanner.object_id)
    expect_refused(asking.redeem(code), "invalid_grant", 50173, suberror="bad_token")


# Refresh tokens


def test_a_refresh_token_serves_each_resource_by_scope(asking: Asking) -> None:
    first = asking.first_tokens()
    _, for_graph = asking.refresh(first["refresh_token"], f"{USER_READ} offline_access")
    claims = asking.tokens.check_access_token(for_graph["access_token"], audiences=GRAPH_AUDIENCES, scope="User.Read")
    assert isinstance(claims, AccessClaims)
    _, for_smtp = asking.refresh(first["refresh_token"], f"{SMTP_SEND} offline_access")
    assert read_access(asking, for_smtp).audience == OUTLOOK


def test_of_several_resources_the_first_one_is_served(asking: Asking) -> None:
    first = asking.first_tokens()
    _, answer = asking.refresh(first["refresh_token"], f"offline_access {USER_READ} {SMTP_SEND}")
    assert answer["scope"] == USER_READ
    _, answer = asking.refresh(first["refresh_token"], f"offline_access {SMTP_SEND} {USER_READ}")
    assert answer["scope"] == SMTP_SEND


def test_without_a_scope_the_token_is_as_before(asking: Asking) -> None:
    _, answer = asking.refresh(asking.first_tokens()["refresh_token"])
    assert answer["scope"] == SMTP_SEND
    assert "id_token" in answer
    _, answer = asking.refresh(asking.first_tokens()["refresh_token"], "openid offline_access")
    assert answer["scope"] == SMTP_SEND


def test_each_use_gives_a_new_refresh_token_and_the_old_one_stays_good(asking: Asking) -> None:
    first = asking.first_tokens()["refresh_token"]
    second = asking.refresh(first, f"{SMTP_SEND} offline_access")[1]["refresh_token"]
    third = asking.refresh(first, f"{SMTP_SEND} offline_access")[1]["refresh_token"]
    assert len({first, second, third}) == 3
    assert asking.refresh(second)[0] == 200


def test_offline_access_must_be_asked_for_again(asking: Asking) -> None:
    _, answer = asking.refresh(asking.first_tokens()["refresh_token"], SMTP_SEND)
    assert "refresh_token" not in answer


def test_revoked_sessions_end_refresh_tokens(asking: Asking, scanner: User) -> None:
    token = asking.first_tokens()["refresh_token"]
    asking.tenant.revoke_sessions(scanner.object_id)
    sentence = expect_refused(asking.refresh(token), "invalid_grant", 50173, suberror="bad_token")
    assert "expired due to it being revoked" in sentence
    assert asking.refresh(asking.first_tokens()["refresh_token"])[0] == 200


def test_ninety_idle_days_end_a_refresh_token(asking: Asking) -> None:
    token = asking.first_tokens()["refresh_token"]
    asking.tenant.clock.advance(89 * DAY_SECONDS)
    younger = asking.refresh(token)[1]["refresh_token"]
    asking.tenant.clock.advance(2 * DAY_SECONDS)
    sentence = expect_refused(asking.refresh(token), "invalid_grant", 700082, suberror="bad_token")
    assert "was inactive for 90.00:00:00" in sentence
    assert asking.refresh(younger)[0] == 200


def test_what_nobody_consented_to_is_refused(asking: Asking) -> None:
    token = asking.first_tokens()["refresh_token"]
    answer = asking.refresh(token, "https://graph.microsoft.com/Mail.Send offline_access")
    sentence = expect_refused(answer, "invalid_grant", 65001, suberror="consent_required")
    assert f"ID '{asking.app.client_id}' named 'Postroom'" in sentence


def test_consent_taken_back_ends_refreshing(asking: Asking) -> None:
    token = asking.first_tokens()["refresh_token"]
    asking.tenant.revoke_consent(asking.app.client_id)
    expect_refused(asking.refresh(token), "invalid_grant", 65001, suberror="consent_required")


def test_a_refresh_token_belongs_to_its_app(asking: Asking) -> None:
    token = asking.first_tokens()["refresh_token"]
    other = asking.tenant.register_app("Other", REDIRECT_URI)
    secret = asking.tenant.add_secret(other.client_id)
    answer = asking.refresh(token, client_id=other.client_id, client_secret=secret.value)
    expect_refused(answer, "invalid_grant", 70000)


# The app's own credentials


def test_the_secret_may_come_in_the_basic_header(asking: Asking) -> None:
    secret = asking.app.secrets[0].value = "se~cr%et+with:signs/and ä"
    pair = f"{quote_plus(asking.app.client_id)}:{quote_plus(secret)}"
    headers = {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    form = {
        "grant_type": "authorization_code",
        "code": asking.code(),
        "redirect_uri": REDIRECT_URI,
        "scope": SMTP_SEND,
    }
    assert asking.post(form, headers)[0] == 200


def test_a_wrong_secret_is_refused(asking: Asking) -> None:
    secret_id = asking.app.secrets[0].secret_id
    answer = asking.redeem(asking.code(), client_secret=secret_id)
    sentence = expect_refused(answer, "invalid_client", 7000215, 401)
    assert "the client secret value, not the client secret ID" in sentence


def test_an_expired_secret_is_told_from_a_wrong_one(asking: Asking) -> None:
    asking.tenant.expire_secret(asking.app.client_id, asking.app.secrets[0].secret_id)
    expect_refused(asking.redeem(asking.code()), "invalid_client", 7000222, 401)
    asking.app.secrets.insert(0, asking.tenant.add_secret(asking.app.client_id))
    assert asking.redeem(asking.code())[0] == 200


def test_a_missing_secret_is_told(asking: Asking) -> None:
    expect_refused(asking.redeem(asking.code(), client_secret=""), "invalid_client", 7000218, 401)


def test_an_assertion_that_is_none_is_refused(asking: Asking) -> None:
    answer = asking.redeem(asking.code(), client_secret="", client_assertion="a.b.c")
    expect_refused(answer, "invalid_request", 90100)
    answer = asking.redeem(
        asking.code(), client_secret="", client_assertion="a.b.c", client_assertion_type=ASSERTION_TYPE
    )
    expect_refused(answer, "invalid_client", 50027, 401)


def test_an_unknown_app_is_refused(asking: Asking) -> None:
    expect_refused(asking.redeem(asking.code(), client_id="unknown"), "unauthorized_client", 700016)


@pytest.mark.parametrize("field", ["grant_type", "client_id", "code", "redirect_uri"])
def test_a_missing_field_is_named(asking: Asking, field: str) -> None:
    form = {**asking.form_for(asking.code()), field: ""}
    sentence = expect_refused(asking.post(form), "invalid_request", 900144)
    assert f"'{field}'" in sentence


def test_another_grant_is_refused(asking: Asking) -> None:
    answer = asking.redeem(asking.code(), grant_type="password")
    expect_refused(answer, "unsupported_grant_type", 70003)


def test_an_unknown_tenant_is_refused(asking: Asking) -> None:
    asking.path = "/fabrikam.com/oauth2/v2.0/token"
    expect_refused(asking.redeem(asking.code()), "invalid_request", 90002)


def test_a_single_tenant_app_may_not_ask_at_common(asking: Asking) -> None:
    asking.path = "/common/oauth2/v2.0/token"
    expect_refused(asking.redeem(asking.code()), "invalid_request", 50194)


def test_the_callers_correlation_id_comes_back(asking: Asking) -> None:
    wanted = "7d8a1c1e-5c7f-4a35-9a53-0d3a2e2b7c11"
    _, body = asking.post({"grant_type": "refresh_token"}, {"client-request-id": wanted})
    assert body["correlation_id"] == wanted


# The switch


def test_the_switch_makes_a_server_error(asking: Asking) -> None:
    asking.tenant.token_endpoint_fault = "500"
    expect_refused(asking.redeem(asking.code()), "server_error", 90033, 500)


def test_the_switch_makes_a_busy_answer_with_a_time_to_wait(asking: Asking) -> None:
    asking.tenant.token_endpoint_fault = "503_retry_after"
    answer = asking.server.post(asking.path, data={"grant_type": "refresh_token"})
    assert answer.headers["retry-after"] == "30"
    expect_refused((answer.status_code, answer.json()), "temporarily_unavailable", 90055, 503)


def test_the_switch_makes_a_page_where_json_should_be(asking: Asking) -> None:
    asking.tenant.token_endpoint_fault = "html"
    answer = asking.server.post(asking.path, data={"grant_type": "refresh_token"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


# Discovery


def test_discovery_names_the_real_endpoints(server: TestClient, tenant: Tenant) -> None:
    base = f"https://login.microsoftonline.com/{tenant.tenant_id}"
    for name in (tenant.tenant_id, "contoso.com"):
        found = server.get(f"/{name}/v2.0/.well-known/openid-configuration").json()
        assert found["issuer"] == f"{base}/v2.0"
        assert found["authorization_endpoint"] == f"{base}/oauth2/v2.0/authorize"
        assert found["token_endpoint"] == f"{base}/oauth2/v2.0/token"
        assert found["jwks_uri"] == f"{base}/discovery/v2.0/keys"
        assert found["subject_types_supported"] == ["pairwise"]
        assert "code_challenge_methods_supported" not in found


@pytest.mark.parametrize("name", ["common", "organizations"])
def test_the_shared_issuer_is_a_template(server: TestClient, name: str) -> None:
    found = server.get(f"/{name}/v2.0/.well-known/openid-configuration").json()
    assert found["issuer"] == "https://login.microsoftonline.com/{tenantid}/v2.0"
    assert found["token_endpoint"] == f"https://login.microsoftonline.com/{name}/oauth2/v2.0/token"


def test_an_unknown_tenant_has_no_discovery(server: TestClient) -> None:
    answer = server.get("/fabrikam.com/v2.0/.well-known/openid-configuration")
    expect_refused((answer.status_code, answer.json()), "invalid_tenant", 90002)


def test_the_keys_are_published(server: TestClient, tenant: Tenant, tokens: Tokens) -> None:
    found = server.get(f"/{tenant.tenant_id}/discovery/v2.0/keys").json()
    assert found == tokens.key_set()


def test_graph_is_what_nothing_else_names() -> None:
    assert parse_scopes("openid profile", "Contoso").first_resource == GRAPH
