"""The sign-in as a browser without scripts meets it: pages, forms, redirects."""

import html
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import entra
from postroom.simulator.tenant import AppRegistration, Tenant, User
from postroom.simulator.tokens import Tokens

REDIRECT_URI = "http://localhost:8025/oauth/callback"
SCOPE = "openid profile offline_access https://outlook.office.com/SMTP.Send https://graph.microsoft.com/User.Read"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636, appendix B


@pytest.fixture
def browser(tenant: Tenant, tokens: Tokens) -> Iterator[TestClient]:
    application = Starlette(routes=entra.browser_routes(tenant, tokens))
    with TestClient(application, "http://localhost", follow_redirects=False) as client:
        yield client


@pytest.fixture
def query(app: AppRegistration) -> dict[str, str]:
    return {
        "client_id": app.client_id,
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": SCOPE,
        "state": "af0ifjsldkj",
        "nonce": "n-0S6_WzA2Mj",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }


class Page:
    """One HTML page: its text, and the form that it holds."""

    def __init__(self, text: str) -> None:
        self.text = html.unescape(text)
        fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', text)
        self.fields = {name: html.unescape(value) for name, value in fields}
        actions = re.findall(r'<form method="post" action="([^"]+)"', text)
        self.action = html.unescape(actions[0]) if actions else ""


def open_sign_in(browser: TestClient, tenant: Tenant, query: dict[str, str]) -> Page:
    answer = browser.get(f"/{tenant.tenant_id}/oauth2/v2.0/authorize", params=query)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def redirected_with(location: str) -> dict[str, str]:
    assert location.startswith(REDIRECT_URI)
    parts = urlsplit(location)
    return {name: values[0] for name, values in parse_qs(parts.query or parts.fragment).items()}


def sign_in(browser: TestClient, page: Page, user: User) -> Page | dict[str, str]:
    """What follows the password: the consent page, or the answer at the redirect URI."""
    form = {**page.fields, "loginfmt": user.user_principal_name, "passwd": user.password}
    answer = browser.post(page.action, data=form)
    if answer.status_code == 302:
        return redirected_with(answer.headers["location"])
    return Page(answer.text)


def expect_redirected_error(browser: TestClient, tenant: Tenant, query: dict[str, str], error: str, code: int) -> str:
    """The sentence of an error that went back to the app."""
    answer = browser.get(f"/{tenant.tenant_id}/oauth2/v2.0/authorize", params=query)
    assert answer.status_code == 302, answer.text
    back = redirected_with(answer.headers["location"])
    assert back["error"] == error
    assert back["state"] == "af0ifjsldkj"
    assert back["error_uri"] == f"https://login.microsoftonline.com/error?code={code}"
    assert back["error_description"].startswith(f"AADSTS{code}: ")
    assert re.search(r"\r\nTrace ID: \S+\r\nCorrelation ID: \S+\r\nTimestamp: ", back["error_description"])
    return back["error_description"]


def expect_page_of_error(browser: TestClient, tenant_name: str, query: dict[str, str], code: int) -> str:
    answer = browser.get(f"/{tenant_name}/oauth2/v2.0/authorize", params=query)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    page = Page(answer.text)
    assert f"AADSTS{code}: " in page.text
    return page.text


# What a person does


def test_sign_in_and_consent_give_a_code(
    browser: TestClient, tenant: Tenant, tokens: Tokens, query: dict[str, str], scanner: User
) -> None:
    consent = sign_in(browser, open_sign_in(browser, tenant, query), scanner)
    assert isinstance(consent, Page)
    assert "Permissions requested" in consent.text
    assert "Send emails from mailboxes using SMTP AUTH" in consent.text
    assert "scanner@contoso.com" in consent.text

    answer = browser.post(consent.action, data={**consent.fields, "answer": "accept"})
    back = redirected_with(answer.headers["location"])
    assert set(back) == {"code", "state", "session_state"}
    assert back["state"] == "af0ifjsldkj"
    code = tokens.code(back["code"])
    assert code is not None
    assert code.object_id == scanner.object_id
    assert code.nonce == "n-0S6_WzA2Mj"
    assert (code.code_challenge, code.code_challenge_method) == (CHALLENGE, "S256")


def test_consent_is_asked_once(browser: TestClient, tenant: Tenant, query: dict[str, str], scanner: User) -> None:
    consent = sign_in(browser, open_sign_in(browser, tenant, query), scanner)
    assert isinstance(consent, Page)
    browser.post(consent.action, data={**consent.fields, "answer": "accept"})
    again = sign_in(browser, open_sign_in(browser, tenant, {**query, "prompt": "login"}), scanner)
    assert isinstance(again, dict)
    assert "code" in again


