"""The OpenAPI 3.1 document, made from the table of routes and from the structures that validate."""

import re
from typing import Any

import msgspec

from postroom import __version__
from postroom.api.problems import Problem
from postroom.api.routes import BASE, ROUTES, Parameter, Route

_REFERENCE = "#/components/schemas/{name}"
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is repeated with the same key within a day is answered as the first time.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[ -~]+$"},
}
_ERRORS = {
    "400": "The request cannot be read.",
    "401": "The key is missing, unknown or expired.",
    "403": "The key does not allow this.",
    "404": "There is no such thing.",
    "405": "The address does not take this method.",
    "409": "It cannot be done in this state, or the same request is being answered.",
    "410": "The content was removed.",
    "413": "Too large.",
    "415": "This kind of body is not taken.",
    "422": "A field cannot be used.",
    "429": "A limit is reached; Retry-After says when to come again.",
    "451": "A temporary refusal.",
    "500": "Something went wrong here.",
    "503": "Not now; Retry-After says when to come again.",
    "507": "The store of waiting mail is full; send again later.",
}


def make_document(server_url: str = "") -> dict[str, Any]:
    """The document as it is served."""
    shapes = [shape for route in ROUTES for shape in (route.takes, route.gives) if shape is not None]
    _, components = msgspec.json.schema_components([*dict.fromkeys(shapes), Problem], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(BASE + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postroom",
            "version": __version__,
            "description": "Hand in mail, and see what became of it. 202 means: stored on the disk.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url or "/"}],
        "security": [{"key": []}, {"basic": []}],
        "tags": [{"name": name} for name in dict.fromkeys(route.group for route in ROUTES)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of an app: pr_live_..."},
                "basic": {"type": "http", "scheme": "basic", "description": "An app's user name and password."},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "tags": [route.group],
        "description": f"{(route.answer.__doc__ or route.summary).strip()} Scope: `{route.scope}`.",
        "parameters": [
            *(_path_parameter(name) for name in re.findall(r"{(\w+)}", route.path)),
            *map(_query_parameter, route.parameters),
            *([_IDEMPOTENCY] if route.is_idempotent else []),
        ],
        "responses": {
            str(route.status): _success(route),
            **{status: _problem(text) for status, text in _ERRORS.items()},
        },
    }
    if route.parameters and any(parameter.name == "wait" for parameter in route.parameters):
        operation["responses"]["200"] = {
            "description": "How far it came within ?wait=.",
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(name="FullMessage")}}},
        }
    if route.takes is not None or route.reads_body:
        operation["requestBody"] = {
            "required": True,
            "content": {media_type: _body(route, media_type) for media_type in route.media_types},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = re.sub(r"[{}]", "", route.path).replace("/", "_").replace("-", "_")
    return f"{route.method.lower()}{words}"


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    schema = {"type": "array", "items": parameter.schema} if parameter.is_repeatable else parameter.schema
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.description,
        "schema": schema,
    }


def _body(route: Route, media_type: str) -> dict[str, Any]:
    match media_type:
        case "application/json":
            return {"schema": _schema(route.takes)}
        case "multipart/form-data":
            part = {"type": "string", "description": "The JSON of the message."}
            return {"schema": {"type": "object", "properties": {"message": part}, "required": ["message"]}}
        case _:
            return {"schema": {"type": "string", "format": "binary"}}


def _schema(shape: Any) -> dict[str, Any]:
    [schema], _ = msgspec.json.schema_components([shape], ref_template=_REFERENCE)
    return schema


def _success(route: Route) -> dict[str, Any]:
    schema = _schema(route.gives) if route.gives is not None else {"type": "string", "format": "binary"}
    return {"description": "Done.", "content": {route.gives_media_type: {"schema": schema}}}


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name="Problem")}
    return {
        "description": text,
        "content": {"application/json": {"schema": schema}, "application/problem+json": {"schema": schema}},
    }
