"""Messages that come as a form with files: read to their end, or not at all."""

import errno
import itertools
import json
import random
from collections.abc import AsyncIterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import httpx2
import pytest

from postroom.api.form import FormReader
from postroom.api.problems import ApiError
from tests.unit.api.caller_of import MAIL, House

pytestmark = pytest.mark.anyio

PATH = "/api/v1/messages"
MESSAGE = json.dumps(MAIL).encode()


def part(disposition: str, content: bytes, *more: str) -> bytes:
    lines = "\r\n".join((f"Content-Disposition: form-data; {disposition}", *more))
    return b"--b\r\n" + lines.encode() + b"\r\n\r\n" + content + b"\r\n"


TOLD = part('name="message"', MESSAGE)
END = b"--b--\r\n"


async def send(house: House, content: bytes, boundary: str = "; boundary=b") -> httpx2.Response:
    headers = {"content-type": f"multipart/form-data{boundary}"}
    return await house.client.post(PATH, content=content, headers=headers)


async def attachments(house: House) -> list[tuple[str | None, str, bytes]]:
    [detail] = await house.kept()
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(await house.content(detail))
    return [
        (it.get_filename(), it.get_content_type(), it.get_payload(decode=True))  # type: ignore[misc]
        for it in message.walk()
        if it.get_filename()
    ]


async def test_the_message_may_come_after_its_files_and_as_a_file(house: House) -> None:
    content = part('name="f"; filename="Prüfbericht.pdf"', b"a\r\n--bb", "Content-Type: application/pdf")
    content += part('name="message"; filename="m.json"', MESSAGE, "Content-Type: application/json") + END
    response = await send(house, content)
    assert response.status_code == 202, response.text
    assert await attachments(house) == [("Prüfbericht.pdf", "application/pdf", b"a\r\n--bb")]


async def test_a_content_id_makes_a_file_a_picture_of_the_page(house: House) -> None:
    told = part('name="message"', json.dumps({**MAIL, "html": '<img src="cid:logo">'}).encode())
    picture = part('name="f"; filename="l.png"', b"png", "Content-Type: image/png", "Content-ID: <logo>")
    assert (await send(house, told + picture + END)).status_code == 202
    [detail] = await house.kept()
    content = await house.content(detail)
    assert b"multipart/related" in content
    assert b"Content-ID: <logo>" in content


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (TOLD, ""),  # cut off between two parts
        (TOLD + part('name="f"; filename="x"', b"half")[:-2], ""),
        (TOLD[:-4], ""),
        (b"", ""),
        (b"nonsense", ""),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", ""),
        (TOLD + TOLD + END, "message"),
        (TOLD + part('name="text"', b"a typo must not lose it") + END, "text"),
        (TOLD + part('name="f"; filename="x"', b"eA==", "Content-Transfer-Encoding: base64") + END, "f"),
        (TOLD + part('name="f"; filename="../x"', b"x") + END, "attachments.0.filename"),
        (TOLD + part('name="f"; filename=""', b"x") + END, "attachments.0.filename"),
        (TOLD + part('name="f"; filename="x"', b"x", "Content-Type: nonsense") + END, "attachments.0.content_type"),
        (TOLD + part('name="f"; filename="x"', b"") * 101 + END, "attachments"),
        (part('name="message"', b"x" * 10_485_761) + END, "message"),
    ],
)
async def test_a_form_that_cannot_be_used_is_refused(house: House, content: bytes, field: str) -> None:
    response = await send(house, content)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field), response.text
    assert await house.kept() == []
    assert list(house.room.uploads.folder().iterdir()) == [], "files of a request end with it"


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "x" * 300])
async def test_a_form_needs_its_boundary(house: House, boundary: str) -> None:
    assert (await send(house, TOLD + END, boundary)).status_code == 422


async def test_parts_are_read_alike_however_they_are_cut(tmp_path: Path) -> None:
    chance = random.Random(7)
    file = b"\r\n--b\r-\n--" * 10_000
    whole = TOLD + part('name="f"; filename="x"', file) + END

    async def chunks(cuts: list[int]) -> AsyncIterator[bytes]:
        for start, end in itertools.pairwise([0, *cuts, len(whole)]):
            yield whole[start:end]

    for _ in range(50):
        cuts = sorted(chance.choices(range(len(whole)), k=chance.randint(0, 40)))
        reader = FormReader("multipart/form-data; boundary=b", tmp_path, size_limit_bytes=10**9, text_limit_bytes=10**6)
        with reader as form:
            await form.read(chunks(cuts))
            assert [(it.name, b"".join(it.read())) for it in form.parts] == [("message", MESSAGE), ("f", file)]


async def test_a_disk_that_is_full_is_a_temporary_matter(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", fill)
    response = await send(house, TOLD + part('name="f"; filename="x"', b"x" * 100_000) + END)
    assert (response.status_code, response.json()["code"]) == (507, "storage_full")


async def test_a_request_larger_than_any_message_is_refused_before_it_comes(house: House) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": "999999999"}
    response = await house.client.post(PATH, content=b"", headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "message_too_large")


async def test_a_reader_without_a_boundary_is_an_error_of_the_caller(house: House) -> None:
    with pytest.raises(ApiError, match="boundary"):
        FormReader("multipart/form-data", house.room.uploads.folder(), size_limit_bytes=1, text_limit_bytes=1)
