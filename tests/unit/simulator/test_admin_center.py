"""The pages by which a newcomer makes users and app registrations."""

import html
import re
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import admin_center, inbox
from postroom.simulator.faults import FAULTS
from postroom.simulator.navigation import PORTALS
from postroom.simulator.tenant import DAY_SECONDS, AppRegistration, Tenant, User
from tests.unit.simulator.certificates import make_key_pair


@pytest.fixture
def browser(tenant: Tenant) -> Iterator[TestClient]:
    routes = [*admin_center.routes(tenant), *inbox.routes(tenant)]
    with TestClient(Starlette(routes=routes), "http://localhost") as client:
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


@pytest.mark.parametrize("path", [entry.href for portal in PORTALS for entry in portal.entries] + ["/apps/new"])
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


def test_each_page_stands_in_the_menu_of_its_portal(browser: TestClient, scanner: User) -> None:
    for portal in PORTALS:
        for entry in portal.entries:
            text = open_page(browser, entry.href)
            assert f'<a href="{portal.entries[0].href}" aria-current="true">{portal.title}</a>' in text
            assert f'<a href="{entry.href}" aria-current="page">{entry.label}</a>' in text
    below = open_page(browser, f"/users/{scanner.object_id}/mail")
    assert '<a href="/users" aria-current="true">Active users</a>' in below


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
    path = f"{path}/credentials"
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


def test_a_certificate_is_uploaded(browser: TestClient, app: AppRegistration) -> None:
    pair = make_key_pair()
    path = f"/apps/{app.client_id}/certificates"
    answer = browser.post(path, data={"description": "for SMTP"}, files={"certificate": pair.certificate_pem})
    assert pair.sha1_thumbprint in answer.text
    [certificate] = app.certificates
    assert certificate.display_name == "for SMTP"
    submit(browser, f"{path}/{certificate.key_id}")
    assert app.certificates == []


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"x" * 200_000])
def test_what_is_no_certificate_is_refused(browser: TestClient, app: AppRegistration, content: bytes) -> None:
    answer = browser.post(f"/apps/{app.client_id}/certificates", files={"certificate": content})
    assert answer.status_code == 400
    assert "This is not a certificate in a .cer, .pem or .crt file." in answer.text


def test_permissions_and_admin_consent(browser: TestClient, tenant: Tenant) -> None:
    app = tenant.register_app("Postroom")
    path = f"/apps/{app.client_id}"
    submit(browser, f"{path}/permissions", **{"SMTP.Send": "on", "offline_access": "on", "Made.Up": "on"})
    assert app.delegated_permissions == {"User.Read", "SMTP.Send", "offline_access"}
    assert "Not granted" in open_page(browser, f"{path}/permissions")
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
    text = open_page(browser, f"/apps/{app.client_id}/permissions")
    assert "scanner@contoso.com: SMTP.Send, User.Read" in text


def test_a_user_is_added(browser: TestClient, tenant: Tenant) -> None:
    text = submit(
        browser,
        "/users",
        user_principal_name="mfp@contoso.com",
        display_name="<b>MFP</b>",
        password="",
        proxy_addresses="a@contoso.com, b@contoso.com",
        licence="exchange",
    )
    user = tenant.user_by_address("b@contoso.com")
    assert user is not None
    assert (user.is_shared, user.licensed, user.mail) == (False, True, "mfp@contoso.com")
    assert user.password
    assert "Exchange Online (Plan 1)" in text
    assert "<b>MFP</b>" not in browser.get("/users").text
    expect_refused(browser, "/users", "already has the address", user_principal_name="mfp@contoso.com")


def test_the_first_licence_makes_the_mailbox(browser: TestClient, tenant: Tenant) -> None:
    submit(browser, "/users", user_principal_name="mfp", licence="none")
    user = tenant.user_by_upn("mfp@contoso.com")
    assert user is not None
    assert (user.is_mailbox, user.licensed, user.mail) == (False, False, "")
    assert "This user has no mailbox" in open_page(browser, f"/users/{user.object_id}/mail")
    expect_refused(browser, f"/users/{user.object_id}/email-apps", "assign a licence first", smtp_auth="on")
    submit(browser, f"/users/{user.object_id}/licenses", licensed="on")
    assert (user.is_mailbox, user.licensed, user.mail) == (True, True, "mfp@contoso.com")


def test_a_shared_mailbox_and_its_members(browser: TestClient, tenant: Tenant, scanner: User) -> None:
    text = submit(browser, "/shared-mailboxes", display_name="Support", address="support")
    shared = tenant.user_by_upn("support@contoso.com")
    assert shared is not None
    assert (shared.is_shared, shared.licensed) == (True, False)
    assert "support@contoso.com" in text
    path = f"/shared-mailboxes/{shared.object_id}/members"
    submit(browser, path, member=scanner.object_id)
    assert (shared.full_access, shared.send_as) == ({scanner.object_id}, {scanner.object_id})
    submit(browser, path, member=scanner.object_id, remove="1")
    assert (shared.full_access, shared.send_as) == (set(), set())


