"""The pages by which a newcomer makes users and app registrations."""

import html
import re
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import admin_center
from postroom.simulator.faults import FAULTS
from postroom.simulator.tenant import DAY_SECONDS, AppRegistration, Tenant, User


@pytest.fixture
def browser(tenant: Tenant) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=admin_center.routes(tenant)), "http://localhost") as client:
        yield client


def open_page(browser: TestClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def submit(browser: TestClient, path: str, **form: str) -> str:
    answer = browser.post(path, data=form)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def expect_refused(browser: TestClient, path: str, sentence: str, **form: str) -> None:
    answer = browser.post(path, data=form)
    assert answer.status_code == 400
    assert sentence in html.unescape(answer.text)


@pytest.mark.parametrize("path", ["/", "/users", "/apps", "/apps/new", "/switches", "/faults"])
def test_every_page_says_what_it_is_and_runs_no_scripts(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 200
    assert "Simulated Microsoft 365 – nothing leaves this machine" in answer.text
    assert "<script" not in answer.text
    assert re.findall(r'(?:href|src|action)="(https?:)?//', answer.text) == []
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")


def test_the_style_sheet_is_served(browser: TestClient) -> None:
    answer = browser.get("/static/simulator.css")
    assert answer.status_code == 200
    assert "prefers-color-scheme: dark" in answer.text


def test_home_shows_the_tenant_id(browser: TestClient, tenant: Tenant) -> None:
    assert tenant.tenant_id in open_page(browser, "/")


def test_a_newcomer_registers_an_app(browser: TestClient, tenant: Tenant) -> None:
    text = submit(
        browser,
        "/apps",
        name="Postroom",
        account_types="single",
        platform="web",
        redirect_uri="http://localhost:8025/oauth/callback",
    )
    [app] = tenant.apps.values()
    assert app.name == "Postroom"
    assert app.redirect_uris == ["http://localhost:8025/oauth/callback"]
    assert not app.is_multitenant
    assert app.client_id in text
    assert tenant.tenant_id in text
    assert app.client_id in open_page(browser, "/apps")


def test_a_refused_registration_says_why(browser: TestClient, tenant: Tenant) -> None:
    expect_refused(
        browser, "/apps", "must start with “https://” or “http://localhost”", name="P", redirect_uri="http://nas/cb"
    )
    assert tenant.apps == {}


def test_a_secrets_value_is_shown_once(browser: TestClient, app: AppRegistration, tenant: Tenant) -> None:
    path = f"/apps/{app.client_id}"
    text = submit(browser, f"{path}/secrets", description="for the scanner", days="730")
    secret = app.secrets[-1]
    assert f'<code id="secret-value">{secret.value}</code>' in text
    assert secret.ends_at - tenant.clock.now() > 729 * DAY_SECONDS
    again = open_page(browser, path)
    assert secret.value not in again
    assert secret.secret_id in again
    assert "for the scanner" in again


@pytest.mark.parametrize("days", ["0", "731", "many", "", "-1", "١٢"])
def test_a_secrets_life_is_checked(browser: TestClient, app: AppRegistration, days: str) -> None:
    before = len(app.secrets)
    expect_refused(browser, f"/apps/{app.client_id}/secrets", "days", days=days)
    assert len(app.secrets) == before


def test_a_secret_is_let_expire_and_deleted(browser: TestClient, app: AppRegistration) -> None:
    path = f"/apps/{app.client_id}/secrets/{app.secrets[0].secret_id}"
    assert "<strong>expired</strong>" in submit(browser, path, expire="1")
    submit(browser, path, remove="1")
    assert app.secrets == []


def test_permissions_and_admin_consent(browser: TestClient, tenant: Tenant) -> None:
    app = tenant.register_app("Postroom")
    path = f"/apps/{app.client_id}"
    submit(browser, f"{path}/permissions", **{"SMTP.Send": "on", "offline_access": "on", "Made.Up": "on"})
    assert app.delegated_permissions == {"User.Read", "SMTP.Send", "offline_access"}
    assert "Not granted" in open_page(browser, path)
    text = submit(browser, f"{path}/consent", grant="1")
    assert "Granted for Contoso" in text
    assert "Not granted" not in text
    assert app.admin_consented == app.delegated_permissions
    submit(browser, f"{path}/permissions", remove="SMTP.Send")
    assert "SMTP.Send" not in app.delegated_permissions
    submit(browser, f"{path}/consent", revoke="1")
    assert app.admin_consented == set()


def test_redirect_uris_are_added_and_removed(browser: TestClient, app: AppRegistration) -> None:
    path = f"/apps/{app.client_id}/redirect-uris"
    submit(browser, path, redirect_uri="https://mail.contoso.com/cb")
    assert "https://mail.contoso.com/cb" in app.redirect_uris
    submit(browser, path, remove="https://mail.contoso.com/cb")
    assert "https://mail.contoso.com/cb" not in app.redirect_uris


def test_consent_of_users_is_shown(browser: TestClient, tenant: Tenant, app: AppRegistration, scanner: User) -> None:
    tenant.record_consent(app.client_id, scanner.object_id, ["SMTP.Send", "User.Read"])
    assert "scanner@contoso.com: SMTP.Send, User.Read" in open_page(browser, f"/apps/{app.client_id}")


def test_a_user_is_added(browser: TestClient, tenant: Tenant) -> None:
    text = submit(
        browser,
        "/users",
        user_principal_name="mfp@contoso.com",
        display_name="<b>MFP</b>",
        password="",
        mail="",
        proxy_addresses="a@contoso.com, b@contoso.com",
        kind="shared",
    )
    user = tenant.user_by_address("b@contoso.com")
    assert user is not None
    assert (user.is_shared, user.licensed, user.mail) == (True, False, "mfp@contoso.com")
    assert user.password
    assert "Shared mailbox" in text
    assert "<b>MFP</b>" not in browser.get("/users").text
    expect_refused(browser, "/users", "already has the address", user_principal_name="mfp@contoso.com")


def test_rights_are_granted_and_withdrawn(browser: TestClient, tenant: Tenant, scanner: User) -> None:
    noreply = tenant.user_by_upn("noreply@contoso.com")
    assert noreply is not None
    path = f"/users/{noreply.object_id}"
    for right in ("send_as", "send_on_behalf", "full_access"):
        submit(browser, f"{path}/rights", right=right, trustee="scanner@contoso.com")
        assert tenant.trustees(right, noreply.object_id) == {scanner.object_id}
    text = submit(browser, f"{path}/rights", right="send_as", trustee="scanner@contoso.com", withdraw="1")
    assert noreply.send_as == set()
    assert "Withdraw Send on behalf from scanner@contoso.com" in text
    expect_refused(browser, f"{path}/rights", "no right named", right="everything", trustee="scanner@contoso.com")


def test_settings_of_a_mailbox(browser: TestClient, scanner: User) -> None:
    path = f"/users/{scanner.object_id}"
    text = submit(browser, f"{path}/settings", smtp_auth="off")
    assert (scanner.smtp_auth, scanner.licensed) == (False, False)
    assert "<dt>SMTP AUTH in effect</dt><dd>off</dd>" in text
    submit(browser, f"{path}/settings", smtp_auth="inherit", licensed="on")
    assert (scanner.smtp_auth, scanner.licensed) == (None, True)
    expect_refused(browser, f"{path}/settings", "no such setting of SMTP AUTH", smtp_auth="perhaps")
    submit(browser, f"{path}/password", password="New-one-9")
    assert scanner.password == "New-one-9"
    expect_refused(browser, f"{path}/password", "Give the user a password", password="")


def test_sessions_are_revoked(browser: TestClient, scanner: User, tenant: Tenant) -> None:
    before = tenant.clock.now()
    submit(browser, f"/users/{scanner.object_id}/revoke-sessions")
    assert scanner.sessions_valid_from > before


def test_switches_are_set_and_shown(browser: TestClient, tenant: Tenant) -> None:
    text = submit(
        browser,
        "/switches",
        smtp_auth_disabled="on",
        strict_send_on_behalf="on",
        token_endpoint_fault="503_retry_after",
        license_read="forbidden",
    )
    assert (tenant.smtp_auth_disabled, tenant.strict_send_on_behalf) == (True, True)
    assert (tenant.security_defaults, tenant.basic_auth_disabled) == (False, False)
    assert (tenant.token_endpoint_fault, tenant.license_read) == ("503_retry_after", "forbidden")
    assert '<option value="503_retry_after" selected>' in text
    assert 'name="smtp_auth_disabled" checked' in text
    submit(browser, "/switches", license_read="full")
    assert (tenant.smtp_auth_disabled, tenant.token_endpoint_fault) == (False, None)


@pytest.mark.parametrize("form", [{"license_read": "sometimes"}, {"token_endpoint_fault": "418"}])
def test_an_unknown_setting_changes_nothing(browser: TestClient, tenant: Tenant, form: dict[str, str]) -> None:
    expect_refused(browser, "/switches", "There is no such", smtp_auth_disabled="on", **form)
    assert not tenant.smtp_auth_disabled


def test_the_clock_is_advanced(browser: TestClient, tenant: Tenant) -> None:
    text = submit(browser, "/clock", days="91", hours="12")
    assert tenant.clock.advanced_seconds == 91.5 * DAY_SECONDS
    assert "91.50 days ahead of this machine" in text


@pytest.mark.parametrize("days", ["0", "-3", "nan", "inf", "soon", "99999"])
def test_the_clock_takes_no_nonsense(browser: TestClient, tenant: Tenant, days: str) -> None:
    expect_refused(browser, "/clock", "clock" if days in {"0", "99999", "-3", "nan", "inf"} else "number", days=days)
    assert tenant.clock.advanced_seconds == 0


def test_each_fault_address_is_listed(browser: TestClient) -> None:
    text = open_page(browser, "/faults")
    assert all(f"<code>{fault.address}</code>" in text for fault in FAULTS)


@pytest.mark.parametrize("path", ["/users/nobody", "/apps/nothing"])
def test_an_unknown_page_is_told(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/apps", "/users", "/switches", "/clock"])
def test_a_form_of_another_site_changes_nothing(browser: TestClient, tenant: Tenant, path: str) -> None:
    answer = browser.post(
        path,
        data={"name": "Evil", "user_principal_name": "evil@contoso.com", "days": "1"},
        headers={"origin": "https://evil.example"},
    )
    assert answer.status_code == 403
    assert tenant.apps == {}
    assert tenant.user_by_upn("evil@contoso.com") is None
    assert tenant.clock.advanced_seconds == 0
