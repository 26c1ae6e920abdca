"""Who may call: keys, scopes, places; and what everybody is answered in the same form."""

import json
from base64 import b64encode
from pathlib import Path
from typing import get_args

import httpx2
import pytest

from postroom.api.app import make_api
from postroom.api.error_codes import MEANINGS, error_codes
from postroom.api.openapi import make_document
from postroom.api.problems import STATUS_OF
from postroom.api.routes import BASE, ROUTES
from postroom.api.shapes import Scope
from postroom.store.records import SCOPES
from tests.unit.api.caller_of import MAIL, House, open_house

pytestmark = pytest.mark.anyio

PATH = "/api/v1/messages"


def basic(login: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{login}:{secret}".encode()).decode()}


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Digest x", "Basic", "pr_live_x"])
async def test_a_request_without_a_key_is_told_how_to_send_one(house: House, value: str) -> None:
    response = await house.client.get(PATH, headers={"authorization": value})
    assert (response.status_code, response.json()["code"]) == (401, "missing_api_key")
    assert response.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    "value", ["Bearer x", "Bearer pr_live_" + "a" * 32, "Basic x", "Basic " + b64encode(b"ci:x").decode()]
)
async def test_a_key_that_is_none_is_refused(house: House, value: str) -> None:
    response = await house.client.get(PATH, headers={"authorization": value})
    assert (response.status_code, response.json()["code"]) == (401, "invalid_api_key")


async def test_an_expired_key_says_so(house: House) -> None:
    key = await house.make_key(house.app, "send", expires_at_us=house.clock.now_us() + 1)
    house.clock.advance(1)
    response = await house.client.get(PATH, headers={"authorization": f"Bearer {key}"})
    assert (response.status_code, response.json()["code"]) == (401, "expired_api_key")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_route_needs_its_scope(house: House, route: object) -> None:
    assert hasattr(route, "scope")
    assert hasattr(route, "path")
    assert hasattr(route, "method")
    others = [scope for scope in SCOPES if scope != route.scope]
    key = await house.make_key(house.app, *others)
    path = BASE + route.path.replace("{", "").replace("}", "")
    response = await house.client.request(route.method, path, headers={"authorization": f"Bearer {key}"})
    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
    assert route.scope in response.json()["detail"]


async def test_an_apps_password_may_send_and_nothing_else(house: House) -> None:
    password = await house.store.apps.add_password(house.app.app_id, "test")
    assert (await house.client.post(PATH, json=MAIL, headers=basic("ci", password))).status_code == 202
    assert (await house.client.get(PATH, headers=basic("ci", password))).json()["code"] == "insufficient_scope"
    for login, secret in ((house.key, ""), ("anything", house.key)):
        assert (await house.client.get(PATH, headers=basic(login, secret))).status_code == 200


async def test_an_app_with_addresses_calls_from_there_only(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async with open_house(tmp_path, addresses=("10.2.3.0/24",)) as house:
        response = await house.client.post(PATH, json=MAIL)
        assert (response.status_code, response.json()["code"]) == (403, "ip_not_allowed")


async def test_guessing_is_stopped_for_a_while(house: House) -> None:
    codes = [(await house.client.get(PATH, headers=basic("ci", str(i)))).json()["code"] for i in range(12)]
    assert codes[0] == "invalid_api_key"
    assert codes[-1] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/v1", 404, "not_found"),
        ("DELETE", "/api/v1/messages", 405, "method_not_allowed"),
        ("PUT", "/api/v1/messages/msg_1", 405, "method_not_allowed"),
        ("POST", "/api/openapi.json", 405, "method_not_allowed"),
        ("GET", "/api/v1/messages/", 404, "not_found"),
    ],
)
async def test_what_meets_no_route_has_the_same_form(
    house: House, method: str, path: str, status: int, code: str
) -> None:
    response = await house.client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["x-request-id"].startswith("req_")
    assert "access-control-allow-origin" not in response.headers
    if status == 405:
        assert "GET" in response.headers["allow"]


async def test_what_can_be_done_at_a_path_may_be_asked(house: House) -> None:
    response = await house.client.options("/api/v1/messages/msg_1", headers={"authorization": ""})
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PATCH")
    assert "access-control-allow-methods" not in response.headers
    assert (await house.client.head(PATH)).status_code == 200


