"""What is sent to Microsoft: the authorize address and the two forms."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from postroom.identity.client import Client, identify_client
from postroom.identity.grants import begin_sign_in, code_form, missing_scopes, refresh_form
from postroom.identity.providers import MICROSOFT, explain_tenant
from postroom.store.records import EmailType, MailServerDraft
from tests.unit.identity.pretend_entra import CLIENT_ID, SMTP_SEND, TENANT, USER_READ

CLIENT = Client(TENANT, CLIENT_ID, "secret~value")
SCOPES = MICROSOFT.sign_in_scopes(MailServerDraft())
REDIRECT = "https://postroom.example/oauth/callback"


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_the_authorize_address_asks_for_both_resources_with_pkce_state_and_nonce() -> None:
    attempt, url = begin_sign_in(MICROSOFT, CLIENT, REDIRECT, username="scanner@contoso.com", scopes=SCOPES)
    assert url.startswith(f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize?")
    query = query_of(url)
    assert query == {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "response_mode": "query",
        "redirect_uri": REDIRECT,
        "scope": f"{SMTP_SEND} {USER_READ} offline_access openid profile email",
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": create_s256_code_challenge(attempt.code_verifier),
        "code_challenge_method": "S256",
        "login_hint": "scanner@contoso.com",
    }


def test_on_retry_the_person_chooses_and_no_username_is_suggested() -> None:
    _, url = begin_sign_in(MICROSOFT, CLIENT, REDIRECT, username="a@b.c", scopes=SCOPES, select_account=True)
    assert query_of(url)["prompt"] == "select_account"
    assert "login_hint" not in query_of(url)


def test_no_two_attempts_share_a_secret_and_the_verifier_has_the_length_of_rfc_7636() -> None:
    attempts = [begin_sign_in(MICROSOFT, CLIENT, REDIRECT, username="a@b.c", scopes=SCOPES)[0] for _ in range(5)]
    values = [value for it in attempts for value in (it.state, it.nonce, it.code_verifier)]
    assert len(set(values)) == 15
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43,128}", it.code_verifier) for it in attempts)


def test_the_code_is_redeemed_for_one_resource_only() -> None:
    attempt, _ = begin_sign_in(MICROSOFT, CLIENT, REDIRECT, username="a@b.c", scopes=SCOPES)
    form = code_form(attempt, "the-code", MICROSOFT.smtp_scope)
    assert form["scope"] == f"{SMTP_SEND} offline_access openid profile email"
    assert form["code_verifier"] == attempt.code_verifier
    assert (form["grant_type"], form["code"], form["redirect_uri"]) == ("authorization_code", "the-code", REDIRECT)
    assert identify_client(CLIENT, MICROSOFT.token_url(CLIENT.tenant), 0)["client_id"] == CLIENT_ID


def test_a_refresh_repeats_offline_access() -> None:
    form = refresh_form("refresh-1", USER_READ)
    assert form["grant_type"] == "refresh_token"
    assert form["refresh_token"] == "refresh-1"
    assert form["scope"].split() == [USER_READ, "offline_access", "openid", "profile", "email"]


def test_scopes_are_compared_without_their_resource_and_without_capitals() -> None:
    assert missing_scopes([SMTP_SEND, USER_READ], ["smtp.send", "https://graph.microsoft.com/user.read"]) == ()
    assert missing_scopes([SMTP_SEND, USER_READ], ["User.Read", "openid"]) == ("SMTP.Send",)


def test_nothing_secret_stands_in_a_repr() -> None:
    attempt, _ = begin_sign_in(MICROSOFT, CLIENT, REDIRECT, username="a@b.c", scopes=SCOPES)
    text = repr((CLIENT, attempt))
    for value in (CLIENT.client_secret, attempt.code_verifier, attempt.state, attempt.nonce):
        assert value not in text


def test_a_tenant_is_a_guid_or_a_domain_and_never_everybody() -> None:
    assert explain_tenant(TENANT) is None
    assert explain_tenant("contoso.onmicrosoft.com") is None
    for shared in ("common", "Organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"):
        assert "also lets other organisations' accounts sign in" in (explain_tenant(shared) or "")
    for wrong in ("contoso", "../common", "contoso.com/x", "a b.com", "72f988bf"):
        assert "A Tenant ID is a GUID" in (explain_tenant(wrong) or ""), wrong
    assert "Directory (tenant) ID" in (explain_tenant("") or "")


def test_drafts_are_asked_for_only_where_large_mail_goes_by_graph() -> None:
    def asked(**fields: Any) -> list[str]:
        return [scope.rpartition("/")[2] for scope in MICROSOFT.sign_in_scopes(MailServerDraft(**fields))]

    assert asked(email_type=EmailType.GRAPH, takes_large_mail=True)[:3] == ["Mail.Send", "Mail.ReadWrite", "User.Read"]
    assert "Mail.ReadWrite" not in asked(email_type=EmailType.GRAPH)
    assert "Mail.ReadWrite" not in asked(takes_large_mail=True)