def test_admin_consent_skips_the_page(
    browser: TestClient, tenant: Tenant, app: AppRegistration, query: dict[str, str], scanner: User
) -> None:
    tenant.grant_admin_consent(app.client_id)
    back = sign_in(browser, open_sign_in(browser, tenant, query), scanner)
    assert isinstance(back, dict)
    assert "code" in back


def test_prompt_consent_shows_the_page_all_the_same(
    browser: TestClient, tenant: Tenant, app: AppRegistration, query: dict[str, str], scanner: User
) -> None:
    tenant.grant_admin_consent(app.client_id)
    page = sign_in(browser, open_sign_in(browser, tenant, {**query, "prompt": "consent"}), scanner)
    assert isinstance(page, Page)
    assert "Permissions requested" in page.text


def test_declining_goes_back_as_access_denied(
    browser: TestClient, tenant: Tenant, query: dict[str, str], scanner: User, app: AppRegistration
) -> None:
    consent = sign_in(browser, open_sign_in(browser, tenant, query), scanner)
    assert isinstance(consent, Page)
    answer = browser.post(consent.action, data={**consent.fields, "answer": "cancel"})
    back = redirected_with(answer.headers["location"])
    assert back["error"] == "access_denied"
    assert back["error_description"].startswith("AADSTS65004: User declined to consent to access the app.")
    assert app.user_consented == {}


@pytest.mark.parametrize(
    ("user_name", "password", "sentence"),
    [
        ("scanner@contoso.com", "wrong", "AADSTS50126: Error validating credentials"),
        ("nobody@contoso.com", "wrong", "AADSTS50034: The user account nobody@contoso.com does not exist"),
        ("office@contoso.com", "shared-pass", "AADSTS50057: The user account is disabled"),
    ],
)
def test_a_sign_in_that_fails_says_why_and_may_be_tried_again(
    browser: TestClient,
    tenant: Tenant,
    app: AppRegistration,
    query: dict[str, str],
    scanner: User,
    user_name: str,
    password: str,
    sentence: str,
) -> None:
    tenant.grant_admin_consent(app.client_id)
    tenant.add_user("office@contoso.com", password="shared-pass", is_shared=True)
    page = open_sign_in(browser, tenant, query)
    answer = browser.post(page.action, data={**page.fields, "loginfmt": user_name, "passwd": password})
    refused = Page(answer.text)
    assert sentence in refused.text
    assert user_name in refused.text
    assert isinstance(sign_in(browser, refused, scanner), dict)


def test_the_page_shows_who_can_rehearse_and_takes_the_hint(
    browser: TestClient, tenant: Tenant, query: dict[str, str], scanner: User
) -> None:
    page = open_sign_in(browser, tenant, {**query, "login_hint": "noreply@contoso.com"})
    assert scanner.password in page.text
    assert 'value="noreply@contoso.com"' in page.text
    assert "nothing leaves this machine" in page.text


def test_a_page_is_good_for_one_answer(
    browser: TestClient, tenant: Tenant, query: dict[str, str], scanner: User
) -> None:
    page = open_sign_in(browser, tenant, query)
    sign_in(browser, page, scanner)
    again = sign_in(browser, page, scanner)
    assert isinstance(again, Page)
    assert "This page was used already" in again.text


def test_consent_needs_a_sign_in_first(browser: TestClient, tenant: Tenant, query: dict[str, str]) -> None:
    page = open_sign_in(browser, tenant, query)
    answer = browser.post(f"/{tenant.tenant_id}/consent", data={**page.fields, "answer": "accept"})
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_a_form_of_another_site_is_not_taken(
    browser: TestClient, tenant: Tenant, query: dict[str, str], scanner: User
) -> None:
    page = open_sign_in(browser, tenant, query)
    form = {**page.fields, "loginfmt": scanner.user_principal_name, "passwd": scanner.password}
    answer = browser.post(page.action, data=form, headers={"origin": "https://evil.example"})
    assert answer.status_code == 400


def test_the_pages_run_no_scripts_and_may_go_back_to_the_app(
    browser: TestClient, tenant: Tenant, query: dict[str, str]
) -> None:
    answer = browser.get(f"/{tenant.tenant_id}/oauth2/v2.0/authorize", params=query)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://localhost:8025" in policy
    assert "<script" not in answer.text


