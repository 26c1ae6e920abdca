"""Who may call: keys, scopes, places; and what everybody is answered in the same form."""

from base64 import b64encode

import pytest

from postroom.api.openapi import make_document
from postroom.api.problems import STATUS_OF
from postroom.api.routes import BASE, ROUTES
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
        ("OPTIONS", "/api/v1/messages", 405, "method_not_allowed"),
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
        assert "POST" in response.headers["allow"]


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
    for code in STATUS_OF:
        assert f'id="errors-{code}"' in page.text
    assert (await house.client.get("/api/docs.css")).headers["content-type"].startswith("text/css")
