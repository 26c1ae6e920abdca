"""The administrator's operations: what each changes, and the sentence of each refusal."""

from collections.abc import Callable

import pytest

from postroom.simulator.directory import Directory
from postroom.simulator.registration import ApplicationPermission, AppRegistration
from postroom.simulator.tenant import OperationError, Tenant, User
from tests.unit.simulator.certificates import make_key_pair


@pytest.fixture
def directory(tenant: Tenant) -> Directory:
    return Directory(tenant)


def test_the_first_administrator_is_a_global_one(directory: Directory, scanner: User) -> None:
    anna = directory.tenant.user_by_upn("anna@contoso.com")
    assert anna is not None
    assert anna.sign_in.roles == {"Global Administrator"}
    assert directory.may_grant_consent(anna.object_id)
    assert not directory.may_grant_consent(scanner.object_id)


def test_a_role_lets_a_person_grant_consent(directory: Directory, scanner: User, app: AppRegistration) -> None:
    with pytest.raises(OperationError, match="Scanner may not grant consent: it takes the role Application Admin"):
        directory.grant_admin_consent(app.client_id, scanner.object_id)
    directory.assign_role(scanner.object_id, "Application Administrator")
    directory.grant_admin_consent(app.client_id, scanner.object_id)
    assert "SMTP.Send" in app.admin_consented
    directory.remove_role(scanner.object_id, "Application Administrator")
    assert not directory.may_grant_consent(scanner.object_id)


def test_an_enterprise_application_has_an_id_of_its_own(directory: Directory, app: AppRegistration) -> None:
    enterprise = directory.enterprise_application(app.client_id)
    assert len({app.client_id, app.object_id, enterprise.object_id}) == 3
    assert directory.app_by_enterprise_object_id(enterprise.object_id) is app
    assert directory.app_by_enterprise_object_id(app.object_id) is None


@pytest.mark.parametrize("is_pem", [True, False])
def test_a_certificate_is_uploaded_and_removed(directory: Directory, app: AppRegistration, is_pem: bool) -> None:
    pair = make_key_pair("relay")
    content = pair.certificate_pem if is_pem else pair.certificate_der
    certificate = directory.add_certificate(app.client_id, content, "Relay 2026")
    assert (certificate.thumbprint, certificate.subject) == (pair.sha1_thumbprint, "CN=relay")
    assert certificate.sha256_thumbprint == pair.sha256_thumbprint
    assert certificate.display_name == "Relay 2026"
    assert certificate.starts_at < directory.tenant.clock.now() < certificate.ends_at
    directory.remove_certificate(app.client_id, certificate.key_id)
    assert app.certificates == []


def _upload(content: bytes) -> Callable[[Directory, AppRegistration, User], object]:
    return lambda directory, app, user: directory.add_certificate(app.client_id, content)


