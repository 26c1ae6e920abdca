"""The operations of Exchange's administrator: what they change, what they refuse, and when it arrives."""

import pytest

from postroom.simulator.faults import sign_in_faults
from postroom.simulator.organisation import Organisation
from postroom.simulator.organisation_settings import READINGS, Readings
from postroom.simulator.tenant import OperationError, Tenant, User

SCANNER, NOREPLY = "scanner@contoso.com", "noreply@contoso.com"
APP_ID, PRINCIPAL_ID = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


@pytest.fixture
def operations(tenant: Tenant) -> Organisation:
    return tenant.exchange


@pytest.fixture
def noreply(tenant: Tenant) -> User:
    user = tenant.user_by_address(NOREPLY)
    assert user is not None
    return user


# Changes that arrive late


def test_changes_arrive_in_their_order_and_each_in_its_time(
    tenant: Tenant, operations: Organisation, scanner: User
) -> None:
    operations.set_propagation(60)
    operations.set_tenant_smtp_auth(enabled=False)
    tenant.clock.advance(1800)
    operations.set_smtp_auth(scanner.object_id, True)

    def seen() -> tuple[bool, bool | None]:
        settings = operations.in_effect()
        return settings.smtp_auth_disabled, settings.mailbox(scanner.object_id).smtp_auth

    assert (operations.settings.smtp_auth_disabled, scanner.smtp_auth) == (True, True)
    assert seen() == (False, None)
    tenant.clock.advance(1801)
    assert seen() == (True, None)
    tenant.clock.advance(1800)
    assert seen() == (True, True)
    assert operations.changes_pending_until() is None


def test_changes_can_be_settled_at_once(tenant: Tenant, operations: Organisation, noreply: User) -> None:
    operations.set_propagation(5)
    tenant.grant_right("send_as", noreply.object_id, SCANNER)
    scanner = tenant.user_by_address(SCANNER)
    assert scanner is not None
    assert not tenant.may_send_as(scanner, NOREPLY)
    assert operations.changes_pending_until() == pytest.approx(tenant.clock.now() + 300, abs=5)

    operations.settle_changes()

    assert tenant.may_send_as(scanner, NOREPLY)


def test_a_new_mailbox_is_there_at_once(tenant: Tenant, operations: Organisation) -> None:
    operations.set_propagation(60)
    operations.set_send_from_alias(enabled=True)

    user = tenant.add_user("new@contoso.com")

    assert tenant.smtp_auth_is_enabled(user)


@pytest.mark.parametrize("minutes", [-1, 61])
def test_changes_take_an_hour_at_most(operations: Organisation, minutes: float) -> None:
    with pytest.raises(OperationError, match="0 to 60 minutes"):
        operations.set_propagation(minutes)


# Rights


def test_a_right_is_given_to_a_service_principal_by_any_of_its_names(operations: Organisation, noreply: User) -> None:
    operations.new_service_principal(APP_ID, PRINCIPAL_ID, "Postroom")
    for name in (APP_ID, PRINCIPAL_ID, "Postroom"):
        operations.add_mailbox_permission(noreply.object_id, name)
        assert noreply.full_access == {PRINCIPAL_ID}
        operations.remove_mailbox_permission(noreply.object_id, name)
        assert noreply.full_access == set()


def test_the_rights_of_a_service_principal_go_with_it(operations: Organisation, noreply: User) -> None:
    operations.new_service_principal(APP_ID, PRINCIPAL_ID)
    operations.add_mailbox_permission(noreply.object_id, PRINCIPAL_ID)
    operations.add_recipient_permission(noreply.object_id, SCANNER)

    operations.remove_service_principal(PRINCIPAL_ID)

    assert noreply.full_access == set()
    assert len(noreply.send_as) == 1


