"""The parts of the simulated Exchange Online that do no I/O."""

import base64

import pytest

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_body import ChunkedBody, DottedBody
from postroom.simulator.exchange_dialogue import Dialogue
from postroom.simulator.exchange_envelope import Malformed, Sender, parse_chunk, parse_mail, parse_rcpt
from postroom.simulator.exchange_sign_in import Admission, SignInRefused, sign_in_with_password, sign_in_with_token
from postroom.simulator.sender_rights import MAX_HEAD_BYTES, check_originators, read_head
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens

SMTP = "https://outlook.office.com"
SCANNER, NOREPLY, ANNA = "scanner@contoso.com", "noreply@contoso.com", "anna@contoso.com"


def user_of(tenant: Tenant, address: str) -> User:
    user = tenant.user_by_address(address)
    assert user is not None
    return user


def bearer(user: str, token: str) -> bytes:
    return base64.b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode())


def token_for(tenant: Tenant, tokens: Tokens, address: str, resource: str = SMTP, scope: str = "SMTP.Send") -> str:
    app = tenant.register_app("Postroom", "http://localhost/callback")
    return tokens.issue_access_token(app.client_id, user_of(tenant, address), resource, [scope])


# Signing in


def test_a_token_opens_the_mailbox_of_its_user(tenant: Tenant, tokens: Tokens) -> None:
    blob = bearer(SCANNER, token_for(tenant, tokens, SCANNER))

    assert opened(sign_in_with_token(tenant, tokens, blob)) is user_of(tenant, SCANNER)


def test_the_user_may_be_named_by_an_alias_in_any_case(tenant: Tenant, tokens: Tokens) -> None:
    user_of(tenant, SCANNER).proxy_addresses.append("mfp@contoso.com")

    result = sign_in_with_token(tenant, tokens, bearer("MFP@contoso.com", token_for(tenant, tokens, SCANNER)))

    assert opened(result) is user_of(tenant, SCANNER)


def opened(result: Admission | SignInRefused) -> User:
    assert isinstance(result, Admission), result
    return result.mailbox


def refusal(result: Admission | SignInRefused) -> SignInRefused:
    assert isinstance(result, SignInRefused)
    return result


def test_another_mailbox_needs_full_access(tenant: Tenant, tokens: Tokens) -> None:
    blob = bearer(NOREPLY, token_for(tenant, tokens, SCANNER))

    refused = refusal(sign_in_with_token(tenant, tokens, blob))
    assert refused.reply == replies.UNSUCCESSFUL
    assert refused.reason == "scanner@contoso.com may not open the mailbox noreply@contoso.com"

    tenant.grant_right("full_access", user_of(tenant, NOREPLY).object_id, SCANNER)
    assert opened(sign_in_with_token(tenant, tokens, blob)) is user_of(tenant, NOREPLY)


@pytest.mark.parametrize(
    ("resource", "scope", "reason"),
    [
        ("https://graph.microsoft.com", "SMTP.Send", "audience"),
        (SMTP, "User.Read", "scope missing"),
    ],
)
def test_a_token_for_something_else_is_refused(
    tenant: Tenant, tokens: Tokens, resource: str, scope: str, reason: str
) -> None:
    token = token_for(tenant, tokens, SCANNER, resource, scope)

    refused = refusal(sign_in_with_token(tenant, tokens, bearer(SCANNER, token)))

    assert refused.reply == replies.UNSUCCESSFUL
    assert refused.reason.startswith(f"{reason}: ")


def test_an_expired_token_is_refused(tenant: Tenant, tokens: Tokens) -> None:
    blob = bearer(SCANNER, token_for(tenant, tokens, SCANNER))
    tenant.clock.advance(3601)

    assert refusal(sign_in_with_token(tenant, tokens, blob)).reason.startswith("expired: ")


def test_a_revoked_session_is_refused(tenant: Tenant, tokens: Tokens) -> None:
    blob = bearer(SCANNER, token_for(tenant, tokens, SCANNER))
    tenant.revoke_sessions(user_of(tenant, SCANNER).object_id)

    assert refusal(sign_in_with_token(tenant, tokens, blob)).reason.startswith("revoked: ")


