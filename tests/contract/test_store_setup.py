from datetime import date

import msgspec
import pytest

from postroom.errors import VaultKeyError, WrongStateError
from postroom.identity.client_certificates import make_client_certificate
from postroom.message import MailboxState
from postroom.outcome import StopCause
from postroom.store.records import Authentication, Cloud, EmailType, GrantType, MailServerDraft, SendRight, SignedInUser
from tests.contract.kept_store import MAILBOX_ID, SENT, SIGNED_OUT, KeptStore

pytestmark = pytest.mark.anyio

USER = SignedInUser("oid-1", "tid-1", "scanner@contoso.com", "Scanner", "scanner@contoso.com", ("scanner@contoso.com",))


def full_draft() -> MailServerDraft:
    return MailServerDraft(
        host="smtp.office365.com",
        port=587,
        email_type=EmailType.SMTP,
        use_tls=True,
        ehlo_name="relay.contoso.com",
        sender="noreply@contoso.com",
        sender_name="Contoso scans",
        sender_is_own_mailbox=False,
        username="scanner@contoso.com",
        mailbox_address="shared@contoso.com",
        test_address="anna@contoso.com",
        send_right=SendRight.SEND_ON_BEHALF,
        send_right_is_granted=True,
        authentication=Authentication.OAUTH,
        tenant="tid-1",
        client_id="cid-1",
        client_secret="client secret 1",
        secret_ends_on=date(2028, 11, 20),
        refresh_token="refresh token 1",
        scopes=("SMTP.Send", "offline_access"),
        user=USER,
        granted_at_us=7,
        verified_at_us=8,
    )


async def test_a_new_installation_has_a_mail_server_that_is_not_set_up(kept: KeptStore) -> None:
    store = await kept.open()
    server = await store.mail_servers.default()
    assert not server.is_set_up
    assert (await store.mailboxes.find(server.mailbox_id)).state is MailboxState.DISCONNECTED
    assert await store.mail_servers.load_draft() is None
    assert await store.mail_servers.draft_from_live() == MailServerDraft()
    with pytest.raises(WrongStateError, match="set up the mail server and sign in first"):
        await store.mailboxes.open_grant(server.mailbox_id)


async def test_what_a_verification_learnt_is_kept_only_in_the_draft_that_it_checked(kept: KeptStore) -> None:
    mail_servers = (await kept.open()).mail_servers
    checked = msgspec.structs.replace(full_draft(), refresh_token="rotated", verified_at_us=5)
    await mail_servers.renew_draft(checked)
    assert await mail_servers.load_draft() is None, "it was saved or discarded meanwhile"
    await mail_servers.keep_draft(msgspec.structs.replace(full_draft(), port=25))
    await mail_servers.renew_draft(checked)
    assert await mail_servers.load_draft() == msgspec.structs.replace(full_draft(), port=25)
    await mail_servers.keep_draft(full_draft())
    await mail_servers.renew_draft(checked)
    assert await mail_servers.load_draft() == checked


async def test_a_draft_survives_and_is_not_live(kept: KeptStore) -> None:
    store = await kept.open()
    await store.mail_servers.keep_draft(full_draft())
    await store.mail_servers.keep_draft(msgspec.structs.replace(full_draft(), port=25))
    store = await kept.open()
    assert await store.mail_servers.load_draft() == msgspec.structs.replace(full_draft(), port=25)
    assert not (await store.mail_servers.default()).is_set_up
    await store.mail_servers.discard_draft()
    assert await store.mail_servers.load_draft() is None


async def test_saving_makes_everything_live_at_once(kept: KeptStore) -> None:
    store = await kept.open()
    await store.mail_servers.keep_draft(full_draft())
    server = await store.mail_servers.save(full_draft(), "anna", "192.0.2.9")
    assert server == await store.mail_servers.default()
    assert (server.host, server.sender, server.send_right) == (
        "smtp.office365.com",
        "noreply@contoso.com",
        SendRight.SEND_ON_BEHALF,
    )
    assert server.verified_at_us == 8
    mailbox = await store.mailboxes.find(server.mailbox_id)
    assert (mailbox.state, mailbox.username, mailbox.address) == (
        MailboxState.READY,
        "scanner@contoso.com",
        "shared@contoso.com",
    )
    assert mailbox.user == USER
    assert await store.mail_servers.load_draft() is None
    (entry,) = await store.audit.recent(10)
    assert (entry.who, entry.from_address, entry.action) == ("anna", "192.0.2.9", "saved mail server")
    assert entry.before == ""
    assert '"sender":"noreply@contoso.com"' in entry.after
    assert "secret" not in entry.after