def test_each_right_has_its_cmdlets(operations: Organisation, noreply: User, scanner: User) -> None:
    operations.add_recipient_permission(noreply.object_id, SCANNER)
    operations.grant_send_on_behalf(noreply.object_id, scanner.object_id)
    assert (noreply.send_as, noreply.send_on_behalf) == ({scanner.object_id}, {scanner.object_id})

    operations.remove_recipient_permission(noreply.object_id, SCANNER)
    operations.withdraw_send_on_behalf(noreply.object_id, SCANNER)
    assert (noreply.send_as, noreply.send_on_behalf) == (set(), set())


def test_nobody_is_no_trustee(operations: Organisation, noreply: User) -> None:
    with pytest.raises(OperationError, match="no user with the address ghost@"):
        operations.add_mailbox_permission(noreply.object_id, "ghost@contoso.com")


# Applications and policies


def test_an_application_has_one_service_principal(operations: Organisation) -> None:
    operations.new_service_principal(APP_ID, PRINCIPAL_ID)

    with pytest.raises(OperationError, match="has a service principal already"):
        operations.new_service_principal(APP_ID, "another")
    with pytest.raises(OperationError, match="needs both -AppId and -ObjectId"):
        operations.new_service_principal("another", " ")


def test_a_role_is_assigned_to_known_applications_in_known_scopes(operations: Organisation) -> None:
    with pytest.raises(OperationError, match="has no service principal in Exchange"):
        operations.new_role_assignment(APP_ID)
    operations.new_service_principal(APP_ID, PRINCIPAL_ID)
    with pytest.raises(OperationError, match="There is no management scope “Senders”"):
        operations.new_role_assignment(APP_ID, scope="Senders")
    with pytest.raises(OperationError, match="no user with the address ghost@"):
        operations.new_management_scope("Senders", ["ghost@contoso.com"])


def test_a_policy_in_use_cannot_go(operations: Organisation, noreply: User) -> None:
    operations.new_authentication_policy("Block Basic")
    operations.set_authentication_policy(noreply.object_id, "Block Basic")
    with pytest.raises(OperationError, match="“Block Basic” is in use"):
        operations.remove_authentication_policy("Block Basic")

    operations.set_authentication_policy(noreply.object_id, "")
    operations.remove_authentication_policy("Block Basic")
    with pytest.raises(OperationError, match="There is no authentication policy “Block Basic”"):
        operations.set_authentication_policy(None, "Block Basic")


# Mailboxes and their limits


def test_an_alias_is_an_address_of_one_mailbox_only(tenant: Tenant, operations: Organisation, scanner: User) -> None:
    operations.set_alias(scanner.object_id, "mfp@contoso.com")
    assert tenant.user_by_address("MFP@contoso.com") is scanner
    with pytest.raises(OperationError, match="Another user already has the address"):
        operations.set_alias(scanner.object_id, NOREPLY)

    operations.remove_alias(scanner.object_id, "MFP@contoso.com")
    with pytest.raises(OperationError, match="has no alias mfp@"):
        operations.remove_alias(scanner.object_id, "mfp@contoso.com")


def test_a_shared_mailbox_has_no_licence_and_a_person_no_mailbox_to_share(
    tenant: Tenant, operations: Organisation, noreply: User
) -> None:
    operations.convert_to_shared(noreply.object_id)
    assert (noreply.is_shared, noreply.licensed) == (True, False)
    operations.convert_to_regular(noreply.object_id)
    assert not noreply.is_shared

    guest = tenant.add_user("guest@contoso.com", is_mailbox=False)
    with pytest.raises(OperationError, match="has no mailbox"):
        operations.convert_to_shared(guest.object_id)


def test_only_the_limits_that_are_named_change(operations: Organisation, scanner: User) -> None:
    operations.set_limits(scanner.object_id, recipients_per_day=100)

    limits = operations.limits_of(scanner.object_id)
    assert (limits.recipients_per_day, limits.messages_per_minute, limits.connections) == (100, 30, 3)


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("message_size_bytes", 157_286_401, "message size bytes is 1 to 157286400, not 157286401"),
        ("recipients_per_message", 1001, "recipients per message is 1 to 1000, not 1001"),
        ("connections", 0, "connections is 1 to"),
    ],
)
def test_a_limit_beyond_the_services_is_refused_and_nothing_changes(
    operations: Organisation, scanner: User, limit: str, value: int, words: str
) -> None:
    with pytest.raises(OperationError, match=words):
        operations.set_limits(scanner.object_id, **{"recipients_per_day": 5, limit: value})

    assert operations.limits_of(scanner.object_id).recipients_per_day == 10_000