async def test_every_answer_is_signed_and_kept_by_nobody(house: House) -> None:
    for path in ("/api/docs", "/api/docs.css", "/api/openapi.json", "/api/nothing", PATH):
        response = await house.client.get(path)
        assert response.headers["x-request-id"].startswith("req_")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"


async def test_a_page_from_elsewhere_cannot_use_a_password_that_a_browser_remembers(house: House) -> None:
    headers = basic("ci", await house.store.apps.add_password(house.app.app_id, "test"))
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://relay.example", 202)):
        response = await house.client.post(PATH, json=MAIL, headers={**headers, "origin": origin})
        assert response.status_code == status
    assert len(await house.kept()) == 1


async def test_wrong_keys_lock_out_no_other_key(house: House) -> None:
    for number in range(60):
        house.room.guard.note_failure(f"10.0.0.{number}", f"pr_live_{number:04}", 0)
    for number in range(60):  # one address each, so that only the name could be locked
        transport = httpx2.ASGITransport(make_api(house.room), client=(f"10.0.1.{number}", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://relay.example") as guesser:
            answer = await guesser.get(PATH, headers={"authorization": f"Bearer pr_live_x{number}"})
            assert answer.status_code == 401
    assert (await house.client.get(PATH)).status_code == 200


async def test_a_password_from_elsewhere_is_refused_like_a_wrong_one(tmp_path: Path) -> None:
    async with open_house(tmp_path, addresses=("10.2.3.0/24",)) as house:
        password = await house.store.apps.add_password(house.app.app_id, "test")
        told = [(await house.client.post(PATH, json=MAIL, headers=basic("ci", it))).json() for it in (password, "x")]
        assert {it["code"] for it in told} == {"invalid_api_key"}
        assert told[0]["detail"] == told[1]["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("?wiat=20", "wiat"), ("?app=CI", "app"), ("?wait=1&wait=2", "wait"), ("?wait=31", "wait"), ("?wait=-1", "wait")],
)
async def test_a_parameter_that_is_none_is_refused(house: House, query: str, field: str) -> None:
    response = await house.client.post(PATH + query, json=MAIL)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    assert await house.kept() == []


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"content-type": "text/plain"}, "Content-Type"),
        ({"content-encoding": "gzip"}, "as it is"),
    ],
)
@pytest.mark.parametrize("path", [PATH, f"{PATH}/batch", f"{PATH}/actions", "/api/v1/apps"])
async def test_another_kind_of_body_is_refused(house: House, path: str, headers: dict[str, str], hint: str) -> None:
    response = await house.client.post(path, content=json.dumps(MAIL), headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert hint in response.json()["remedy"]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/batch"])
@pytest.mark.parametrize("content", [b"[" * 2_000_000, b'{"to":"\\ud800"}', b"\xff", b"", b"{" * 9])
async def test_what_is_no_json_is_refused(house: House, path: str, content: bytes) -> None:
    response = await house.client.post(path, content=content)
    assert response.status_code in (400, 422), response.text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json", "application/json"),
    ],
)
async def test_problems_come_as_the_client_prefers(house: House, accept: str, kind: str) -> None:
    response = await house.client.get("/api/nothing", headers={"accept": accept})
    assert response.headers["content-type"] == kind


async def test_what_breaks_tells_its_request_id_and_nothing_else(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(house.store.messages, "search", break_down)
    response = await house.client.get(PATH)
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert response.json()["request_id"] in response.json()["remedy"]
    assert "secret inside" not in response.text


async def test_the_document_names_every_route_and_the_page_needs_nothing_from_elsewhere(house: House) -> None:
    document = (await house.client.get("/api/openapi.json", headers={"authorization": ""})).json()
    assert document == make_document()
    assert document["openapi"] == "3.1.0"
    assert {(BASE + route.path, route.method.lower()) for route in ROUTES} == {
        (path, method) for path, methods in document["paths"].items() for method in methods
    }
    page = await house.client.get("/api/docs", headers={"authorization": ""})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    for route in ROUTES:
        assert route.summary.replace("'", "&#x27;").replace("&", "&amp;").split("&")[0] in page.text
    assert set(STATUS_OF) == set(MEANINGS)
    for it in error_codes():
        assert f'id="errors-{it.code}"' in page.text
    assert (await house.client.get("/api/docs.css")).headers["content-type"].startswith("text/css")


def test_the_document_knows_the_scopes_of_the_store() -> None:
    assert get_args(Scope) == SCOPES
    assert {route.scope for route in ROUTES} <= set(SCOPES)
