"""Parts are found wherever the chunks end, decoded sizes are exact, and nothing that is unclear is taken for clear."""

import base64
import contextlib
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.deliver.mime_parts import MessageParts, PartFinder, PartsError
from postroom.deliver.part_decoding import DecodingError, make_decoder

CONTENT = bytes(range(256)) * 5
MESSAGE = (
    b'Subject: x\r\nContent-Type: multipart/mixed; boundary="a"\r\n\r\npreamble\r\n'
    b'--a\r\nContent-Type: multipart/related; boundary="a b"\r\n\r\n'
    b"--a b\r\nContent-Type: text/html\r\n\r\n<p>--a</p>\r\n--a bc\r\n"
    b"--a b  \r\nContent-Type: image/png\r\nContent-ID: <i@x>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(CONTENT).replace(b"\n", b"\r\n")
    + b"\r\n--a b--\r\nepilogue\r\n"
    b"--a\r\n\r\nno head\r\n"
    b"--a\r\nContent-Disposition: attachment; filename*=utf-8''B%C3%BCro.csv\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    + quopri.encodestring(CONTENT.replace(b"\r", b"").replace(b"\n", b"")).replace(b"\n", b"\r\n")
    + b"\r\n--a--\r\n--a\r\nafter the end\r\n"
)


def find(content: bytes, *sizes: int) -> MessageParts:
    finder, start = PartFinder(), 0
    for size in (*sizes, len(content)):
        finder.feed(content[start : start + size])
        start += size
    return finder.end()


@given(st.lists(st.integers(0, 400)))
def test_the_parts_are_the_same_wherever_the_chunks_end(sizes: list[int]) -> None:
    found = find(MESSAGE, *sizes)
    assert [(each.content_type, each.children) for each in found.multiparts] == [
        ("multipart/mixed", 3),
        ("multipart/related", 2),
    ]
    html, image, plain, table = found.parts
    assert MESSAGE[html.body_start : html.body_end] == b"<p>--a</p>\r\n--a bc"
    assert (image.content_bytes, image.fields.content_id, image.parent) == (len(CONTENT), "i@x", 1)
    assert MESSAGE[plain.body_start : plain.body_end] == b"no head"
    assert (table.fields.file_name, table.content_bytes) == ("Büro.csv", len(CONTENT) - 10)
    assert MESSAGE[table.start :].startswith(b"\r\n--a\r\nContent-Disposition")
    assert found.size_bytes == len(MESSAGE)


@given(st.binary(max_size=300), st.lists(st.integers(1, 50)), st.sampled_from(["base64", "quoted-printable", "8bit"]))
def test_decoding_gives_the_content(content: bytes, sizes: list[int], encoding: str) -> None:
    encoded = {
        "base64": base64.encodebytes(content),
        "quoted-printable": quopri.encodestring(content),
        "8bit": content,
    }[encoding]
    decoder, start, found = make_decoder(encoding), 0, b""
    for size in (*sizes, len(encoded)):
        found += decoder.feed(encoded[start : start + size])
        start += size
    wanted = quopri.decodestring(encoded) if encoding == "quoted-printable" else content
    assert found + decoder.end() == wanted


@pytest.mark.parametrize("encoded", [b"AAAA=BBB", b"AAA=", b"AA==AAAA", b"A"])
def test_base64_that_is_none_is_not_guessed(encoded: bytes) -> None:
    decoder = make_decoder("base64")
    if encoded == b"AAA=":
        assert decoder.feed(encoded) + decoder.end() == b"\0\0"
        return
    with pytest.raises(DecodingError):
        _ = decoder.feed(encoded) + decoder.end()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"Subject: x\r\n", "within a head"),
        (b"Content-Type: multipart/mixed\r\n\r\n--a\r\n", "no boundary"),
        (b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n--a\r\nX: y\r\n--a\r\n\r\nz', "no empty line"),
        (b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n' + b"--a\r\n\r\nx\r\n" * 301, "more than 300 parts"),
        (b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n--a\r\nX: ' + b"y" * 20_000, "too long"),
    ],
)
def test_what_is_unclear_is_not_taken_apart(content: bytes, why: str) -> None:
    with pytest.raises(PartsError, match=why):
        find(content)


PIECES = (
    b"\r\n",
    b"--",
    b"a",
    b"--a",
    b"--a--",
    b"\r\n\r\n",
    b"Content-Type: ",
    b"multipart/mixed; boundary=a",
    b"\xff",
)


@given(st.lists(st.sampled_from(PIECES)))
def test_no_message_makes_us_fall(pieces: list[bytes]) -> None:
    with contextlib.suppress(PartsError):
        find(b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n' + b"".join(pieces), 7, 1, 2)
