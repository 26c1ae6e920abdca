"""The Sender of what leaves, judged by Python's own parser; everything else leaves as it was stored."""

from collections.abc import AsyncIterator
from email.parser import BytesParser
from email.policy import SMTP

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.deliver.outgoing import make_parcel, name_sender
from postroom.deliver.transport import Parcel
from postroom.message import AfterUnknown, DsnRequest, RecipientDsn
from postroom.store.records import EmailType, Lease, MailServer, OpenRecipient, SendRight, SignedInUser, StoredBody
from tests.unit.deliver.scripted_server import a_mail_server, a_mailbox

HEAD = b"Received: from x\r\nFrom: Reception <noreply@example.test>\r\nTo: b@example.net\r\nSubject: Hi\r\n"
BODY = b"\r\nSender: this is text\r\n.\r\nEnd\r\n"


def a_lease(content: bytes, **changes: object) -> Lease:
    lease = Lease(
        delivery_id=1,
        message_id=2,
        attempt_id=3,
        attempt_number=1,
        owner="node0.1",
        expires_at_us=0,
        mail_server=a_mail_server(send_right=SendRight.SEND_ON_BEHALF),
        mailbox=a_mailbox(),
        envelope_sender="noreply@example.test",
        recipients=(OpenRecipient(10, "b@example.net"), OpenRecipient(11, "c@example.net")),
        header_from="noreply@example.test",
        body=StoredBody(len(content), content),
        is_eight_bit=False,
        needs_smtputf8=False,
        after_unknown=AfterUnknown.SEND_AGAIN,
        dsn=None,
        message_expires_at_us=None,
        age_us=0,
    )
    return msgspec.structs.replace(lease, **changes)


async def parcel_of(lease: Lease, chunk_bytes: int = 64 * 1024) -> tuple[Parcel, bytes]:
    async def read(body: StoredBody) -> AsyncIterator[bytes]:
        content = body.content or b""
        for start in range(0, len(content), chunk_bytes):
            yield content[start : start + chunk_bytes]

    parcel = await make_parcel(lease, read, may_finish=lambda: True, is_moving=lambda: None)
    return parcel, b"".join([chunk async for chunk in parcel.open_body()])


MICROSOFT = "smtp.office365.com"
GRAPH = a_mail_server(host="", email_type=EmailType.GRAPH)


@pytest.mark.anyio
@pytest.mark.parametrize("right", [SendRight.OWN, SendRight.SEND_AS])
@pytest.mark.parametrize("host", [MICROSOFT, "mail.example.test"])
async def test_by_every_other_right_a_message_leaves_byte_by_byte_as_it_was_stored(right: SendRight, host: str) -> None:
    content = HEAD + BODY
    parcel, sent = await parcel_of(a_lease(content, mail_server=a_mail_server(send_right=right, host=host)))
    assert sent == content
    assert parcel.size_bytes == len(content)
    assert parcel.recipients == ("b@example.net", "c@example.net")


@pytest.mark.anyio
@pytest.mark.parametrize("old", [b"Sender: scanner@example.test\r\n", b"sender :\r\n\tX\r\n  <x@else.test>\r\n"])
@pytest.mark.parametrize("host", [MICROSOFT, "mail.example.test"])
async def test_by_send_as_no_trace_is_left_of_any_sender(old: bytes, host: str) -> None:
    server = a_mail_server(send_right=SendRight.SEND_AS, host=host)
    parcel, sent = await parcel_of(a_lease(old + HEAD + BODY, mail_server=server))
    assert sent == HEAD + BODY
    assert parcel.size_bytes == len(sent)


@pytest.mark.anyio
@pytest.mark.parametrize("sender", [b"x@else.test", b"a@b.test, c@d.test", b"<broken", b""])
@pytest.mark.parametrize("server", [a_mail_server(host=MICROSOFT), GRAPH])
async def test_what_exchange_would_refuse_the_message_for_goes(sender: bytes, server: MailServer) -> None:
    content = b"Sender: " + sender + b"\r\n" + HEAD + BODY
    parcel, sent = await parcel_of(a_lease(content, mail_server=server))
    assert sent == HEAD + BODY
    assert parcel.size_bytes == len(sent)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "sender",
    [b"noreply@example.test", b"Scanner <Scanner@Example.test>", b"shared@example.test", b"alias@example.test"],
)
async def test_a_mailbox_may_name_itself_by_each_of_its_addresses(sender: bytes) -> None:
    user = SignedInUser("o", "t", "scanner@example.test", addresses=("scanner@example.test", "alias@example.test"))
    mailbox = msgspec.structs.replace(a_mailbox(), address="shared@example.test", user=user)
    content = b"Sender: " + sender + b"\r\n" + HEAD + BODY
    _, sent = await parcel_of(a_lease(content, mail_server=a_mail_server(host=MICROSOFT), mailbox=mailbox))
    assert sent == content


