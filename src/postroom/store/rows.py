"""Rows of the database as the values that other rooms see."""

from datetime import date
from typing import Any

import msgspec

from postroom.message import AfterUnknown, DsnRequest, MailboxState
from postroom.outcome import Failure, StopCause
from postroom.store.database import Row
from postroom.store.records import (
    ApiKey,
    App,
    AppPassword,
    AuditEntry,
    Authentication,
    EmailType,
    Mailbox,
    MailServer,
    Person,
    RefusedClient,
    RefusedSender,
    SenderPolicy,
    SendRight,
    SignedInUser,
)


def mailbox_of(row: Row) -> Mailbox:
    return Mailbox(
        mailbox_id=row["mailbox_id"],
        username=row["username"],
        address=row["address"],
        authentication=Authentication(row["authentication"]),
        state=MailboxState(row["state"]),
        cause=StopCause(row["cause"]) if row["cause"] else None,
        until_us=row["until_us"],
        since_us=row["since_us"],
        failure=failure_of(row["failure"]),
        user=user_of(row["signed_in_user"]),
        message_limit_a_minute=row["message_limit_a_minute"],
        connection_limit=row["connection_limit"],
        recipient_limit_a_day=row["recipient_limit_a_day"],
        recipient_limit_a_message=row["recipient_limit_a_message"],
        learnt_message_limit=row["learnt_message_limit"],
        learnt_connection_limit=row["learnt_connection_limit"],
        learnt_at_us=row["learnt_at_us"],
        tenant=row["tenant"],
    )


def ready_us(row: Row, now_us: int) -> int:
    """How long a mailbox could send until now; a clock that was set back takes nothing away."""
    since_us: int | None = row["ready_since_us"]
    total_us: int = row["ready_total_us"]
    return total_us + (max(0, now_us - since_us) if since_us is not None else 0)


def mail_server_of(row: Row) -> MailServer:
    return MailServer(
        mail_server_id=row["mail_server_id"],
        name=row["name"],
        host=row["host"],
        port=row["port"],
        email_type=EmailType(row["email_type"]),
        use_tls=bool(row["use_tls"]),
        sender=row["sender"],
        sender_name=row["sender_name"],
        test_address=row["test_address"],
        send_right=SendRight(row["send_right"]),
        mailbox_id=row["mailbox_id"],
        ehlo_name=row["ehlo_name"],
        verified_at_us=row["verified_at_us"],
        proved_at_us=row["proved_at_us"],
        authorities=row["authorities"],
        is_default=bool(row["is_default"]),
        takes_null_sender=bool(row["takes_null_sender"]),
        takes_large_mail=bool(row["takes_large_mail"]),
        alternatives=msgspec.json.decode(row["alternatives"], type=tuple[int, ...]),
        cause=StopCause(row["cause"]) if row["cause"] else None,
        until_us=row["until_us"],
        since_us=row["since_us"],
        failure=failure_of(row["failure"]),
    )


def app_of(row: Row) -> App:
    return App(
        app_id=row["app_id"],
        name=row["name"],
        login=row["login"] or "",
        kind=row["kind"],
        owner=row["owner"],
        senders=texts_of(row["senders"]),
        sender_policy=SenderPolicy(row["sender_policy"]),
        recipient_domains=texts_of(row["recipient_domains"]),
        message_limit_a_minute=row["message_limit_a_minute"],
        message_limit_a_day=row["message_limit_a_day"],
        size_limit_bytes=row["size_limit_bytes"],
        addresses=texts_of(row["addresses"]),
        needs_sign_in=bool(row["needs_sign_in"]),
        local_users=texts_of(row["local_users"]),
        fixes_lines=bool(row["fixes_lines"]),
        allows_plain_text=bool(row["allows_plain_text"]),
        allows_old_tls=bool(row["allows_old_tls"]),
        allows_cram_md5=bool(row["allows_cram_md5"]),
        after_unknown=AfterUnknown(row["after_unknown"]),
        notices_to=row["notices_to"],
        is_enabled=bool(row["is_enabled"]),
        is_internal=bool(row["is_internal"]),
        created_at_us=row["created_at_us"],
        last_used_at_us=row["last_used_at_us"],
        last_used_from=row["last_used_from"],
        last_used_tls=row["last_used_tls"],
        last_used_mechanism=row["last_used_mechanism"],
    )


def app_password_of(row: Row) -> AppPassword:
    return AppPassword(
        row["credential_id"],
        row["app_id"],
        bool(row["is_chosen_by_a_person"]),
        row["created_at_us"],
        row["last_used_at_us"],
    )


def api_key_of(row: Row) -> ApiKey:
    return ApiKey(
        api_key_id=row["api_key_id"],
        app_id=row["app_id"],
        name=row["name"],
        shown_start=row["shown_start"],
        scopes=texts_of(row["scopes"]),
        created_at_us=row["created_at_us"],
        expires_at_us=row["expires_at_us"],
        last_used_at_us=row["last_used_at_us"],
        last_used_from=row["last_used_from"],
    )


def refused_client_of(row: Row) -> RefusedClient:
    return RefusedClient(
        address=row["address"],
        listener=row["listener"],
        helo=row["helo"],
        login=row["login"],
        code=row["code"],
        text=row["text"],
        attempts=row["attempts"],
        first_at_us=row["first_at_us"],
        last_at_us=row["last_at_us"],
    )


def refused_sender_of(row: Row) -> RefusedSender:
    return RefusedSender(
        sender=row["sender"],
        mail_server_id=row["mail_server_id"],
        mail_server_name=row["mail_server_name"],
        failure=msgspec.json.decode(row["failure"], type=Failure),
        refused_at_us=row["refused_at_us"],
    )


def person_of(row: Row) -> Person:
    return Person(row["person_id"], row["name"], row["email"], row["created_at_us"])


def audit_entry_of(row: Row) -> AuditEntry:
    return AuditEntry(
        row["at_us"], row["who"], row["from_address"], row["action"], row["target"], row["before"], row["after"]
    )


def failure_of(text: str | None) -> Failure | None:
    return msgspec.json.decode(text, type=Failure) if text else None


def user_of(text: str | None) -> SignedInUser | None:
    return msgspec.json.decode(text, type=SignedInUser) if text else None


def dsn_of(text: str | None) -> DsnRequest | None:
    return msgspec.json.decode(text, type=DsnRequest) if text else None


def texts_of(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


def date_of(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def to_json_or_none(value: Any) -> str | None:
    return msgspec.json.encode(value).decode() if value is not None else None
