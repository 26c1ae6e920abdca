"""Composed messages, judged by Python's own parser: the same fields come out, and nothing is odd."""

from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.accept.composer import PIECE_BYTES, compose_message
from postroom.accept.message_fields import (
    Attachment,
    FieldError,
    MessageFields,
    NamedAddress,
    check_fields,
    parse_named_address,
)
from postroom.wire.head import find_head_end, read_head
from postroom.wire.lines import LineScanner

SENDER = NamedAddress("noreply@contoso.example", "Backup")


def attach(
    content: bytes, filename: str = "r.pdf", content_type: str = "application/pdf", cid: str = "", chunk: int = 5000
) -> Attachment:
    def read() -> Iterator[bytes]:
        for at in range(0, len(content), chunk):
            yield content[at : at + chunk]

    return Attachment(filename, content_type, read, cid, is_inline=bool(cid))


def compose(fields: MessageFields) -> bytes:
    check_fields(fields)
    numbers = count(1)
    content = b"".join(compose_message(fields, lambda: f"=_{next(numbers):032x}"))
    scanner = LineScanner()
    scanner.scan(content)
    scanner.finish()
    assert scanner.ends_with_line_end
    read_head(content[: find_head_end(content)])
    return content


def parse(fields: MessageFields) -> EmailMessage:
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(compose(fields))
    for part in message.walk():
        assert part.defects == []
        for value in part.values():
            assert value.defects == ()
    return message


def text_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=60)
TEXTS = st.lists(
    st.sampled_from(
        ["", "one", ".", "From x", "tail ", "\t", "ü", "日本語の文", "🎉", "=?utf-8?q?x?=", "w" * 1200, "a b " * 99]
    )
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    max_size=12,
).map("\n".join)


@given(WORDS.map(str.strip), WORDS, TEXTS, TEXTS, st.binary(max_size=9000))
def test_what_goes_in_comes_out(subject: str, name: str, text: str, html: str, file: bytes) -> None:
    fields = MessageFields(
        sender=NamedAddress("noreply@contoso.example", name.strip()),
        to=(NamedAddress("ops@contoso.example"), NamedAddress("x@example.org", name.strip())),
        subject=subject,
        text=text,
        html=html,
        headers=(("X-Job", subject or "42"),) if subject.strip() else (),
        attachments=(attach(file, filename="ä 日.bin"),),
    )
    message = parse(fields)
    assert (message["Subject"] or "") == subject
    if subject.strip():
        assert message["X-Job"] == subject
    assert [it.addr_spec for it in message["To"].addresses] == ["ops@contoso.example", "x@example.org"]
    # Python 3.11 keeps the blank between two encoded words of a name, against RFC 2047 6.2.
    shown = "".join(message["From"].addresses[0].display_name.split())
    assert shown == "".join(name.replace("@", " ").split())
    for kind, wanted in (("plain", text), ("html", html)):
        if wanted:
            assert text_of(message, kind).rstrip("\n") == wanted.rstrip("\n")
    [attachment] = message.iter_attachments()
    assert attachment.get_filename() == "ä 日.bin"
    assert attachment.get_content() == file


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain\nlines\n.\nFrom here\n", "7bit"),
        ("für Grüße\n" * 3 + "mostly plain text\n" * 5, "quoted-printable"),
        ("日本語" * 30, "base64"),
        ("w" * 1000, "quoted-printable"),
        ("trailing \n", "quoted-printable"),
    ],
)
def test_the_shortest_encoding_is_chosen(text: str, encoding: str) -> None:
    message = parse(MessageFields(SENDER, subject="x", text=text))
    assert message["Content-Transfer-Encoding"] == encoding
    assert text_of(message, "plain").rstrip("\n") == text.rstrip("\n")


def test_text_page_picture_and_file_stand_where_readers_look_for_them() -> None:
    picture, report = attach(b"\x89PNG", "logo.png", "image/png", cid="logo@x"), attach(b"%PDF")
    message = parse(
        MessageFields(SENDER, subject="x", text="t", html='<img src="cid:logo@x">', attachments=(picture, report))
    )
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"),
        "application/pdf",
    ]
    assert [part["Content-ID"] for part in message.walk() if part["Content-ID"]] == ["<logo@x>"]


def test_a_file_alone_is_a_message() -> None:
    message = parse(MessageFields(SENDER, subject="Scan", attachments=(attach(b"x" * 200_000),)))
    [attachment] = message.iter_attachments()
    assert attachment.get_content() == b"x" * 200_000


