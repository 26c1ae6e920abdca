"""Every AADSTS code of the reference (microsoft365.md 4.6), produced over HTTP: by its cause, and by a switch."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import msgspec
import pytest

from postroom.simulator.aadsts import read_problems
from postroom.simulator.clouds import GCC_HIGH
from postroom.simulator.issued_grants import SignInProof
from postroom.simulator.registration import AppRegistration
from postroom.simulator.tenant import DAY_SECONDS, Tenant, User
from postroom.simulator.token_faults import LOOP_REQUESTS
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.certificates import KeyPair, make_key_pair
from tests.unit.simulator.entra_world import (
    CHALLENGE,
    SMTP_SEND,
    USER_READ,
    Page,
    World,
    base64url,
    expect_error,
)

# Section 4.6, row by row.
REFERENCE = frozenset(
    {
        16000, 50020, 50034, 51004, 50011, 500113, 900971, 50053, 50055, 50144, 50057, 50126, 50056, 50058,
        50072, 50074, 50076, 50079, 50078, 50158, 50097, 53000, 53001, 53002, 50105, 50131, 53003, 530032,
        530035, 50132, 50133, 50173, 501481, 50147, 50194, 50196, 500011, 650052, 650057, 50001, 54005,
        70000, 65001, 65004, 90094, 90095, 90008, 65005, 650056, 70008, 700082, 70043, 700005, 70011, 28002,
        700022, 700023, 70016, 70018, 70019, 700016, 700011, 70001, 7000112, 700025, 700027, 50012, 700030,
        7000215, 7000218, 7000222, 90002, 90019, 900023, 90013, 90014, 90023, 900144, 90100, 90038, 900382,
        900432, 50000, 50033, 90006, 90012, 90024, 90033, 90055, 90090, 700229, 700024,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def key_pair() -> KeyPair:
    return make_key_pair()


@pytest.fixture(scope="module")
def other_key_pair() -> KeyPair:
    return make_key_pair("somebody else")


@pytest.fixture
def world(tenant: Tenant, tokens: Tokens, app: AppRegistration, scanner: User) -> Iterator[World]:
    tenant.grant_admin_consent(app.client_id)
    world = World(tenant, tokens, app, scanner)
    with world.server, world.browser:
        yield world


@pytest.mark.parametrize("code", sorted(REFERENCE))
def test_a_switch_produces_each(world: World, code: int) -> None:
    problem = read_problems()[code]
    world.tenant.entra.answer_with = code
    wanted = "7d8a1c1e-5c7f-4a35-9a53-0d3a2e2b7c11"
    answer = world.ask({"grant_type": "refresh_token"}, headers={"client-request-id": wanted})
    expect_error(answer, code, problem.error, status=problem.status)
    assert answer.json()["correlation_id"] == wanted
    assert answer.json().get("suberror", "") == problem.suberror
    page = world.open()
    assert f"AADSTS{code}: " in page.text
    assert problem.unconfirmed in page.text
    back = world.submit(page, answer="back").answer
    assert back["error"] == (problem.redirect_error or problem.error)
    assert back["error_description"].startswith(f"AADSTS{code}: ")


@pytest.mark.parametrize("code", sorted(REFERENCE))
def test_what_is_unconfirmed_is_said(code: int) -> None:
    problem = read_problems()[code]
    if problem.confidence == "C":
        assert problem.unconfirmed == "number, meaning and answer are unconfirmed"
    elif problem.error_confidence == "C":
        assert problem.unconfirmed == "the word in “error” and the HTTP status are unconfirmed"
    else:
        assert problem.unconfirmed == ""


def test_the_documented_words_are_marked_so() -> None:
    confirmed = {code for code in REFERENCE if read_problems()[code].error_confidence != "C"}
    assert confirmed == {50173, 65004, 70016, 70018, 70019}
    assert {code for code in REFERENCE if read_problems()[code].confidence == "C"} == {700024, 900432}


# At the token endpoint, by its cause

Cause = Callable[[World], httpx2.Response]


def _after(operate: Callable[[World], object]) -> Cause:
    """A refresh token that was good, then `operate`, then its use."""

    def produce(world: World) -> httpx2.Response:
        token = world.refresh_token()
        operate(world)
        return world.refresh(token)

    return produce


def _policy(control: str, **options: float) -> Cause:
    return _after(lambda world: world.directory.add_policy("p", control, **options))  # type: ignore[arg-type]


def _redeem_twice(world: World) -> httpx2.Response:
    code = world.code()
    assert world.redeem(code).status_code == 200
    return world.redeem(code)


def _redeem_late(world: World) -> httpx2.Response:
    code = world.code()
    world.tenant.clock.advance(601)
    return world.redeem(code)


def _refresh_late(world: World) -> httpx2.Response:
    token = world.refresh_token()
    world.tenant.clock.advance(91 * DAY_SECONDS)
    return world.refresh(token)


def _sign_in_too_old(world: World) -> httpx2.Response:
    token = world.refresh_token()
    world.directory.add_policy("Daily", "sign-in frequency", frequency_hours=24)
    world.tenant.clock.advance(DAY_SECONDS + 1)
    return world.refresh(token)


def _mfa_by_policy(world: World) -> httpx2.Response:
    world.directory.register_mfa(world.scanner.object_id)
    return _policy("require MFA")(world)


def _mfa_by_user(world: World) -> httpx2.Response:
    world.directory.register_mfa(world.scanner.object_id)
    return _after(lambda w: w.directory.require_mfa(w.scanner.object_id))(world)


def _delete_user(world: World) -> None:
    world.directory.delete_user(world.scanner.object_id)


def _loop(world: World) -> httpx2.Response:
    world.tenant.entra.detects_loops = True
    token = world.refresh_token()
    for _ in range(LOOP_REQUESTS - 1):
        assert world.refresh(token).status_code == 200
    return world.refresh(token)


def _other_cloud(world: World) -> httpx2.Response:
    world.tenant.cloud = GCC_HIGH
    return world.start_device_raw()


def _other_cloud_confidential(world: World) -> httpx2.Response:
    world.tenant.cloud = GCC_HIGH
    return world.ask_as_app()


def _device(act: Callable[[World, dict[str, str]], None]) -> Cause:
    def produce(world: World) -> httpx2.Response:
        world.directory.allow_public_client_flows(world.app.client_id, allowed=True)
        device = world.start_device()
        act(world, device)
        return world.poll(device)

    return produce


def _public_with_secret(world: World) -> httpx2.Response:
    world.directory.remove_redirect_uri(world.app.client_id, "x")
    return world.redeem(world.code(proof=SignInProof(world.tenant.clock.now(), platform="public")))


def _code_of_spa_without_origin(world: World) -> httpx2.Response:
    proof = SignInProof(world.tenant.clock.now(), platform="spa")
    return world.redeem(world.code(proof=proof), client_secret="")


def _spa_after_a_day(world: World) -> httpx2.Response:
    token = world.refresh_token(proof=SignInProof(world.tenant.clock.now(), platform="spa"))
    world.tenant.clock.advance(DAY_SECONDS + 1)
    return world.refresh(token)


AT_THE_TOKEN_ENDPOINT: list[tuple[int, str, int, Cause]] = [
    (28000, "invalid_scope", 400, lambda w: w.redeem(w.code(), scope=f"{SMTP_SEND} {USER_READ}")),
    (28003, "invalid_request", 400, lambda w: w.redeem(w.code(f"{SMTP_SEND} {USER_READ}"), scope="")),
    (50034, "invalid_grant", 400, _after(_delete_user)),
    (50057, "invalid_grant", 400, _after(lambda w: w.directory.disable_user(w.scanner.object_id))),
    (50105, "invalid_grant", 400, _after(lambda w: w.directory.require_assignment(w.app.client_id, required=True))),
    (50173, "invalid_grant", 400, _after(lambda w: w.tenant.revoke_sessions(w.scanner.object_id))),
    (50074, "interaction_required", 400, _mfa_by_user),
    (50076, "invalid_grant", 400, _mfa_by_policy),
    (50079, "invalid_grant", 400, _policy("require MFA")),
    (53000, "interaction_required", 400, _policy("require compliant device")),
    (53001, "interaction_required", 400, _policy("require joined device")),
    (53002, "interaction_required", 400, _policy("require approved app")),
    (53003, "invalid_grant", 400, _policy("block")),
    (70043, "invalid_grant", 400, _sign_in_too_old),
    (500112, "invalid_grant", 400, lambda w: w.redeem(w.code(), redirect_uri="http://localhost/else")),
    (501481, "invalid_grant", 400, lambda w: w.redeem(w.code(code_challenge=CHALLENGE), code_verifier="x" * 43)),
    (50148, "invalid_grant", 400, lambda w: w.redeem(w.code(code_challenge=CHALLENGE))),
    (50194, "invalid_request", 400, lambda w: w.redeem(w.code(), tenant="common")),
    (9002332, "invalid_request", 400, lambda w: w.redeem(w.code(), tenant="consumers")),
    (50196, "invalid_grant", 400, _loop),
    (500011, "invalid_resource", 400, lambda w: w.refresh(scope="https://nowhere.example/Mail.Send")),
    (650052, "invalid_resource", 400, _after(lambda w: setattr(w.tenant.entra, "exchange_is_subscribed", False))),
    (650057, "invalid_resource", 400, lambda w: w.refresh_default_without_permission()),
    (54005, "invalid_grant", 400, _redeem_twice),
    (65001, "invalid_grant", 400, _after(lambda w: w.tenant.revoke_consent(w.app.client_id))),
    (70000, "invalid_grant", 400, lambda w: w.refresh("made up")),
    (70003, "unsupported_grant_type", 400, lambda w: w.ask({"grant_type": "password", **w.credentials})),
    (70008, "invalid_grant", 400, _redeem_late),
    (700082, "invalid_grant", 400, _refresh_late),
    (700084, "invalid_grant", 400, _spa_after_a_day),
    (9002327, "invalid_request", 400, _code_of_spa_without_origin),
    (700005, "invalid_grant", 400, lambda w: w.redeem(w.code(tenant_name="common"))),
    (70011, "invalid_scope", 400, lambda w: w.ask_as_app(scope=SMTP_SEND)),
    (70016, "authorization_pending", 400, _device(lambda w, d: None)),
    (70018, "bad_verification_code", 400, _device(lambda w, d: d.update(device_code="made up"))),
    (70019, "expired_token", 400, _device(lambda w, d: w.tenant.clock.advance(901))),
    (700016, "unauthorized_client", 400, lambda w: w.refresh(client_id="nobody")),
    (7000112, "unauthorized_client", 400, _after(
        lambda w: w.directory.enable_sign_in_to_app(w.app.client_id, enabled=False))),
    (700025, "invalid_client", 401, _public_with_secret),
    (7000215, "invalid_client", 401, lambda w: w.ask_as_app(client_secret=w.app.secrets[0].secret_id)),
    (7000218, "invalid_client", 401, lambda w: w.ask_as_app(client_secret="")),
    (7000222, "invalid_client", 401, _after(
        lambda w: w.tenant.expire_secret(w.app.client_id, w.app.secrets[0].secret_id))),
    (90002, "invalid_request", 400, lambda w: w.redeem(w.code(), tenant="fabrikam.com")),
    (900023, "invalid_request", 400, lambda w: w.redeem(w.code(), tenant="fabrikam")),
    (9001023, "invalid_request", 400, lambda w: w.ask_as_app(tenant="common")),
    (900144, "invalid_request", 400, lambda w: w.ask_as_app(scope="")),
    (90100, "invalid_request", 400, lambda w: w.ask_as_app(client_secret="", client_assertion="a.b.c")),
    (90038, "invalid_request", 400, _other_cloud),
    (900432, "invalid_request", 400, _other_cloud_confidential),
    (90033, "server_error", 500, _after(lambda w: setattr(w.tenant, "token_endpoint_fault", "500"))),
    (90055, "temporarily_unavailable", 503, _after(
        lambda w: setattr(w.tenant, "token_endpoint_fault", "503_retry_after"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "error", "status", "cause"), AT_THE_TOKEN_ENDPOINT, ids=[str(row[0]) for row in AT_THE_TOKEN_ENDPOINT]
)
def test_the_token_endpoint_says_why(world: World, code: int, error: str, status: int, cause: Cause) -> None:
    expect_error(cause(world), code, error, status=status)


# By certificate


def test_an_unknown_certificate_is_named(world: World, key_pair: KeyPair) -> None:
    sentence = expect_error(world.ask_as_app(**world.assertion(key_pair)), 700027, "invalid_client", status=401)
    assert "is not registered on application" in sentence
    assert key_pair.sha256_thumbprint in sentence


def test_an_expired_certificate_is_told_apart(world: World, key_pair: KeyPair) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_pem)
    world.tenant.clock.advance(91 * DAY_SECONDS)
    sentence = expect_error(world.ask_as_app(**world.assertion(key_pair)), 700027, "invalid_client", status=401)
    assert "is expired on application. [Reason - The key used is expired." in sentence


def _mixed(header_of: KeyPair) -> dict[str, str]:
    return {"x5t#S256": base64url(bytes.fromhex(header_of.sha256_thumbprint))}


def test_a_signature_of_another_key_is_refused(world: World, key_pair: KeyPair, other_key_pair: KeyPair) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_pem)
    answer = world.ask_as_app(**world.assertion(other_key_pair, header=_mixed(key_pair)))
    expect_error(answer, 50012, "invalid_client", status=401)


def test_ps256_is_not_taken_for_rs256(world: World, key_pair: KeyPair) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_pem)
    fields = world.assertion(key_pair, alg="PS256")
    header, claims, signature = fields["client_assertion"].split(".")
    forged = base64url(b'{"alg":"RS256","x5t#S256":"%s"}' % _mixed(key_pair)["x5t#S256"].encode())
    fields["client_assertion"] = f"{forged}.{claims}.{signature}"
    assert header != forged
    expect_error(world.ask_as_app(**fields), 50012, "invalid_client", status=401)


@pytest.mark.parametrize("alg", ["none", "HS256"])
def test_other_algorithms_are_refused(world: World, key_pair: KeyPair, alg: str) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_pem)
    fields = world.assertion(key_pair)
    _, claims, signature = fields["client_assertion"].split(".")
    header = msgspec.json.encode({"alg": alg, **_mixed(key_pair)})
    fields["client_assertion"] = f"{base64url(header)}.{claims}.{signature}"
    expect_error(world.ask_as_app(**fields), 50027, "invalid_client", status=401)


def test_a_chain_that_begins_with_another_certificate_is_refused(
    world: World, key_pair: KeyPair, other_key_pair: KeyPair
) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_pem)
    chain = ["".join(other_key_pair.certificate_pem.decode().splitlines()[1:-1])]
    answer = world.ask_as_app(**world.assertion(key_pair, header={**_mixed(key_pair), "x5c": chain}))
    sentence = expect_error(answer, 700030, "invalid_client", status=401)
    assert "CN=somebody else" in sentence


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "somebody"}, 700021),
        ({"sub": "somebody"}, 700021),
        ({"aud": "https://login.microsoftonline.com/common/oauth2/v2.0/token"}, 700023),
        ({"aud": "https://login.microsoftonline.us/contoso.com/oauth2/v2.0/token"}, 700023),
        ({"nbf": 1, "exp": 2}, 700024),
        ({"exp": None}, 700024),
        ({"nbf": 4_000_000_000, "exp": 4_000_000_300}, 700024),
    ],
)
def test_each_claim_of_an_assertion_counts(world: World, key_pair: KeyPair, changes: dict[str, Any], code: int) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_der)
    answer = world.ask_as_app(**world.assertion(key_pair, **changes))
    expect_error(answer, code, "invalid_client", status=401)


@pytest.mark.parametrize("audience", ["contoso.com/oauth2/v2.0/token", "contoso.com/oauth2/token", "contoso.com/v2.0"])
def test_the_audience_may_be_written_otherwise(world: World, key_pair: KeyPair, audience: str) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_der)
    fields = world.assertion(key_pair, aud=f"https://login.microsoftonline.com/{audience}")
    assert world.ask_as_app(**fields).status_code == 200


def test_the_older_form_is_taken_and_needs_no_client_id(world: World, key_pair: KeyPair) -> None:
    world.directory.add_certificate(world.app.client_id, key_pair.certificate_pem)
    header = {"x5t": base64url(bytes.fromhex(key_pair.sha1_thumbprint))}
    answer = world.ask_as_app(**world.assertion(key_pair, alg="RS256", header=header), client_id="")
    assert answer.status_code == 200, answer.text


# On the pages, by its cause

PageCause = Callable[[World], Page]


def _sign_in_after(operate: Callable[[World], object]) -> PageCause:
    def produce(world: World) -> Page:
        operate(world)
        return world.open_and_sign_in()

    return produce


def _sign_in_as(user_name: str, password: str = "x") -> PageCause:
    return lambda world: world.submit(world.open(), loginfmt=user_name, passwd=password)


def _locked_by_mistakes(world: World) -> Page:
    page = world.open()
    for _ in range(10):
        page = world.sign_in(page, password="wrong")
        assert "AADSTS50126" in page.text
    return world.sign_in(page)


def _guest_at_common(world: World) -> Page:
    world.app.is_multitenant = True
    world.directory.invite_guest("kim@fabrikam.com", "Kim-5")
    return world.submit(world.open(tenant="common"), loginfmt="kim@fabrikam.com", passwd="Kim-5")


def _deny_second_factor(world: World) -> Page:
    world.directory.require_mfa(world.scanner.object_id)
    world.directory.register_mfa(world.scanner.object_id)
    return world.submit(world.open_and_sign_in(), answer="deny")


def _no_redirect_uri(world: World) -> Page:
    world.app.redirect_uris.clear()
    return world.open(redirect_uri="")


def _pages_of_other_cloud(world: World) -> Page:
    world.tenant.cloud = GCC_HIGH
    return world.open(host="https://login.microsoftonline.com")


ON_THE_PAGES: list[tuple[int, PageCause]] = [
    (50020, _sign_in_as("kim@fabrikam.com")),
    (50020, _sign_in_as("kim@outlook.com")),
    (50020, _guest_at_common),
    (50034, _sign_in_as("nobody@contoso.com")),
    (50126, _sign_in_as("scanner@contoso.com")),
    (50053, _sign_in_after(lambda w: w.directory.lock_user(w.scanner.object_id))),
    (50053, _locked_by_mistakes),
    (50055, _sign_in_after(lambda w: w.directory.expire_password(w.scanner.object_id))),
    (50057, _sign_in_after(lambda w: w.directory.disable_user(w.scanner.object_id))),
    (50074, _deny_second_factor),
    (50079, _sign_in_after(lambda w: w.directory.require_mfa(w.scanner.object_id))),
    (50105, _sign_in_after(lambda w: w.directory.require_assignment(w.app.client_id, required=True))),
    (53000, _sign_in_after(lambda w: w.directory.add_policy("p", "require compliant device"))),
    (53003, _sign_in_after(lambda w: w.directory.add_policy("p", "block"))),
    (50011, lambda w: w.open(redirect_uri="http://localhost:1/else")),
    (900971, lambda w: w.open(redirect_uri="")),
    (500113, _no_redirect_uri),
    (700016, lambda w: w.open(client_id="nobody")),
    (50194, lambda w: w.open(tenant="organizations")),
    (90002, lambda w: w.open(tenant="fabrikam.com")),
    (90038, _pages_of_other_cloud),
]


@pytest.mark.parametrize(("code", "cause"), ON_THE_PAGES)
def test_the_page_says_why(world: World, code: int, cause: PageCause) -> None:
    page = cause(world)
    assert page.location == ""
    assert f"AADSTS{code}" in page.text


AT_THE_REDIRECT: list[tuple[int, str, dict[str, str]]] = [
    (50058, "login_required", {"prompt": "none"}),
    (50147, "invalid_request", {"code_challenge_method": "S256"}),
    (501491, "invalid_request", {"code_challenge": "short"}),
    (500011, "invalid_resource", {"scope": "https://nowhere.example/Mail.Send"}),
    (700051, "unsupported_response_type", {"response_type": "token"}),
    (700054, "unsupported_response_type", {"response_type": "code id_token"}),
    (70011, "invalid_scope", {"scope": "https://outlook.office.com/SMTP.SendAsApp"}),
    (90023, "invalid_request", {"prompt": "please"}),
    (900144, "invalid_request", {"scope": ""}),
]


@pytest.mark.parametrize(("code", "error", "changes"), AT_THE_REDIRECT)
def test_the_redirect_says_why(world: World, code: int, error: str, changes: dict[str, str]) -> None:
    back = world.open(**changes).answer
    assert back["error"] == error
    assert back["error_description"].startswith(f"AADSTS{code}: ")
    assert "\r\nTrace ID: " in back["error_description"]


def test_each_code_has_a_cause_or_only_a_switch() -> None:
    """What has no cause here is in the reference for the client's sake; the switch still says it."""
    caused = {row[0] for row in AT_THE_TOKEN_ENDPOINT} | {row[0] for row in ON_THE_PAGES}
    caused |= {row[0] for row in AT_THE_REDIRECT} | {700027, 50012, 700030, 700023, 700024}
    elsewhere = {65004, 90094, 90095, 90014}  # test_consent_pages.py, test_sign_in_pages.py
    assert REFERENCE - caused - elsewhere == {
        16000, 51004, 50144, 50056, 50072, 50078, 50158, 50097, 50131, 530032, 530035, 50132, 50133, 50001,
        90008, 65005, 650056, 28002, 700022, 700011, 70001, 90019, 90013, 900382, 50000, 50033, 90006, 90012,
        90024, 90090, 700229,
    }  # fmt: skip
