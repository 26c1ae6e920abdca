"""A message taken apart for a reader: a stranger wrote it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.api.content import take_apart

MESSAGE = (
    b'From: "A" <a@b.example>, x:;\r\nTo: =?utf-8?q?J=C3=BCrgen?= <j@b.example>\r\nMIME-Version: 1.0\r\n'
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
    b"--c\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=FC=DFe\r\n--c\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>x</p>\r\n--c--\r\n"
    b'--b\r\nContent-Type: application/pdf; name="y"\r\nContent-Disposition: attachment; filename="f.pdf"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nhi\r\n--b--\r\n"
)


def test_texts_files_and_headers_are_found() -> None:
    told = take_apart(MESSAGE)
    assert told.headers[1] == ("To", "Jürgen <j@b.example>")
    assert told.text == "Grüße"
    assert told.html == "<p>x</p>"
    assert [(it.filename, it.content_type, it.size_bytes) for it in told.attachments] == [
        ("f.pdf", "application/pdf", 3),
        ("", "message/rfc822", 18),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"From: =?utf-8?q?=ff?= <a@b>\r\nTo: \xff <\r\nSubject: =?bogus?b?!?=\r\n\r\nhi\xff\r\n",
        b"From: \r\nTo: ,,;:\r\nMessage-ID: <\r\nContent-Type: ;;\r\nContent-Disposition: x; filename*=x'y'z%z\r\n\r\n",
        b"From: a@[\r\nTo: (((\r\n\r\nx",
        b"To: " + b"(" * 5_000 + b"\r\n\r\n",
        b"Content-Type: text/plain; charset=idna\r\n\r\n" + b"a" * 100_000,
        b"Content-Type: text/plain; charset=undefined\r\n\r\nx",
        b"Content-Type: text/plain; charset=iso-8859-99\r\n\r\nx",
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!",
        b"Content-Type: text/plain; x*0=1; x*=2; x*1*=3\r\n\r\n\xff",
        b"Content-Type: message/rfc822\r\n\r\n" * 2_000,
        b"".join(b"Content-Type: multipart/mixed; boundary=a%d\r\n\r\n--a%d\r\n" % (i, i) for i in range(2_000)),
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 10_000,
    ],
    ids=range(13),
)
def test_no_message_makes_it_fail(content: bytes) -> None:
    assert msgspec.json.encode(take_apart(content))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_nor_does_a_message_that_was_damaged(data: st.DataObject) -> None:
    content = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 4))] = bytes(
            data.draw(st.lists(st.sampled_from(b'()<>@,;:\\"=?*%\xff\0[]\r\n'), max_size=4))
        )
    assert msgspec.json.encode(take_apart(bytes(content)))