def test_the_wrong_object_id_is_named_beside_the_right_one(tenant: Tenant, tokens: Tokens) -> None:
    app = tenant.register_app("Postroom")
    tenant.exchange.new_service_principal(app.client_id, app.object_id)
    tenant.exchange.new_role_assignment(app.client_id)
    token = tokens.issue_app_token(app.client_id, app.enterprise.object_id, "https://outlook.office365.com", [])

    refused = refusal(sign_in_with_token(tenant, tokens, bearer(NOREPLY, token)))

    assert refused.reply == replies.UNSUCCESSFUL
    assert f"made with the object id {app.object_id}" in refused.reason
    assert f"the enterprise application's is {app.enterprise.object_id}" in refused.reason


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"not base64!",
        base64.b64encode(b"user=scanner@contoso.com\x01auth=Bearer x"),
        base64.b64encode(b"auth=Bearer x\x01\x01"),
        base64.b64encode(b"user=scanner@contoso.com\x01auth=Basic x\x01\x01"),
        base64.b64encode(b"\xff\x01\x01"),
    ],
)
def test_a_malformed_response_is_refused(tenant: Tenant, tokens: Tokens, blob: bytes) -> None:
    assert refusal(sign_in_with_token(tenant, tokens, blob)) == SignInRefused(
        replies.UNSUCCESSFUL, "the XOAUTH2 response is malformed"
    )


@pytest.mark.parametrize(
    ("tenant_is_off", "mailbox", "reply"),
    [
        (False, None, None),
        (True, None, replies.DISABLED_FOR_TENANT),
        (True, True, None),
        (False, False, replies.DISABLED_FOR_MAILBOX),
        (True, False, replies.DISABLED_FOR_MAILBOX),
    ],
)
def test_smtp_auth_is_a_switch_with_three_states_for_tokens_and_passwords_alike(
    tenant: Tenant, tokens: Tokens, tenant_is_off: bool, mailbox: bool | None, reply: str | None
) -> None:
    scanner = user_of(tenant, SCANNER)
    tenant.disable_smtp_auth(disabled=tenant_is_off)
    tenant.set_smtp_auth(scanner.object_id, mailbox)
    results = [
        sign_in_with_token(tenant, tokens, bearer(SCANNER, token_for(tenant, tokens, SCANNER))),
        with_password(tenant, SCANNER, scanner.password),
    ]

    said = [result.reply if isinstance(result, SignInRefused) else None for result in results]

    assert said == [reply, reply]


def with_password(tenant: Tenant, user: str, password: str) -> Admission | SignInRefused:
    return sign_in_with_password(tenant, base64.b64encode(user.encode()), base64.b64encode(password.encode()))


def test_a_password_opens_its_mailbox_and_no_other_does(tenant: Tenant) -> None:
    scanner = user_of(tenant, SCANNER)

    assert opened(with_password(tenant, SCANNER, scanner.password)) is scanner
    assert refusal(with_password(tenant, SCANNER, "wrong")).reply == replies.WRONG_CREDENTIALS
    assert refusal(with_password(tenant, "nobody@contoso.com", "x")).reply == replies.WRONG_CREDENTIALS


def test_basic_authentication_can_be_switched_off_for_the_tenant(tenant: Tenant) -> None:
    tenant.basic_auth_disabled = True

    refused = refusal(with_password(tenant, SCANNER, user_of(tenant, SCANNER).password))

    assert refused.reply == "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."


def test_security_defaults_block_a_password_but_not_a_token(tenant: Tenant, tokens: Tokens) -> None:
    tenant.security_defaults = True

    refused = refusal(with_password(tenant, SCANNER, user_of(tenant, SCANNER).password))

    assert "locked by your organization's security defaults policy" in refused.reply
    assert isinstance(
        sign_in_with_token(tenant, tokens, bearer(SCANNER, token_for(tenant, tokens, SCANNER))), Admission
    )


def test_a_person_without_a_mailbox_cannot_send(tenant: Tenant, tokens: Tokens) -> None:
    tenant.add_user("guest@contoso.com", is_mailbox=False)

    blob = bearer("guest@contoso.com", token_for(tenant, tokens, "guest@contoso.com"))

    assert refusal(sign_in_with_token(tenant, tokens, blob)).reason == "guest@contoso.com has no mailbox"


# Whom a message may come from


def judged(tenant: Tenant, head: str) -> str | None:
    message = read_head(head.replace("\n", "\r\n").encode() + b"\r\n\r\nbody\r\n")
    assert message is not None
    return check_originators(tenant, own_admission(tenant), message)


def own_admission(tenant: Tenant) -> Admission:
    scanner = user_of(tenant, SCANNER)
    return Admission(scanner, scanner.object_id)


DENIED = replies.send_as_denied(SCANNER, NOREPLY)


def test_the_own_address_and_its_aliases_may_stand_in_from(tenant: Tenant) -> None:
    user_of(tenant, SCANNER).proxy_addresses.append("mfp@contoso.com")

    assert judged(tenant, "From: Scanner <Scanner@Contoso.com>") is None
    assert judged(tenant, "From: mfp@contoso.com") is None