@pytest.mark.parametrize("place", ["/users/{}/rights", "/exchange/mailboxes/{}/rights"])
def test_rights_are_granted_and_withdrawn(browser: TestClient, tenant: Tenant, scanner: User, place: str) -> None:
    noreply = tenant.user_by_upn("noreply@contoso.com")
    assert noreply is not None
    path = place.format(noreply.object_id)
    for right in ("send_as", "send_on_behalf", "full_access"):
        submit(browser, path, right=right, trustee="scanner@contoso.com")
        assert tenant.trustees(right, noreply.object_id) == {scanner.object_id}
    text = submit(browser, path, right="send_as", trustee="scanner@contoso.com", withdraw="1")
    assert noreply.send_as == set()
    assert "Remove Send on behalf permissions from scanner@contoso.com" in text
    expect_refused(browser, path, "no such choice of right", right="everything", trustee="scanner@contoso.com")


def test_an_application_is_among_those_with_rights(browser: TestClient, tenant: Tenant, scanner: User) -> None:
    app = tenant.register_app("Postroom")
    principals = "/exchange/service-principals"
    object_id = app.enterprise.object_id
    submit(browser, principals, app_id=app.client_id, object_id=object_id, display_name="Postroom in Exchange")
    path = f"/exchange/mailboxes/{scanner.object_id}"
    text = submit(browser, f"{path}/rights", right="full_access", trustee=object_id)
    assert scanner.full_access == {object_id}
    assert "Remove Read and manage permissions from Postroom in Exchange" in text
    submit(browser, f"{principals}/remove", object_id=object_id)
    assert scanner.full_access == set()


def test_settings_of_a_mailbox(browser: TestClient, tenant: Tenant, scanner: User) -> None:
    path = f"/users/{scanner.object_id}"
    text = submit(browser, f"{path}/email-apps")
    assert [scanner.smtp_auth] == [False]
    assert "<dt>Set for this mailbox</dt><dd>off</dd>" in text
    assert "<dt>In effect</dt><dd>off</dd>" in text
    submit(browser, f"{path}/email-apps", smtp_auth="on")
    assert [scanner.smtp_auth] == [True]
    mailbox = f"/exchange/mailboxes/{scanner.object_id}"
    submit(browser, f"{mailbox}/smtp-auth", smtp_auth="inherit")
    assert [scanner.smtp_auth] == [None]
    submit(browser, "/exchange/mail-flow/smtp-auth", smtp_auth_disabled="on")
    assert not tenant.smtp_auth_is_enabled(scanner)
    expect_refused(browser, f"{mailbox}/smtp-auth", "no such choice of smtp auth", smtp_auth="perhaps")
    submit(browser, f"{path}/licenses")
    assert not scanner.licensed
    submit(browser, f"{path}/password", password="New-one-9")
    assert scanner.password == "New-one-9"
    expect_refused(browser, f"{path}/password", "Give the user a password", password="")


def test_limits_are_shown_as_they_are_saved(browser: TestClient, tenant: Tenant, scanner: User) -> None:
    path = f"/exchange/mailboxes/{scanner.object_id}"
    form = {"message_size_mib": "35", "recipients_per_message": "500", "recipients_per_day": "10000"}
    saved = {**form, "messages_per_minute": "5", "connections": "2", "quota_mib": "100"}
    text = submit(browser, f"{path}/limits", **saved)
    limits = tenant.exchange.limits_of(scanner.object_id)
    assert (limits.messages_per_minute, limits.connections, limits.quota_bytes) == (5, 2, 100 * 1024 * 1024)
    assert 'name="quota_mib" inputmode="numeric" value="100"' in text
    submit(browser, f"{path}/unlimited")
    assert limits.recipients_per_message is None
    submit(browser, f"{path}/limits", **{**saved, "recipients_per_message": ""})
    assert limits.recipients_per_message is None
    expect_refused(browser, f"{path}/limits", "is 1 to", **{**saved, "connections": "0"})
    expect_refused(browser, f"{path}/limits", "not a number", **{**saved, "connections": "-1"})


def test_sessions_are_revoked(browser: TestClient, scanner: User, tenant: Tenant) -> None:
    before = tenant.clock.now()
    submit(browser, f"/users/{scanner.object_id}/revoke-sessions")
    assert scanner.sessions_valid_from > before


def test_switches_are_set_and_shown(browser: TestClient, tenant: Tenant) -> None:
    text = submit(browser, "/switches/token-endpoint", token_endpoint_fault="503_retry_after")
    assert [tenant.token_endpoint_fault] == ["503_retry_after"]
    assert '<option value="503_retry_after" selected>' in text
    submit(browser, "/switches/token-endpoint", token_endpoint_fault="")
    assert [tenant.token_endpoint_fault] == [None]
    submit(browser, "/switches/graph", graph_fault="429", times="2")
    assert (tenant.graph.fault, tenant.graph.fault_times) == ("429", 2)
    submit(browser, "/switches/graph", graph_fault="")
    assert tenant.graph.fault is None