async def test_the_grant_opens_with_its_secrets(kept: KeptStore) -> None:
    store = await kept.open()
    await store.mail_servers.save(full_draft(), "anna")
    grant = await (await kept.open()).mailboxes.open_grant(MAILBOX_ID)
    assert (grant.client_secret, grant.refresh_token, grant.password) == ("client secret 1", "refresh token 1", "")
    assert (grant.tenant, grant.client_id, grant.scopes) == ("tid-1", "cid-1", ("SMTP.Send", "offline_access"))
    assert (grant.username, grant.address) == ("scanner@contoso.com", "shared@contoso.com")
    assert grant.secret_ends_on == date(2028, 11, 20)
    assert (grant.user, grant.granted_at_us) == (USER, 7)
    assert "secret 1" not in repr(grant)


async def test_a_page_sees_the_grant_without_its_secrets(ready: KeptStore) -> None:
    shown = await ready.store.mailboxes.show_grant(MAILBOX_ID)
    opened = await ready.store.mailboxes.open_grant(MAILBOX_ID)
    assert opened.refresh_token
    assert opened.client_secret
    assert shown == msgspec.structs.replace(opened, client_secret="", password="", refresh_token="")


async def test_basic_keeps_the_password_only(kept: KeptStore) -> None:
    store = await kept.open()
    await store.mail_servers.save(
        msgspec.structs.replace(full_draft(), authentication=Authentication.BASIC, password="pass word"), "anna"
    )
    grant = await store.mailboxes.open_grant(MAILBOX_ID)
    assert (grant.password, grant.client_secret, grant.refresh_token) == ("pass word", "", "")


async def test_what_is_live_can_be_edited(kept: KeptStore) -> None:
    store = await kept.open()
    await store.mail_servers.save(full_draft(), "anna")
    assert await store.mail_servers.draft_from_live() == full_draft()


async def test_a_proof_lasts_only_while_the_way_is_the_same(ready: KeptStore) -> None:
    await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    proved_at_us = (await ready.store.mail_servers.default()).proved_at_us
    assert proved_at_us is not None
    server = await ready.store.mail_servers.save(
        msgspec.structs.replace(ready.draft(), test_address="new@contoso.com"), "anna"
    )
    assert server.proved_at_us == proved_at_us
    server = await ready.store.mail_servers.save(
        msgspec.structs.replace(ready.draft(), sender="other@contoso.com"), "anna"
    )
    assert server.proved_at_us is None


async def test_a_rotated_refresh_token_is_durable_when_kept(ready: KeptStore) -> None:
    ready.clock.advance(60)
    await ready.keep_refresh_token("rotated")
    grant = await (await ready.open()).mailboxes.open_grant(MAILBOX_ID)
    assert (grant.refresh_token, grant.renewed_at_us) == ("rotated", ready.clock.now_us())
    assert grant.scopes == ready.draft().scopes
    assert grant.client_secret == "the client secret"


async def test_a_token_of_an_earlier_sign_in_does_not_overwrite_a_new_one(ready: KeptStore) -> None:
    before = await ready.store.mailboxes.open_grant(MAILBOX_ID)
    ready.clock.advance(60)
    await ready.store.mail_servers.save(
        msgspec.structs.replace(ready.draft(), refresh_token="of the new sign-in"), "anna"
    )
    with pytest.raises(WrongStateError, match="signed in anew meanwhile"):
        await ready.keep_refresh_token("late", before)
    assert (await ready.store.mailboxes.open_grant(MAILBOX_ID)).refresh_token == "of the new sign-in"


async def test_disconnecting_erases_the_grant_and_keeps_the_mail(ready: KeptStore) -> None:
    message_id = await ready.keep()
    mailboxes = ready.store.mailboxes
    grant, lease = await mailboxes.open_grant(MAILBOX_ID), await mailboxes.take_renewal_lease(MAILBOX_ID, "keeper")
    assert lease is not None
    await ready.store.mailboxes.disconnect(MAILBOX_ID, "anna")
    with pytest.raises(WrongStateError, match="not set up"):
        await ready.store.mailboxes.open_grant(MAILBOX_ID)
    assert await ready.states(message_id) == ["queued"]
    assert await ready.store.outbox.lease_due(1) == []
    with pytest.raises(WrongStateError, match="not set up"):
        await ready.store.mailboxes.resume(MAILBOX_ID, "anna")
    with pytest.raises(WrongStateError, match="disconnected"):
        await mailboxes.keep_tokens(lease, grant, "late")
    with pytest.raises(WrongStateError, match="not set up"):
        await mailboxes.take_renewal_lease(MAILBOX_ID, "keeper")
    await ready.store.mail_servers.save(ready.draft(), "anna")
    assert (await ready.lease_one()).message_id == message_id