def test_a_name_with_a_comma_is_one_address(tenant: Tenant) -> None:
    assert judged(tenant, 'From: "Room 3, Scanner"\n <scanner@contoso.com>') is None


def test_another_address_is_denied_with_both_names(tenant: Tenant) -> None:
    said = judged(tenant, "From: No Reply <noreply@contoso.com>")

    assert said == DENIED
    assert DENIED.startswith(
        "554 5.2.252 SendAsDenied; scanner@contoso.com not allowed to send as noreply@contoso.com;"
    )


def test_a_stranger_is_denied(tenant: Tenant) -> None:
    said = judged(tenant, "From: anna@example.net")

    assert said == replies.send_as_denied(SCANNER, "anna@example.net")


def test_send_as_allows_it_without_a_sender(tenant: Tenant) -> None:
    tenant.grant_right("send_as", user_of(tenant, NOREPLY).object_id, SCANNER)

    assert judged(tenant, "From: noreply@contoso.com") is None


@pytest.mark.parametrize(
    ("senders", "verdict"),
    [
        ("Sender: scanner@contoso.com", None),
        ("", DENIED),
        ("Sender: noreply@contoso.com", DENIED),
        ("Sender: scanner@contoso.com\nSender: scanner@contoso.com", DENIED),
    ],
)
def test_send_on_behalf_needs_exactly_one_sender_that_is_the_mailbox(
    tenant: Tenant, senders: str, verdict: str | None
) -> None:
    tenant.grant_right("send_on_behalf", user_of(tenant, NOREPLY).object_id, SCANNER)

    assert judged(tenant, f"From: noreply@contoso.com\n{senders}".strip()) == verdict


def test_a_sender_alone_grants_nothing(tenant: Tenant) -> None:
    assert judged(tenant, "From: noreply@contoso.com\nSender: scanner@contoso.com") == DENIED


def test_the_strict_reading_wants_send_as(tenant: Tenant) -> None:
    tenant.grant_right("send_on_behalf", user_of(tenant, NOREPLY).object_id, SCANNER)
    tenant.strict_send_on_behalf = True

    assert judged(tenant, "From: noreply@contoso.com\nSender: scanner@contoso.com") == DENIED


def test_a_foreign_sender_is_denied_though_from_is_the_mailbox(tenant: Tenant) -> None:
    assert judged(tenant, "From: scanner@contoso.com\nSender: noreply@contoso.com") == DENIED


@pytest.mark.parametrize(
    "head",
    [
        "Subject: no author",
        "From: scanner@contoso.com\nFrom: scanner@contoso.com",
        "From: undisclosed:;",
        "From: scanner",
        "",
    ],
)
def test_a_message_needs_one_from_with_an_address(tenant: Tenant, head: str) -> None:
    said = judged(tenant, head)

    assert said is not None
    assert said.startswith("550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant")


def test_a_from_line_in_the_body_is_no_header(tenant: Tenant) -> None:
    head = read_head(b"From: scanner@contoso.com\r\n\r\nFrom: noreply@contoso.com\r\n")

    assert head is not None
    assert check_originators(tenant, own_admission(tenant), head) is None


def test_a_head_without_end_is_not_read() -> None:
    assert read_head(b"X: y\r\n" * (MAX_HEAD_BYTES // 4)) is None


# The envelope


def test_mail_from_is_read_with_its_parameters() -> None:
    sender = parse_mail("from: <scanner@contoso.com> SIZE=1234 body=8bitmime SMTPUTF8 RET=HDRS ENVID=x AUTH=<>")

    assert sender == Sender("scanner@contoso.com", 1234, "8BITMIME", True)


def test_the_null_sender_is_read() -> None:
    assert parse_mail("FROM:<>") == Sender("")


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", replies.INVALID_ARGUMENTS),
        ("FROM:a@b.test", replies.INVALID_ARGUMENTS),
        ("TO:<a@b.test>", replies.INVALID_ARGUMENTS),
        ("FROM:<a@b.test> SIZE=many", replies.INVALID_ARGUMENTS),
        ("FROM:<a@b.test> BODY=9BIT", replies.INVALID_ARGUMENTS),
        ("FROM:<a@b.test> NOTIFY=NEVER", replies.INVALID_ARGUMENTS),
        ("FROM:<a>", replies.INVALID_SENDER),
        ("FROM:<a b@b.test>", replies.INVALID_SENDER),
        ("FROM:<jörg@b.test>", replies.INVALID_SENDER),
    ],
)
def test_what_is_wrong_with_mail_from_is_said(argument: str, reply: str) -> None:
    assert parse_mail(argument) == Malformed(reply)