def test_a_reading_of_the_unconfirmed_is_chosen(browser: TestClient, tenant: Tenant) -> None:
    text = submit(browser, "/unconfirmed", rate_mode="on", strict_send_on_behalf="on", license_read="forbidden")
    assert tenant.exchange.readings.rate_mode == "reject"
    assert not tenant.exchange.readings.null_sender_is_accepted
    assert (tenant.strict_send_on_behalf, tenant.license_read) == (True, "forbidden")
    assert 'name="rate_mode" checked' in text
    assert 'name="null_sender_is_accepted">' in text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/unconfirmed", {"license_read": "sometimes", "strict_send_on_behalf": "on"}),
        ("/switches/token-endpoint", {"token_endpoint_fault": "418"}),
        ("/switches/graph", {"graph_fault": "200"}),
        ("/exchange/mail-flow/basic", {"basic_auth": "perhaps"}),
        ("/conditional-access", {"name": "P", "control": "smile"}),
        ("/entra/consent", {"user_consent": "never"}),
    ],
)
def test_an_unknown_setting_changes_nothing(
    browser: TestClient, tenant: Tenant, path: str, form: dict[str, str]
) -> None:
    expect_refused(browser, path, "There is no such choice", **form)
    assert not tenant.strict_send_on_behalf
    assert tenant.entra.policies == []


def test_what_is_unconfirmed_says_so(browser: TestClient, scanner: User) -> None:
    for path in (
        "/unconfirmed",
        "/switches",
        "/shared-mailboxes",
        "/conditional-access",
        "/entra/properties",
        "/exchange/mail-flow",
        "/scenarios",
        f"/users/{scanner.object_id}/licenses",
        f"/users/{scanner.object_id}/email-apps",
        f"/entra/users/{scanner.object_id}",
        f"/exchange/mailboxes/{scanner.object_id}",
    ):
        assert '<strong class="unconfirmed">unconfirmed</strong>' in open_page(browser, path)


def test_everything_begins_anew(browser: TestClient, tenant: Tenant, app: AppRegistration) -> None:
    submit(browser, "/clock", days="1")
    text = submit(browser, "/reset", empty="1")
    assert (tenant.users, tenant.apps) == ({}, {})
    assert tenant.smtp_auth_disabled
    assert tenant.clock.advanced_seconds == DAY_SECONDS
    assert '<dd><a href="/users">0</a></dd>' in text
    for portal in PORTALS:
        for entry in portal.entries:
            open_page(browser, entry.href)
    submit(browser, "/reset", demo="1")
    assert tenant.user_by_upn("scanner@contoso.com") is not None
    assert not tenant.smtp_auth_disabled


def test_the_clock_is_advanced(browser: TestClient, tenant: Tenant) -> None:
    text = submit(browser, "/clock", days="91", hours="11", minutes="60")
    assert tenant.clock.advanced_seconds == 91.5 * DAY_SECONDS
    assert "91.50 days ahead of this machine" in text


@pytest.mark.parametrize("days", ["0", "-3", "nan", "inf", "soon", "99999"])
def test_the_clock_takes_no_nonsense(browser: TestClient, tenant: Tenant, days: str) -> None:
    expect_refused(browser, "/clock", "clock" if days in {"0", "99999", "-3", "nan", "inf"} else "number", days=days)
    assert tenant.clock.advanced_seconds == 0


def test_each_fault_address_is_listed(browser: TestClient) -> None:
    text = open_page(browser, "/faults")
    assert all(f"<code>{fault.address}</code>" in text for fault in FAULTS)


@pytest.mark.parametrize(
    "path",
    [
        "/users/nobody",
        "/users/nobody/mail",
        "/apps/nothing",
        "/apps/nothing/permissions",
        "/enterprise-apps/nothing",
        "/entra/users/nobody",
        "/exchange/mailboxes/nobody",
        "/roles/Emperor",
        "/scenarios/nothing",
    ],
)
def test_an_unknown_page_is_told(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/apps", "/users", "/switches/graph", "/clock", "/reset"])
def test_a_form_of_another_site_changes_nothing(browser: TestClient, tenant: Tenant, path: str) -> None:
    answer = browser.post(
        path,
        data={"name": "Evil", "user_principal_name": "evil@contoso.com", "days": "1"},
        headers={"origin": "https://evil.example"},
    )
    assert answer.status_code == 403
    assert tenant.apps == {}
    assert tenant.user_by_upn("evil@contoso.com") is None
    assert tenant.user_by_upn("scanner@contoso.com") is not None
    assert tenant.clock.advanced_seconds == 0
