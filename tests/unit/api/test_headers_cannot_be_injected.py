"""Promise 24: no field becomes another header or another line; no path and no address is fetched."""

import json
from typing import Any

import pytest

from tests.unit.api.caller_of import MAIL, House

pytestmark = pytest.mark.anyio

PATH = "/api/v1/messages"
RAW = b"From: noreply@contoso.example\r\nTo: ops@fabrikam.example\r\n\r\nhello\r\n"
ENDS = ["\r\n", "\n", "\r", "\0", "\u2028", "\x85", "\x0b", "\x0c"]


def places(end: str) -> dict[str, dict[str, Any]]:
    """Each field of a message, with a line end and a header behind it."""
    evil = f"x{end}Bcc: eve@evil.example"
    address = f"ops@fabrikam.example{end}Bcc: eve@evil.example"
    return {
        "from": {"from": f"noreply@contoso.example{end}Bcc: eve@evil.example"},
        "from.name": {"from": {"email": "noreply@contoso.example", "name": evil}},
        "to": {"to": address},
        "to.name": {"to": {"email": "ops@fabrikam.example", "name": evil}},
        "to.named": {"to": f'"{evil}" <ops@fabrikam.example>'},
        "cc": {"cc": [address]},
        "bcc": {"bcc": [address]},
        "reply_to": {"reply_to": address},
        "reply_to.name": {"reply_to": {"email": "ops@fabrikam.example", "name": evil}},
        "subject": {"subject": evil},
        "headers.value": {"headers": {"X-Job": evil}},
        "headers.name": {"headers": {f"X-Job{end}Bcc": "eve@evil.example"}},
        "envelope.sender": {"envelope": {"sender": f"noreply@contoso.example{end}DATA"}},
        "attachments.filename": {"attachments": [{"filename": evil, "content": "YQ=="}]},
        "attachments.content_type": {
            "attachments": [
                {"filename": "a", "content": "YQ==", "content_type": f"text/plain{end}Bcc: eve@evil.example"}
            ]
        },
        "attachments.content_id": {"attachments": [{"filename": "a", "content": "YQ==", "content_id": evil}]},
        "attachments.content": {"attachments": [{"filename": "a", "content": f"YQ=={end}Bcc: x"}]},
    }


@pytest.mark.parametrize("place", sorted(places("")))
async def test_a_line_end_in_a_field_is_refused(house: House, place: str) -> None:
    for end in ENDS:
        response = await house.client.post(PATH, json={**MAIL, **places(end)[place]})
        assert response.status_code == 422, (end, response.text)
        assert response.json()["errors"][0]["field"].startswith(place.partition(".")[0])
    assert await house.kept() == []


@pytest.mark.parametrize("field", ["text", "html"])
async def test_a_text_keeps_its_lines_inside_the_message(house: House, field: str) -> None:
    evil = "a\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n.\rb\nBcc: eve@evil.example\r\n"
    response = await house.client.post(PATH, json={**MAIL, field: evil})
    assert response.status_code == 202
    [detail] = await house.kept()
    content = await house.content(detail)
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")
    assert b"Bcc" not in content.partition(b"\r\n\r\n")[0]
    assert [it.address for it in detail.recipients] == ["ops@fabrikam.example"]


@pytest.mark.parametrize("name", ["Bcc", "To", "From", "Received", "DKIM-Signature", "Content-Type", "Return-Path"])
async def test_a_header_that_is_not_the_callers_to_write_is_refused(house: House, name: str) -> None:
    response = await house.client.post(PATH, json={**MAIL, "headers": {name: "eve@evil.example"}})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, f"headers.{name}")


@pytest.mark.parametrize("end", ["%0D%0A", "%0A", "%0D", "%00"])
@pytest.mark.parametrize("parameter", ["to", "sender"])
async def test_a_line_end_in_the_address_of_a_raw_message_is_refused(house: House, parameter: str, end: str) -> None:
    query = f"?{parameter}=noreply@contoso.example{end}RCPT%20TO:eve@evil.example"
    response = await house.client.post(PATH + query, content=RAW, headers={"content-type": "message/rfc822"})
    assert response.status_code == 422
    assert await house.kept() == []


@pytest.mark.parametrize("filename", ["a%0D%0ABcc: eve", "a\\r\\nBcc"])
async def test_a_files_name_stays_one_line(house: House, filename: str) -> None:
    content = (
        f'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\n{json.dumps(MAIL)}\r\n'
        f'--b\r\nContent-Disposition: form-data; name="f"; filename="{filename}"\r\n\r\nx\r\n--b--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = await house.client.post(PATH, content=content.encode(), headers=headers)
    for detail in await house.kept():
        assert b"\r\nBcc" not in await house.content(detail)
    assert response.status_code in (202, 422)


@pytest.mark.parametrize(
    "where",
    [
        {"path": "/etc/passwd"},
        {"path": "https://evil.example/x"},
        {"url": "http://169.254.169.254/latest/meta-data"},
        {"content": "file:///etc/passwd"},
        {"content": "https://evil.example/x"},
        {"attachment_id": "../../../etc/passwd"},
        {"attachment_id": "att_../postroom.sqlite"},
        {"filename": "../../etc/passwd", "content": "YQ=="},
        {"filename": "..", "content": "YQ=="},
        {"filename": "C:\\autoexec.bat", "content": "YQ=="},
    ],
)
async def test_no_path_and_no_address_is_fetched(house: House, where: dict[str, str]) -> None:
    response = await house.client.post(PATH, json={**MAIL, "attachments": [{"filename": "x", **where}]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].startswith("attachments.0")
    assert await house.kept() == []
