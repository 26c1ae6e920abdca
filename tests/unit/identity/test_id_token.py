"""Who signed in is believed only when everything about the proof is right."""

from typing import Any

import pytest
from joserfc import jwt

from postroom.clock import MICROSECONDS, ManualClock
from postroom.identity.id_token import Expected, check_id_token
from postroom.identity.refused import SignInRefused
from tests.unit.identity.pretend_entra import (
    CLIENT_ID,
    ISSUER,
    KEY,
    OBJECT_ID,
    OTHER_KEY,
    TENANT,
    PretendEntra,
)

EXPECTED = Expected(CLIENT_ID, TENANT, "https://login.microsoftonline.com/{tenantid}/v2.0", "the-nonce")


def check(claims: dict[str, Any] | None = None, expected: Expected = EXPECTED, *, later_seconds: float = 0) -> Any:
    clock = ManualClock()
    entra = PretendEntra(clock)
    entra.nonce = "the-nonce"
    entra.claims = claims or {}
    token = entra.id_token()
    clock.advance(later_seconds)
    return check_id_token(token, entra.key_set(), expected, clock.now_us())


def test_a_good_token_names_the_person() -> None:
    who = check()
    assert (who.object_id, who.tenant_id, who.name) == (OBJECT_ID, TENANT, "Scanner")


def test_the_issuer_may_be_literal_and_the_tenant_a_domain() -> None:
    who = check(expected=Expected(CLIENT_ID, "contoso.com", ISSUER, "the-nonce"))
    assert who.tenant_id == TENANT


OTHER_TENANT = "99999999-86f1-41af-91ab-2d7cd011db47"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"aud": "another-app"}, "it is meant for another app (aud)"),
        ({"aud": [CLIENT_ID, "another-app"]}, "it is meant for another app (aud)"),
        ({"nonce": "another"}, "it belongs to another sign-in (nonce)"),
        ({"nonce": None}, "it belongs to another sign-in (nonce)"),
        ({"iss": "https://evil.example/v2.0"}, "it was issued by https://evil.example/v2.0"),
        ({"iss": None}, "(iss)"),
        ({"tid": OTHER_TENANT}, f"not by https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
        (
            {"tid": OTHER_TENANT, "iss": f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"},
            f"it is from the tenant {OTHER_TENANT}, not from {TENANT}",
        ),
        ({"tid": None}, "it does not say tid"),
        ({"oid": None}, "it does not say oid"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "not valid yet"),
    ],
)
def test_each_wrong_claim_is_refused_with_its_reason(claims: dict[str, Any], words: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        check(claims)
    assert words in str(refused.value)
    assert str(refused.value).endswith("Nothing was saved.")
    assert refused.value.code == "id_token_refused"


def test_time_counts_by_our_clock_with_two_minutes_of_leeway() -> None:
    check(later_seconds=3599 + 119)
    with pytest.raises(SignInRefused, match="by this machine's clock it has expired") as refused:
        check(later_seconds=3599 + 121)
    assert refused.value.remedy_id == "clock_off"
    check(later_seconds=-300 - 119)
    with pytest.raises(SignInRefused, match="not valid yet"):
        check(later_seconds=-300 - 121)


def verify(token: str, key_set: dict[str, Any] | None = None) -> None:
    clock = ManualClock()
    check_id_token(token, key_set or PretendEntra(clock).key_set(), EXPECTED, clock.now_us())


def good_claims() -> dict[str, Any]:
    now = ManualClock().now_us() // MICROSECONDS
    who = {"aud": CLIENT_ID, "iss": ISSUER, "tid": TENANT, "oid": OBJECT_ID, "nonce": "the-nonce"}
    return {**who, "iat": now, "exp": now + 60}


def test_a_signature_by_another_key_of_the_same_name_is_refused() -> None:
    with pytest.raises(SignInRefused, match="its signature is wrong"):
        verify(jwt.encode({"alg": "RS256", "kid": "key-1"}, good_claims(), OTHER_KEY))


def test_a_key_that_is_not_listed_is_refused() -> None:
    with pytest.raises(SignInRefused, match="a key that Microsoft does not list"):
        verify(jwt.encode({"alg": "RS256", "kid": "key-9"}, good_claims(), KEY))


def test_only_rs256_is_believed() -> None:
    unsigned = "eyJhbGciOiJub25lIn0." + jwt.encode({"alg": "RS256"}, good_claims(), KEY).split(".")[1] + "."
    for token in (
        unsigned,
        jwt.encode({"alg": "RS512", "kid": "key-1"}, good_claims(), KEY, algorithms=["RS512"]),
        jwt.encode({"alg": "PS256", "kid": "key-1"}, good_claims(), KEY, algorithms=["PS256"]),
        "",
        "a.b.c",
        "not a token",
    ):
        with pytest.raises(SignInRefused, match="it cannot be read"):
            verify(token)


def test_the_good_token_of_these_tests_is_good() -> None:
    verify(jwt.encode({"alg": "RS256", "kid": "key-1"}, good_claims(), KEY))


@pytest.mark.parametrize("key_set", [{"keys": []}, {"keys": "none"}, {"nothing": 1}, {"keys": [{"kty": "RSA"}]}])
def test_a_document_without_keys_is_refused(key_set: dict[str, Any]) -> None:
    with pytest.raises(SignInRefused, match="The ID token cannot be trusted"):
        verify(jwt.encode({"alg": "RS256", "kid": "key-1"}, good_claims(), KEY), key_set)