@pytest.mark.anyio
async def test_other_mail_servers_get_the_sender_that_the_program_named() -> None:
    content = b"Sender: x@else.test\r\n" + HEAD + BODY
    _, sent = await parcel_of(a_lease(content, mail_server=a_mail_server(host="mail.example.test")))
    assert sent == content


@pytest.mark.anyio
@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 64 * 1024])
async def test_on_behalf_a_message_leaves_with_the_user_name_as_its_one_sender(chunk_bytes: int) -> None:
    old = b"Sender: someone@else.test\r\nsender :\r\n\tFolded\r\n  <more@else.test>\r\n"
    parcel, sent = await parcel_of(a_lease(old + HEAD + BODY), chunk_bytes)

    message = BytesParser(policy=SMTP).parsebytes(sent)
    assert message.get_all("Sender") == ["scanner@example.test"]
    assert message.get_all("From") == ["Reception <noreply@example.test>"]
    assert sent == HEAD.replace(b"From:", b"Sender: <scanner@example.test>\r\nFrom:") + BODY
    assert parcel.size_bytes == len(sent)


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"\r\nno head at all\r\n", b"", b"Subject: no end of head\r\n", b"no line end"])
async def test_an_odd_message_gets_its_sender_too_and_keeps_its_bytes(content: bytes) -> None:
    parcel, sent = await parcel_of(a_lease(content))
    assert sent == b"Sender: <scanner@example.test>\r\n" + content
    assert parcel.size_bytes == len(sent)


@given(
    st.lists(
        st.sampled_from(
            [b"Sender: a@b.test", b"SENDER:x\r\n folded", b"From: c@d.test", b"X-Sender: keep", b"Subject: s\r\n\tt"]
        ),
        max_size=6,
    )
)
def test_only_sender_fields_go_and_only_one_comes(fields: list[bytes]) -> None:
    head = b"".join(field + b"\r\n" for field in fields)
    new = name_sender(head, "scanner@example.test")
    lines = b"".join(field + b"\r\n" for field in fields if not field.lower().startswith(b"sender"))
    assert new.head.count(b"Sender: <scanner@example.test>\r\n") == 1
    assert new.head.replace(b"Sender: <scanner@example.test>\r\n", b"", 1) == lines
    assert new.replaces_bytes == len(head)


@pytest.mark.anyio
@pytest.mark.parametrize("right", [SendRight.SEND_ON_BEHALF, SendRight.SEND_AS])
async def test_a_signature_goes_with_the_sender_that_it_covers_and_with_nothing_else(right: SendRight) -> None:
    over_sender = b"DKIM-Signature: v=1; d=x.test;\r\n\th=From:Sender; b=AAAA\r\n"
    over_others = b"DKIM-Signature: v=1; d=y.test; h=From:To:Subject; b=BBBB\r\n"
    server = a_mail_server(send_right=right)
    content = over_sender + over_others + b"Sender: x@else.test\r\n" + HEAD + BODY
    parcel, sent = await parcel_of(a_lease(content, mail_server=server))
    assert b"AAAA" not in sent
    assert sent.startswith(over_others)
    assert parcel.size_bytes == len(sent)
    if right is SendRight.SEND_AS:
        content = over_sender + HEAD + BODY
        _, sent = await parcel_of(a_lease(content, mail_server=server))
        assert sent == content, "nothing changed, so nothing is broken"


@pytest.mark.anyio
async def test_the_null_path_becomes_the_mail_servers_sender() -> None:
    parcel, _ = await parcel_of(a_lease(HEAD + BODY, envelope_sender=""))
    assert parcel.envelope_sender == "noreply@example.test"


@pytest.mark.anyio
async def test_wishes_for_notifications_go_along() -> None:
    wishes = DsnRequest("HDRS", recipients={"b@fabrikam.com": RecipientDsn(("FAILURE",))})
    parcel, _ = await parcel_of(a_lease(HEAD + BODY, dsn=wishes))
    assert parcel.dsn == wishes


@pytest.mark.anyio
async def test_a_user_name_beyond_ascii_asks_for_smtputf8() -> None:
    mailbox = msgspec.structs.replace(a_mailbox(), username="prüfer@example.test")
    parcel, sent = await parcel_of(a_lease(HEAD + BODY, mailbox=mailbox))
    assert "Sender: <prüfer@example.test>\r\n".encode() in sent
    assert parcel.needs_smtputf8
    assert parcel.is_eight_bit
