"""The OpenAPI 3.1 document, made from the table of routes and from the structures that validate."""

import re
from typing import Any, NamedTuple

import msgspec

from postroom import __version__
from postroom.api import app_shapes, examples, shapes
from postroom.api.problems import Problem
from postroom.api.room import BODY_LIMIT_BYTES
from postroom.api.routes import BASE, ROUTES, Parameter, Route

JsonObject = dict[str, Any]

_DESCRIPTION = """\
Hand in mail, and see what became of it. `202` means: stored on the disk.

A key belongs to an app and has that app's senders, recipient domains and limits; it sees its app's messages only.
Trouble at Microsoft is never an error of a request: it shows in the message's status.
"""
_ERRORS = {
    400: "The request cannot be read.",
    401: "The key is missing, unknown or expired.",
    403: "The key or its app does not allow this.",
    404: "There is no such thing, or it is another app's.",
    409: "It cannot be done in this state, or the same request is being answered.",
    410: "The content was removed by the retention rule.",
    413: "Too large.",
    415: "This kind of body is not taken.",
    422: "A field or parameter cannot be used.",
    429: "A limit is reached; Retry-After says when to come again.",
    500: "Something went wrong here.",
    503: "Not now; Retry-After says when to come again.",
    507: "The store of waiting mail is full; send again later.",
}
_HEADERS: JsonObject = {
    "X-Request-Id": ("Names the request in Postroom's log.", "string"),
    "Retry-After": ("Seconds until it makes sense to come again.", "integer"),
    "RateLimit": ("What is left of the app's limits (draft-ietf-httpapi-ratelimit-headers).", "string"),
    "RateLimit-Policy": ("The app's limits.", "string"),
    "X-RateLimit-Limit": ("The nearest limit, for older programs.", "integer"),
    "X-RateLimit-Remaining": ("Messages left of it.", "integer"),
    "X-RateLimit-Reset": ("Seconds until it is whole again.", "integer"),
    "Idempotency-Replayed": ("`true`: the request came before, and this is its answer.", "string"),
    "WWW-Authenticate": ("How a key is sent.", "string"),
}


class _Made(NamedTuple):
    """Where an answer has the id of what was made, and which parameter takes it."""

    name: str
    place: str


_MADE = {
    shapes.AcceptedMessage: _Made("message_id", "$response.body#/id"),
    app_shapes.CreatedApp: _Made("app_id", "$response.body#/app/id"),
    app_shapes.CreatedKey: _Made("key_id", "$response.body#/key/id"),
}
_KEY: JsonObject = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is repeated with the same key within a day is answered as the first time.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[ -~]+$"},
    "example": "backup-2026-11-26",
}


def make_document(server_url: str = "") -> JsonObject:
    """The document as it is served."""
    shapes = [shape for route in ROUTES for shape in (route.takes, route.gives) if shape is not None]
    _, schemas = msgspec.json.schema_components([*dict.fromkeys(shapes), Problem], ref_template=_reference("{name}"))
    paths: dict[str, JsonObject] = {}
    for route in ROUTES:
        paths.setdefault(BASE + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postroom",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url or "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in dict.fromkeys(route.group for route in ROUTES)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": {
                name: {"description": text, "schema": {"type": kind}} for name, (text, kind) in _HEADERS.items()
            },
            "responses": {str(status): _problem(status) for status in _ERRORS},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of an app: pr_live_..."},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "An app's user name and password, for the scope `send`; or anything and a key.",
                },
            },
        },
    }


def _operation(route: Route) -> JsonObject:
    told = (route.answer.__doc__ or route.summary).strip()
    operation: JsonObject = {
        "summary": route.summary,
        "operationId": _operation_id(route.method, route.path),
        "tags": [route.group],
        "description": f"{told}\n\nScope: `{route.scope}`.",
        "security": [{"key": [route.scope]}, *([{"basic": []}] if route.scope == "send" else [])],
        "parameters": [
            *map(_path_parameter, _names_in(route.path)),
            *map(_query_parameter, route.parameters),
            *([_KEY] if route.is_idempotent else []),
        ],
        "responses": _responses(route),
    }
    if route.has_body:
        operation["requestBody"] = {
            "required": True,
            "description": f"JSON has at most {BODY_LIMIT_BYTES // 1_048_576} MB; what is larger streams.",
            "content": {media_type: _body(route, media_type) for media_type in route.media_types},
        }
    return operation