@pytest.mark.parametrize(
    ("licences", "quota"), [(1, 10_000), (10, 12_006), (25, 14_259), (100, 22_059), (1_000, 72_446)]
)
def test_the_tenants_external_recipients_go_by_its_licences(
    tenant: Tenant, operations: Organisation, licences: int, quota: int
) -> None:
    for user in tenant.users.values():
        user.licensed = False
    for number in range(licences):
        tenant.add_user(f"u{number}@contoso.com")
    tenant.add_user("shared@contoso.com", is_shared=True)

    assert operations.submissions.external_recipients_limit() == quota
    operations.set_trial(is_trial=True)
    assert operations.submissions.external_recipients_limit() == 5_000


def test_half_a_day_can_be_used_up_and_a_mailbox_filled_for_a_rehearsal(
    tenant: Tenant, operations: Organisation, scanner: User
) -> None:
    submissions = operations.submissions
    submissions.use_up(scanner.object_id, 5_000)
    submissions.fill_sent_items(scanner.object_id, operations.limits_of(scanner.object_id).quota_bytes)
    assert submissions.recipients_in_last_day(scanner.object_id) == 5_000
    assert submissions.find_exhausted(scanner, ["b@example.net"], 1) == "mailbox full"

    submissions.empty_sent_items(scanner.object_id)
    assert submissions.find_exhausted(scanner, ["b@example.net"], 1) is None
    assert submissions.find_exhausted(scanner, ["b@example.net"] * 5_001, 1) == "recipients a day"
    tenant.clock.advance(86_400)
    assert submissions.recipients_in_last_day(scanner.object_id) == 0


# The front end, and what nobody knows of it


def test_every_reading_has_its_sentence_and_can_be_turned(operations: Organisation) -> None:
    assert READINGS.keys() == Readings.__annotations__.keys()
    for name in READINGS:
        operations.set_reading(name, True)
        assert getattr(operations.readings, name) in {True, "reject"}
        operations.set_reading(name, False)
        assert getattr(operations.readings, name) in {False, "delay"}
    with pytest.raises(OperationError, match="no unconfirmed behaviour “taste”"):
        operations.set_reading("taste", True)


def test_a_mailboxs_own_fault_of_signing_in_goes_first(operations: Organisation, scanner: User) -> None:
    operations.set_sign_in_fault(None, "token-refused")
    operations.set_sign_in_fault(scanner.object_id, "wrong-password")

    assert operations.sign_in_fault_of(scanner.object_id) == sign_in_faults()["wrong-password"]
    assert operations.sign_in_fault_of("another") == sign_in_faults()["token-refused"]
    with pytest.raises(OperationError, match="no fault of signing in “451”"):
        operations.set_sign_in_fault(None, "451")


def test_what_there_is_not_cannot_be_set(operations: Organisation, scanner: User) -> None:
    with pytest.raises(OperationError, match="on, disabled or removed, not “off”"):
        operations.set_basic_auth("off")  # type: ignore[arg-type]  # as a page may ask
    with pytest.raises(OperationError, match="no such setting for old TLS"):
        operations.set_legacy_tls("perhaps")  # type: ignore[arg-type]  # as a page may ask
    with pytest.raises(OperationError, match="longer than no time"):
        operations.set_timeouts(idle_seconds=0)
    with pytest.raises(OperationError, match="at least one day"):
        operations.set_retention(scanner.object_id, 0)
    with pytest.raises(OperationError, match="at least 1"):
        operations.set_tenant_limits(external_recipients_per_day=0)