PAIR = make_key_pair("curve", elliptic=True)
REFUSED: list[tuple[str, Callable[[Directory, AppRegistration, User], object]]] = [
    ("not a certificate in a .cer", _upload(b"hello")),
    ("not a certificate in a .cer", _upload(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
    ("an RSA key only", _upload(PAIR.certificate_pem)),
    ("holds a private key, which must not leave", _upload(PAIR.key_pem.encode())),
    ("no directory role named “King”", lambda d, a, u: d.assign_role(u.object_id, "King")),
    ("no API named “Teams”", lambda d, a, u: d.add_application_permission(a.client_id, "Teams", "x")),
    (
        "Microsoft Graph has no application permission named “SMTP.SendAsApp”",
        lambda d, a, u: d.add_application_permission(a.client_id, "Microsoft Graph", "SMTP.SendAsApp"),
    ),
    ("not an address of another organisation", lambda d, a, u: d.invite_guest("kim@contoso.com")),
    ("not an address of another organisation", lambda d, a, u: d.invite_guest("kim")),
    ("must start with", lambda d, a, u: d.add_redirect_uri(a.client_id, "http://printer/", "public")),
    ("no platform named “tv”", lambda d, a, u: d.add_redirect_uri(a.client_id, "https://a.example", "tv")),  # type: ignore[arg-type]
    ("cannot be “Some”", lambda d, a, u: d.set_group_membership_claims(a.client_id, "Some")),  # type: ignore[arg-type]
    ("no such way to reset a password", lambda d, a, u: d.reset_password(u.object_id, "x", by="magic")),  # type: ignore[arg-type]
    ("Give the user a password", lambda d, a, u: d.reset_password(u.object_id, "")),
    ("no such setting of user consent", lambda d, a, u: d.set_user_consent("perhaps")),  # type: ignore[arg-type]
    ("no control named “hope”", lambda d, a, u: d.add_policy("p", "hope")),  # type: ignore[arg-type]
    ("Give the policy a name", lambda d, a, u: d.add_policy(" ", "block")),
    ("after how many hours", lambda d, a, u: d.add_policy("p", "sign-in frequency")),
    ("no Conditional Access policy named “x”", lambda d, a, u: d.remove_policy("x")),
    ("AADSTS1 is not among the errors", lambda d, a, u: d.answer_with(1)),
    ("no rotation of refresh tokens named “odd”", lambda d, a, u: d.set_refresh_rotation("odd")),  # type: ignore[arg-type]
    ("no cloud named “Mars”", lambda d, a, u: d.move_to_cloud("Mars")),  # type: ignore[arg-type]
    ("no app registration with the client id x", lambda d, a, u: d.delete_app("x")),
    ("no user with the object id x", lambda d, a, u: d.disable_user("x")),
    ("no user with the object id x", lambda d, a, u: d.assign_user(a.client_id, "x")),
]


@pytest.mark.parametrize(("sentence", "operate"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_is_refused_with_a_sentence(
    directory: Directory,
    app: AppRegistration,
    scanner: User,
    sentence: str,
    operate: Callable[[Directory, AppRegistration, User], object],
) -> None:
    with pytest.raises(OperationError, match=sentence):
        operate(directory, app, scanner)


def test_consent_goes_with_the_permission(directory: Directory, app: AppRegistration) -> None:
    directory.add_application_permission(app.client_id, "Office 365 Exchange Online", "SMTP.SendAsApp")
    directory.tenant.grant_admin_consent(app.client_id)
    assert app.granted_permissions == {ApplicationPermission("https://outlook.office365.com", "SMTP.SendAsApp")}
    assert app.granted_roles("https://outlook.office365.com") == {"SMTP.SendAsApp"}
    assert app.granted_roles("https://graph.microsoft.com") == set()
    directory.remove_application_permission(app.client_id, "Office 365 Exchange Online", "SMTP.SendAsApp")
    assert app.granted_permissions == set()


def test_redirect_uris_belong_to_platforms(directory: Directory, app: AppRegistration) -> None:
    directory.add_redirect_uri(app.client_id, "http://localhost/cb", "public")
    directory.add_redirect_uri(app.client_id, "https://app.example/cb", "spa")
    assert app.platform_of("http://localhost:8025/oauth/callback") == "web"
    assert app.platform_of("http://localhost:51111/cb") == "public"
    assert app.platform_of("http://localhost:51111/other") is None
    assert app.platform_of("https://app.example/cb") == "spa"
    directory.remove_redirect_uri(app.client_id, "http://localhost/cb", "public")
    assert app.platform_of("http://localhost:51111/cb") is None


def test_a_guest_has_no_mailbox_here(directory: Directory) -> None:
    guest = directory.invite_guest("kim@fabrikam.com")
    assert guest.user_principal_name == "kim_fabrikam.com#EXT#@contoso.onmicrosoft.com"
    assert not guest.is_mailbox
    with pytest.raises(OperationError, match="already has the address"):
        directory.invite_guest("kim@fabrikam.com")


def test_security_defaults_and_policies_exclude_one_another(directory: Directory) -> None:
    directory.add_policy("Block", "block")
    with pytest.raises(OperationError, match="cannot be on together with Conditional Access"):
        directory.set_security_defaults(enabled=True)
    with pytest.raises(OperationError, match="a name that no other policy has"):
        directory.add_policy("Block", "require MFA")
    directory.remove_policy("Block")
    directory.set_security_defaults(enabled=True)
    assert directory.tenant.security_defaults


def test_nothing_names_a_deleted_user(directory: Directory, app: AppRegistration, scanner: User) -> None:
    tenant, gone = directory.tenant, scanner.object_id
    noreply = tenant.user_by_upn("noreply@contoso.com")
    assert noreply is not None
    tenant.grant_right("send_as", noreply.object_id, "scanner@contoso.com")
    tenant.record_consent(app.client_id, gone, ["SMTP.Send"])
    directory.assign_user(app.client_id, gone)
    directory.add_policy("Block", "block")
    directory.exclude_user("Block", gone)
    directory.delete_user(gone)
    assert tenant.trustees("send_as", noreply.object_id) == set()
    assert app.user_consented == {}
    assert app.enterprise.assigned_users == set()
    assert directory.policy("Block").excluded_users == set()


def test_a_deleted_user_and_app_are_gone(directory: Directory, app: AppRegistration, scanner: User) -> None:
    directory.delete_user(scanner.object_id)
    directory.delete_app(app.client_id)
    assert directory.tenant.user_by_upn("scanner@contoso.com") is None
    assert app.client_id not in directory.tenant.apps


def test_the_simulators_own_switches_are_operations(directory: Directory) -> None:
    tenant = directory.tenant
    directory.answer_with(50058)
    directory.set_refresh_rotation("strict")
    directory.detect_loops(enabled=True)
    directory.subscribe_to_exchange(subscribed=False)
    directory.move_to_cloud("21Vianet")
    entra = tenant.entra
    assert (entra.answer_with, entra.refresh_rotation, entra.detects_loops) == (50058, "strict", True)
    assert not entra.exchange_is_subscribed
    assert tenant.cloud.login_host == "login.partner.microsoftonline.cn"
    directory.answer_with(None)
    assert entra.answer_with is None