async def test_stop_and_resume(ready: KeptStore) -> None:
    await ready.store.mailboxes.stop(MAILBOX_ID, SIGNED_OUT, StopCause.SIGN_IN, None)
    (mailbox,) = await ready.store.mailboxes.all()
    assert (mailbox.state, mailbox.cause, mailbox.failure) == (MailboxState.STOPPED, StopCause.SIGN_IN, SIGNED_OUT)
    assert mailbox.since_us == ready.clock.now_us()
    await ready.store.outbox.wait_for_change(0)
    await ready.store.mailboxes.resume(MAILBOX_ID, "anna")
    await ready.store.outbox.wait_for_change(None)
    (mailbox,) = await ready.store.mailboxes.all()
    assert (mailbox.state, mailbox.cause, mailbox.until_us, mailbox.failure) == (MailboxState.READY, None, None, None)
    assert (await ready.store.audit.recent(1))[0].action == "resumed"


async def test_what_befell_an_earlier_sign_in_does_not_stop_the_new_one(ready: KeptStore) -> None:
    before = await ready.store.mailboxes.open_grant(MAILBOX_ID)
    ready.clock.advance(60)
    await ready.store.mail_servers.save(ready.draft(), "anna")
    await ready.store.mailboxes.stop(MAILBOX_ID, SIGNED_OUT, StopCause.SIGN_IN, None, before.granted_at_us)
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY
    now = await ready.store.mailboxes.open_grant(MAILBOX_ID)
    await ready.store.mailboxes.stop(MAILBOX_ID, SIGNED_OUT, StopCause.SIGN_IN, None, now.granted_at_us)
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.STOPPED


async def test_a_disconnected_mailbox_is_not_stopped(ready: KeptStore) -> None:
    await ready.store.mailboxes.disconnect(MAILBOX_ID, "anna")
    await ready.store.mailboxes.stop(MAILBOX_ID, SIGNED_OUT, StopCause.SIGN_IN, None)
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.DISCONNECTED


async def test_there_is_no_other_mailbox(ready: KeptStore) -> None:
    with pytest.raises(LookupError):
        await ready.store.mailboxes.find(99)


async def test_a_secret_moved_to_another_row_does_not_open(ready: KeptStore) -> None:
    await ready.write("UPDATE grants SET client_secret = refresh_token")
    with pytest.raises(VaultKeyError, match=r"grants\.client_secret\.1 does not open"):
        await ready.store.mailboxes.open_grant(MAILBOX_ID)


async def test_an_apps_certificate_is_kept_with_its_key_and_its_end(kept: KeptStore) -> None:
    made = make_client_certificate("Postroom", 1_795_800_000_000_000)
    draft = msgspec.structs.replace(
        full_draft(),
        grant_type=GrantType.CLIENT_CERTIFICATE,
        cloud=Cloud.GCC_HIGH,
        certificate=made.certificate,
        private_key=made.private_key,
        user=None,
    )
    store = await kept.open()
    await store.mail_servers.save(draft, "anna")
    grant = await store.mailboxes.open_grant(MAILBOX_ID)
    assert (grant.grant_type, grant.cloud) == (GrantType.CLIENT_CERTIFICATE, Cloud.GCC_HIGH)
    assert (grant.certificate, grant.private_key) == (made.certificate, made.private_key)
    assert (grant.client_secret, grant.refresh_token) == ("", ""), "what this grant does not use is not kept"
    [(ends_on, key)] = await kept.read("SELECT certificate_ends_on, private_key FROM grants")
    assert ends_on == "2028-11-26"
    assert b"PRIVATE KEY" not in key
    edited = await store.mail_servers.draft_from_live()
    assert (edited.grant_type, edited.private_key) == (GrantType.CLIENT_CERTIFICATE, made.private_key)
    [expiry] = await store.mailboxes.expiries()
    assert (expiry.kind.value, expiry.ends_on) == ("certificate", date(2028, 11, 26))
