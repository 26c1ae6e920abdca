from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from postroom.simulator.scopes import GRAPH, OUTLOOK
from postroom.simulator.tenant import AppRegistration, Tenant, User
from postroom.simulator.tokens import (
    ACCESS_TOKEN_SECONDS,
    GRAPH_AUDIENCES,
    AccessClaims,
    TokenProblem,
    Tokens,
)


def read_claims(tokens: Tokens, token: str) -> dict[str, Any]:
    """As a stranger does: with the published keys."""
    keys = KeySet.import_key_set(tokens.key_set())  # type: ignore[arg-type]
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def issue_for_smtp(tokens: Tokens, app: AppRegistration, user: User) -> str:
    return tokens.issue_access_token(app.client_id, user, OUTLOOK, ["SMTP.Send"])


def expect_problem(answer: AccessClaims | TokenProblem, reason: str) -> TokenProblem:
    assert isinstance(answer, TokenProblem)
    assert answer.reason == reason
    return answer


def test_an_access_token_for_smtp_has_entras_first_format(
    tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant
) -> None:
    claims = read_claims(tokens, issue_for_smtp(tokens, app, scanner))
    assert claims["aud"] == "https://outlook.office.com"
    assert claims["iss"] == f"https://sts.windows.net/{tenant.tenant_id}/"
    assert claims["scp"] == "SMTP.Send"
    assert claims["upn"] == "scanner@contoso.com"
    assert claims["appid"] == app.client_id
    assert claims["oid"] == scanner.object_id
    assert claims["tid"] == tenant.tenant_id
    assert claims["ver"] == "1.0"
    assert abs(claims["exp"] - tenant.clock.now() - ACCESS_TOKEN_SECONDS) < 60


def test_a_good_token_is_read(tokens: Tokens, app: AppRegistration, scanner: User) -> None:
    claims = tokens.check_access_token(issue_for_smtp(tokens, app, scanner))
    assert isinstance(claims, AccessClaims)
    assert claims.user_principal_name == "scanner@contoso.com"
    assert claims.object_id == scanner.object_id
    assert claims.client_id == app.client_id
    assert claims.scopes == {"SMTP.Send"}


def test_another_keys_signature_is_refused(tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant) -> None:
    foreign = issue_for_smtp(Tokens(tenant), app, scanner)
    expect_problem(tokens.check_access_token(foreign), "bad signature")


@pytest.mark.parametrize("token", ["", "EwBAAl3B", "a.b.c", "ä.ö.ü", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_signed_token_is_malformed(tokens: Tokens, token: str) -> None:
    expect_problem(tokens.check_access_token(token), "malformed")


def test_a_token_for_graph_does_not_open_smtp(tokens: Tokens, app: AppRegistration, scanner: User) -> None:
    token = tokens.issue_access_token(app.client_id, scanner, GRAPH, ["SMTP.Send"])
    problem = expect_problem(tokens.check_access_token(token), "audience")
    assert "https://graph.microsoft.com" in problem.detail
    answer = tokens.check_access_token(token, audiences=GRAPH_AUDIENCES)
    assert isinstance(answer, AccessClaims)


def test_a_token_without_the_scope_is_refused(tokens: Tokens, app: AppRegistration, scanner: User) -> None:
    token = tokens.issue_access_token(app.client_id, scanner, OUTLOOK, ["Mail.Send"])
    problem = expect_problem(tokens.check_access_token(token), "scope missing")
    assert problem.detail == "the token allows Mail.Send, not SMTP.Send"


def test_a_token_expires(tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant) -> None:
    token = issue_for_smtp(tokens, app, scanner)
    now = tenant.clock.now()
    assert isinstance(tokens.check_access_token(token, now + ACCESS_TOKEN_SECONDS - 2), AccessClaims)
    expect_problem(tokens.check_access_token(token, now + ACCESS_TOKEN_SECONDS), "expired")
    tenant.clock.advance(3600)
    expect_problem(tokens.check_access_token(token), "expired")


def test_revoking_ends_the_tokens_until_now_and_not_the_next(
    tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant
) -> None:
    token = issue_for_smtp(tokens, app, scanner)
    tenant.revoke_sessions(scanner.object_id)
    expect_problem(tokens.check_access_token(token), "revoked")
    assert isinstance(tokens.check_access_token(issue_for_smtp(tokens, app, scanner)), AccessClaims)


def test_a_token_of_a_removed_user_is_refused(
    tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant
) -> None:
    token = issue_for_smtp(tokens, app, scanner)
    del tenant.users[scanner.object_id]
    expect_problem(tokens.check_access_token(token), "unknown user")


def test_an_id_token_tells_what_was_asked(tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant) -> None:
    claims = read_claims(tokens, tokens.issue_id_token(app.client_id, scanner, ["openid", "profile"], "n-0S6_WzA2Mj"))
    assert claims["aud"] == app.client_id
    assert claims["iss"] == f"https://login.microsoftonline.com/{tenant.tenant_id}/v2.0"
    assert claims["nonce"] == "n-0S6_WzA2Mj"
    assert claims["oid"] == scanner.object_id
    assert claims["tid"] == tenant.tenant_id
    assert claims["preferred_username"] == "scanner@contoso.com"
    assert claims["ver"] == "2.0"
    assert "email" not in claims


def test_an_id_token_without_profile_names_nobody(tokens: Tokens, app: AppRegistration, scanner: User) -> None:
    claims = read_claims(tokens, tokens.issue_id_token(app.client_id, scanner, ["openid", "email"]))
    assert not {"oid", "preferred_username", "name", "nonce"} & set(claims)
    assert claims["email"] == "scanner@contoso.com"


def test_the_subject_differs_by_app(tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant) -> None:
    other = tenant.register_app("Other")
    subjects = {
        read_claims(tokens, tokens.issue_id_token(client_id, scanner, ["openid"]))["sub"]
        for client_id in (app.client_id, app.client_id, other.client_id)
    }
    assert len(subjects) == 2


def test_an_id_token_holds_by_the_machines_time(
    tokens: Tokens, app: AppRegistration, scanner: User, tenant: Tenant
) -> None:
    tenant.clock.advance(400 * 86_400)
    claims = read_claims(tokens, tokens.issue_id_token(app.client_id, scanner, ["openid"]))
    assert claims["iat"] <= tenant.clock.machine_now() < claims["exp"]


def test_the_published_keys_are_public(tokens: Tokens) -> None:
    [key] = tokens.key_set()["keys"]
    assert {"kty", "use", "kid", "n", "e", "issuer"} <= set(key)
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(key)