def test_a_recipient_is_read() -> None:
    assert parse_rcpt("TO:<b@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b@example.net", is_utf8=False) == (
        "b@example.net"
    )
    assert parse_rcpt('TO:<"a b"@example.net>', is_utf8=False) == '"a b"@example.net'


def test_a_recipient_beyond_ascii_needs_smtputf8() -> None:
    assert parse_rcpt("TO:<jörg@example.net>", is_utf8=True) == "jörg@example.net"
    assert parse_rcpt("TO:<jörg@example.net>", is_utf8=False) == Malformed(replies.INVALID_RECIPIENT)


@pytest.mark.parametrize("argument", ["TO:<>", "TO:<b>", "TO:<b@>"])
def test_a_recipient_needs_an_address(argument: str) -> None:
    assert parse_rcpt(argument, is_utf8=False) == Malformed(replies.INVALID_RECIPIENT)


def test_a_chunk_is_announced_by_its_size() -> None:
    assert parse_chunk("1000") == (1000, False)
    assert parse_chunk("0 last") == (0, True)
    assert parse_chunk("ten") == Malformed(replies.INVALID_ARGUMENTS)
    assert parse_chunk("10 FIRST") == Malformed(replies.INVALID_ARGUMENTS)


# The body


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_data_ends_at_the_dot_however_it_is_cut(step: int) -> None:
    stream = b"A: b\r\n\r\n..dotted\r\n.\x20not the end\r\n\n.\n\r\n.\r\nNOOP\r\n"
    body, received, is_complete = DottedBody(1000), bytearray(), False
    while not is_complete:
        assert stream, "the end was not seen"
        received, stream = bytearray(stream[:step]), stream[step:]
        is_complete = body.feed(received)

    assert body.content() == b"A: b\r\n\r\n.dotted\r\n not the end\r\n\n.\n\r\n"
    assert bytes(received) + stream == b"NOOP\r\n"


def test_a_message_of_nothing_but_the_dot_is_empty() -> None:
    body, received = DottedBody(1000), bytearray(b".\r\nQUIT\r\n")

    assert body.feed(received)
    assert body.content() == b""
    assert received == b"QUIT\r\n"


def test_data_beyond_the_limit_is_read_to_its_end_and_not_kept() -> None:
    body = DottedBody(100)

    assert not any(body.feed(bytearray(b"x" * 50 + b"\r\n")) for _ in range(50))
    assert len(body._buffer) < 300
    assert body.feed(bytearray(b".\r\n"))
    assert body.content() is None


def test_data_of_exactly_the_limit_passes() -> None:
    within, beyond = DottedBody(10), DottedBody(9)

    assert within.feed(bytearray(b"..345678\r\n.\r\n".replace(b"..", b"..2", 1)))
    assert within.content() == b".2345678\r\n"
    assert beyond.feed(bytearray(b"12345678\r\n.\r\n"))
    assert beyond.content() is None


def test_chunks_are_joined_as_they_are() -> None:
    body, received = ChunkedBody(100), bytearray(b"one\n.\r\ntwo")
    body.expect(7)
    assert body.feed(received)
    body.expect(4)
    assert not body.feed(received)
    assert body.feed(bytearray(b"!"))

    assert body.content() == b"one\n.\r\ntwo!"


def test_chunks_beyond_the_limit_are_counted_only() -> None:
    body = ChunkedBody(100)
    body.expect(1_000_000)

    assert not body.feed(bytearray(b"x" * 999_999))
    assert len(body._buffer) == 0
    assert body.feed(bytearray(b"x"))
    assert body.content() is None


# The dialogue


def test_a_dialogue_holds_the_opening_and_the_last_transaction_without_secrets() -> None:
    dialogue = Dialogue()
    dialogue.note_client("EHLO client.example")
    dialogue.note_client("auth xoauth2 c2VjcmV0")
    dialogue.note_secret(8)
    for number in (1, 2):
        dialogue.begin_transaction()
        dialogue.note_client(f"MAIL FROM:<{number}@x.test>")
        dialogue.note_server("250 2.1.0 Sender OK")

    assert dialogue.lines() == (
        "C: EHLO client.example",
        "C: auth xoauth2 <8 octets, not kept>",
        "C: <8 octets, not kept>",
        "C: MAIL FROM:<2@x.test>",
        "S: 250 2.1.0 Sender OK",
    )