def test_a_large_file_streams_in_small_pieces() -> None:
    fields = MessageFields(SENDER, subject="Scan", attachments=(attach(b"y" * 3_000_000, chunk=1_000_000),))
    assert max(map(len, compose_message(fields))) <= PIECE_BYTES * 3 // 2


def test_long_texts_are_composed_in_small_pieces_too() -> None:
    for text in ("ü und mehr Text\r\n" * 40_000, "w" * 300_000, "a\r\n" * 100_000):
        fields = MessageFields(SENDER, subject="x", text=text)
        assert max(map(len, compose_message(fields))) <= PIECE_BYTES * 2
        assert text_of(parse(fields), "plain").rstrip() == text.replace("\r\n", "\n").rstrip()


# ---- what is refused ----


@pytest.mark.parametrize("bad", ["\r\nBcc: eve@x.example", "\n", "\r", "\0", "\x0b", "\x85", "\u2028", "\ud800"])
@pytest.mark.parametrize("field", ["subject", "header value", "header name", "filename", "content_type", "content_id"])
def test_nothing_can_become_another_field(field: str, bad: str) -> None:
    text = "x" + bad
    made: dict[str, Callable[[], MessageFields]] = {
        "subject": lambda: MessageFields(SENDER, subject=text, text="t"),
        "header value": lambda: MessageFields(SENDER, text="t", headers=(("X-A", text),)),
        "header name": lambda: MessageFields(SENDER, text="t", headers=((text, "v"),)),
        "filename": lambda: MessageFields(SENDER, attachments=(attach(b"", text),)),
        "content_type": lambda: MessageFields(SENDER, attachments=(attach(b"", "a", "text/plain; x=" + text),)),
        "content_id": lambda: MessageFields(SENDER, attachments=(attach(b"", "a", "image/png", text),)),
    }
    with pytest.raises(FieldError):
        check_fields(made[field]())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("From", "use from"),
        ("BCC", "use bcc"),
        ("Reply-To", "use reply_to"),
        ("Content-Type", "cannot be chosen"),
        ("Received", "cannot be chosen"),
        ("Resent-Bcc", "cannot be chosen"),
        ("DKIM-Signature", "cannot be chosen"),
        ("X A", "no name of a header"),
        ("", "no name of a header"),
    ],
)
def test_headers_that_steer_or_lie_are_refused_with_what_to_use(name: str, hint: str) -> None:
    with pytest.raises(FieldError, match=hint):
        check_fields(MessageFields(SENDER, text="t", headers=((name, "x"),)))


@pytest.mark.parametrize(
    "name", ["In-Reply-To", "References", "List-Unsubscribe", "Auto-Submitted", "Importance", "X-Any"]
)
def test_headers_that_programs_rightly_set_are_taken(name: str) -> None:
    assert parse(MessageFields(SENDER, text="t", headers=((name, "<a@b>"),)))[name] == "<a@b>"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (MessageFields(SENDER, subject="x"), "text"),
        (MessageFields(SENDER, text="\0"), "text"),
        (MessageFields(SENDER, subject="x" * 2001, text="t"), "subject"),
        (MessageFields(SENDER, text="t", headers=(("X-A", " "),)), "headers.X-A"),
        (MessageFields(SENDER, attachments=(attach(b"", "../x"),)), "attachments.0.filename"),
        (MessageFields(SENDER, attachments=(attach(b"", "x", "pdf"),)), "attachments.0.content_type"),
        (MessageFields(SENDER, attachments=(attach(b"", "x", "message/rfc822"),)), "attachments.0.content_type"),
        (MessageFields(SENDER, attachments=(attach(b""),) * 101), "attachments"),
        (MessageFields(SENDER, text="t", headers=(("X-A", "v"),) * 101), "headers"),
    ],
)
def test_each_limit_names_its_field(fields: MessageFields, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        check_fields(fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("noreply@contoso.com", NamedAddress("noreply@contoso.com")),
        ("Backup <noreply@contoso.com>", NamedAddress("noreply@contoso.com", "Backup")),
        ('"Doe, J. \\"x\\"" <j@contoso.com>', NamedAddress("j@contoso.com", 'Doe, J. "x"')),
        ("Jörg <j@bücher.example>", NamedAddress("j@xn--bcher-kva.example", "Jörg")),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, wanted: NamedAddress) -> None:
    assert parse_named_address(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root",
        "a@b.example, c@d.example",
        "a@b.example\r\nBcc: x@y",
        "<a b@c>",
        "x\0@y.z",
        "a@b@c <",
        "us: a@b.c;",
    ],
)
def test_what_is_no_single_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        parse_named_address(text)
