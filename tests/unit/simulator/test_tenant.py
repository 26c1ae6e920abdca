import pytest

from postroom.simulator.clock import SimulatorClock
from postroom.simulator.tenant import DAY_SECONDS, AppRegistration, OperationError, Tenant, User, contoso


def test_the_demo_tenant_is_the_same_at_each_start(tenant: Tenant) -> None:
    again = contoso(SimulatorClock())
    assert again.tenant_id == tenant.tenant_id
    assert list(again.users) == list(tenant.users)


def test_a_tenant_answers_to_its_id_and_its_domain(tenant: Tenant) -> None:
    assert tenant.answers_to(tenant.tenant_id.upper())
    assert tenant.answers_to("Contoso.com")
    assert not tenant.answers_to("fabrikam.com")


@pytest.mark.parametrize("address", ["PRINTER@contoso.com", "print@contoso.com", "Copy@Contoso.com"])
def test_a_user_is_found_by_upn_mail_and_alias(tenant: Tenant, address: str) -> None:
    user = tenant.add_user("printer@contoso.com", mail="print@contoso.com", proxy_addresses=["copy@contoso.com"])
    assert tenant.user_by_address(address) is user


def test_only_the_upn_signs_in(tenant: Tenant) -> None:
    tenant.add_user("printer@contoso.com", mail="print@contoso.com")
    assert tenant.user_by_upn("print@contoso.com") is None


@pytest.mark.parametrize("upn", ["scanner@contoso.com", "SCANNER@contoso.com"])
def test_an_address_is_given_once(tenant: Tenant, upn: str) -> None:
    with pytest.raises(OperationError, match="already has the address"):
        tenant.add_user(upn)


@pytest.mark.parametrize("upn", ["", "printer", "@contoso.com", "printer@", "a b@contoso.com"])
def test_what_is_no_address_is_refused(tenant: Tenant, upn: str) -> None:
    with pytest.raises(OperationError, match=r"is not an address such as printer@contoso\.com"):
        tenant.add_user(upn)


def test_a_shared_mailbox_has_no_licence(tenant: Tenant) -> None:
    assert not tenant.add_user("office@contoso.com", is_shared=True).licensed


def test_rights_are_granted_and_withdrawn(tenant: Tenant, scanner: User) -> None:
    noreply = tenant.user_by_upn("noreply@contoso.com")
    assert noreply is not None
    assert tenant.may_send_as(scanner, "Scanner@contoso.com")
    assert not tenant.may_send_as(scanner, "noreply@contoso.com")

    tenant.grant_right("send_as", noreply.object_id, "scanner@contoso.com")
    tenant.grant_right("send_on_behalf", noreply.object_id, "scanner@contoso.com")
    tenant.grant_right("full_access", noreply.object_id, "scanner@contoso.com")
    assert tenant.may_send_as(scanner, "NoReply@contoso.com")
    assert tenant.may_send_on_behalf(scanner, "noreply@contoso.com")
    assert tenant.may_open(scanner, noreply)
    assert not tenant.may_open(noreply, scanner)

    tenant.withdraw_right("send_as", noreply.object_id, "scanner@contoso.com")
    assert not tenant.may_send_as(scanner, "noreply@contoso.com")
    assert tenant.may_send_on_behalf(scanner, "noreply@contoso.com")


def test_a_right_needs_a_known_person(tenant: Tenant, scanner: User) -> None:
    with pytest.raises(OperationError, match=r"no user with the address nobody@contoso\.com"):
        tenant.grant_right("send_as", scanner.object_id, "nobody@contoso.com")


def test_smtp_auth_of_a_mailbox_overrides_the_organisation(tenant: Tenant, scanner: User) -> None:
    assert tenant.smtp_auth_is_enabled(scanner)
    tenant.disable_smtp_auth(disabled=True)
    assert not tenant.smtp_auth_is_enabled(scanner)
    tenant.set_smtp_auth(scanner.object_id, True)
    assert tenant.smtp_auth_is_enabled(scanner)
    tenant.disable_smtp_auth(disabled=False)
    tenant.set_smtp_auth(scanner.object_id, False)
    assert not tenant.smtp_auth_is_enabled(scanner)


@pytest.mark.parametrize(
    "uri", ["https://mail.contoso.com/cb", "http://localhost:8025/cb", "http://localhost/cb", "http://localhost"]
)
def test_redirect_uris_are_https_or_localhost(tenant: Tenant, uri: str) -> None:
    assert tenant.register_app("App", uri).redirect_uris == [uri]


@pytest.mark.parametrize(
    "uri", ["http://192.168.1.5/cb", "http://mailhost/cb", "http://localhost.evil.example/cb", "ftp://localhost/"]
)
def test_other_redirect_uris_are_refused(tenant: Tenant, uri: str) -> None:
    with pytest.raises(OperationError, match="must start with"):
        tenant.register_app("App", uri)


@pytest.mark.parametrize("uri", ["https://contoso.com/cb#here", "https://*.contoso.com/cb", f"https://c/{'x' * 256}"])
def test_redirect_uris_are_exact(tenant: Tenant, uri: str) -> None:
    with pytest.raises(OperationError, match="may not hold"):
        tenant.register_app("App", uri)


def test_an_app_needs_a_name(tenant: Tenant) -> None:
    with pytest.raises(OperationError, match="name"):
        tenant.register_app(" ")


def test_a_secret_lives_as_long_as_asked_and_can_be_let_expire(tenant: Tenant, app: AppRegistration) -> None:
    secret = tenant.add_secret(app.client_id, 90, "scanner room")
    assert 89 * DAY_SECONDS < secret.ends_at - tenant.clock.now() <= 90 * DAY_SECONDS
    assert secret.value.startswith(secret.hint)
    assert len(secret.value) == 40
    assert secret.value != secret.secret_id
    tenant.expire_secret(app.client_id, secret.secret_id)
    assert secret.ends_at < tenant.clock.now()
    tenant.remove_secret(app.client_id, secret.secret_id)
    assert secret not in app.secrets


@pytest.mark.parametrize("days", [0, 731])
def test_a_secret_lives_at_most_two_years(tenant: Tenant, app: AppRegistration, days: int) -> None:
    with pytest.raises(OperationError, match="lives 1 to 730 days"):
        tenant.add_secret(app.client_id, days)


def test_admin_consent_covers_what_the_registration_lists(tenant: Tenant, app: AppRegistration, scanner: User) -> None:
    tenant.grant_admin_consent(app.client_id)
    assert app.consented_permissions(scanner.object_id) == {"User.Read", "SMTP.Send", "offline_access"}
    tenant.remove_permission(app.client_id, "SMTP.Send")
    assert "SMTP.Send" not in app.consented_permissions(scanner.object_id)
    tenant.record_consent(app.client_id, scanner.object_id, ["Mail.Send"])
    assert "Mail.Send" in app.consented_permissions(scanner.object_id)
    assert "Mail.Send" not in app.consented_permissions("somebody else")
    tenant.revoke_consent(app.client_id)
    assert app.consented_permissions(scanner.object_id) == set()


def test_unknown_things_are_named(tenant: Tenant) -> None:
    with pytest.raises(OperationError, match="no user with the object id x"):
        tenant.revoke_sessions("x")
    with pytest.raises(OperationError, match="no app registration with the client id x"):
        tenant.add_secret("x")