def test_fragment_and_form_post_carry_the_answer_their_way(
    browser: TestClient, tenant: Tenant, app: AppRegistration, query: dict[str, str], scanner: User
) -> None:
    tenant.grant_admin_consent(app.client_id)
    page = open_sign_in(browser, tenant, {**query, "response_mode": "fragment"})
    form = {**page.fields, "loginfmt": scanner.user_principal_name, "passwd": scanner.password}
    location = browser.post(page.action, data=form).headers["location"]
    assert location.startswith(f"{REDIRECT_URI}#code=")

    # The browser is signed in by now, so that there is no page to fill in.
    posting = open_sign_in(browser, tenant, {**query, "response_mode": "form_post"})
    assert posting.action == REDIRECT_URI
    assert set(posting.fields) == {"code", "state", "session_state"}


# What is refused before anybody could be trusted with an answer


def test_an_unknown_app_is_told_on_the_page(browser: TestClient, tenant: Tenant, query: dict[str, str]) -> None:
    query["client_id"] = "00000000-1111-2222-3333-444444444444"
    text = expect_page_of_error(browser, tenant.tenant_id, query, 700016)
    assert "was not found in the directory 'Contoso'" in text


@pytest.mark.parametrize(
    "uri",
    [f"{REDIRECT_URI}/", "http://localhost:8026/oauth/callback", "http://LOCALHOST:8025/oauth/callback"],
)
def test_the_redirect_uri_is_compared_letter_by_letter(
    browser: TestClient, tenant: Tenant, query: dict[str, str], uri: str
) -> None:
    text = expect_page_of_error(browser, tenant.tenant_id, {**query, "redirect_uri": uri}, 50011)
    assert f"The redirect URI '{uri}' specified in the request does not match" in text


@pytest.mark.parametrize(("field", "code"), [("client_id", 900144), ("redirect_uri", 900971)])
def test_what_identifies_the_app_must_be_there(
    browser: TestClient, tenant: Tenant, query: dict[str, str], field: str, code: int
) -> None:
    del query[field]
    expect_page_of_error(browser, tenant.tenant_id, query, code)


def test_an_unknown_tenant_is_told_on_the_page(browser: TestClient, query: dict[str, str]) -> None:
    text = expect_page_of_error(browser, "fabrikam.com", query, 90002)
    assert "Tenant 'fabrikam.com' not found" in text


def test_a_single_tenant_app_may_not_ask_at_common(
    browser: TestClient, tenant: Tenant, query: dict[str, str], app: AppRegistration
) -> None:
    expect_page_of_error(browser, "common", query, 50194)
    app.is_multitenant = True
    assert browser.get("/common/oauth2/v2.0/authorize", params=query).status_code == 200


# What goes back to the app


def test_an_unknown_scope_goes_back(browser: TestClient, tenant: Tenant, query: dict[str, str]) -> None:
    query["scope"] = "https://outlook.office.com/SMTP.SendAsApp offline_access"
    sentence = expect_redirected_error(browser, tenant, query, "invalid_scope", 70011)
    assert "The scope 'https://outlook.office.com/SMTP.SendAsApp offline_access' does not exist" in sentence


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"response_type": "token"}, "unsupported_response_type", 700051),
        ({"response_type": ""}, "invalid_request", 900144),
        ({"response_mode": "pigeon"}, "invalid_request", 90023),
        ({"scope": ""}, "invalid_request", 900144),
        ({"prompt": "none"}, "login_required", 50058),
        ({"prompt": "please"}, "invalid_request", 90023),
        ({"prompt": "select_account", "login_hint": "scanner@contoso.com"}, "invalid_request", 90023),
        ({"code_challenge_method": "S512"}, "invalid_request", 50149),
        ({"code_challenge": "short"}, "invalid_request", 501491),
        ({"code_challenge": ""}, "invalid_request", 50147),
    ],
)
def test_a_wrong_request_goes_back(
    browser: TestClient,
    tenant: Tenant,
    query: dict[str, str],
    changes: dict[str, str],
    error: str,
    code: int,
) -> None:
    expect_redirected_error(browser, tenant, {**query, **changes}, error, code)


@pytest.mark.parametrize("prompt", ["login", "select_account", "consent", ""])
def test_every_other_prompt_is_taken(browser: TestClient, tenant: Tenant, query: dict[str, str], prompt: str) -> None:
    assert "Sign in" in open_sign_in(browser, tenant, {**query, "prompt": prompt}).text