def _responses(route: Route) -> JsonObject:
    responses = {str(route.status): _success(route)}
    if any(parameter.name == "wait" for parameter in route.parameters):
        responses["200"] = {
            "description": "How far it came within ?wait=.",
            "headers": _header_references(*_always(route), "Idempotency-Replayed"),
            "content": {"application/json": {"schema": {"$ref": _reference("FullMessage")}}},
        }
    for status in sorted(_error_statuses(route)):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    if route.path.endswith("/batch"):
        # Nothing of it was taken: the status is that of the first message, and each has its own error all the same.
        for status in (403, 413, 422, 429, 503, 507):
            responses[str(status)] = _problem(status, {"$ref": _reference("BatchAnswer")})
    return responses


def _error_statuses(route: Route) -> set[int]:
    statuses = {401, 403, 422, 429, 500, 503} | set(route.errors)
    if "{" in route.path:
        statuses.add(404)
    if route.has_body:
        statuses |= {400, 413, 415}
    if route.scope == "send":
        statuses.add(507)
    if route.is_idempotent:
        statuses |= {400, 409}
    return statuses


def _operation_id(method: str, path: str) -> str:
    words = re.sub(r"[{}]", "", path).replace("/", "_").replace("-", "_")
    return f"{method.lower()}{words}"


def _path_parameter(name: str) -> JsonObject:
    told: JsonObject = {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {**told, "description": examples.PATH_PARAMETERS[name]}


def _query_parameter(parameter: Parameter) -> JsonObject:
    schema = {"type": "array", "items": parameter.schema} if parameter.is_repeatable else parameter.schema
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": schema,
    }


def _body(route: Route, media_type: str) -> JsonObject:
    match media_type:
        case "application/json":
            shown = examples.BODIES.get((route.method, route.path))
            return {"schema": _schema(route.takes), **({"examples": shown} if shown else {})}
        case "multipart/form-data":
            return {
                "schema": {
                    "type": "object",
                    "properties": {
                        "message": {"type": "string", "description": "The JSON of a NewMessage, at most 10 MB."},
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Files, each a part with a file name; the parts' own names mean nothing. "
                            "A Content-ID makes a part a picture of the page.",
                        },
                    },
                    "required": ["message"],
                },
            }
        case "message/rfc822":
            text = "A whole message (RFC 5322). Lines end with CR LF, or all of them with LF."
            return {"schema": {"type": "string", "format": "binary", "description": text}}
        case _:
            return {"schema": {"type": "string", "format": "binary", "description": "The file's bytes."}}


def _success(route: Route) -> JsonObject:
    schema = _schema(route.gives) if route.gives is not None else {"type": "string", "format": "binary"}
    headers = _always(route) + (["Idempotency-Replayed"] if route.is_idempotent else [])
    response = {
        "description": "Done." if route.status != 202 else "Stored on the disk.",
        "headers": _header_references(*headers),
        "content": {route.gives_media_type: {"schema": schema}},
    }
    links = _links(route)
    return {**response, "links": links} if links else response


def _links(route: Route) -> JsonObject:
    """What can be done with the thing that was made, whose id the answer has."""
    made = _MADE.get(route.gives) if route.status in (201, 202) else None
    if made is None:
        return {}
    places = {made.name: made.place, **{name: f"$request.path.{name}" for name in _names_in(route.path)}}
    return {
        _operation_id(other.method, other.path): {
            "operationId": _operation_id(other.method, other.path),
            "parameters": {name: places[name] for name in _names_in(other.path)},
            "description": f"{other.summary}.",
        }
        for other in ROUTES
        if made.name in _names_in(other.path) and set(_names_in(other.path)) <= set(places)
    }


def _names_in(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)


def _problem(status: int, *others: JsonObject) -> JsonObject:
    problem: JsonObject = {"$ref": _reference("Problem")}
    schema = {"anyOf": [problem, *others]} if others else problem
    content: JsonObject = {"schema": schema}
    if status in examples.PROBLEMS:
        content["example"] = examples.PROBLEMS[status]
    headers = ["X-Request-Id"] + (["Retry-After"] if status in (409, 429, 503, 507) else [])
    return {
        "description": _ERRORS[status],
        "headers": _header_references(*headers, *(["WWW-Authenticate"] if status == 401 else [])),
        "content": {"application/json": content, "application/problem+json": content},
    }


def _always(route: Route) -> list[str]:
    limits = [name for name in _HEADERS if "RateLimit" in name] if route.scope == "send" else []
    return ["X-Request-Id", *limits]


def _header_references(*names: str) -> JsonObject:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _schema(shape: Any) -> JsonObject:
    [schema], _ = msgspec.json.schema_components([shape], ref_template=_reference("{name}"))
    return schema


def _reference(name: str) -> str:
    return f"#/components/schemas/{name}"
