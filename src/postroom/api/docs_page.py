"""The page that documents the API, made from the same table: no script, nothing from elsewhere."""

import re
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as WebRoute

from postroom.api.error_codes import error_codes
from postroom.api.openapi import make_document

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def docs_routes() -> list[WebRoute]:
    return [WebRoute("/api/docs", _show_page), WebRoute("/api/docs.css", _show_style)]


async def _show_page(_request: Request) -> Response:
    return Response(_page(), 200, _HEADERS, "text/html")


async def _show_style(_request: Request) -> Response:
    return Response((files("postroom.api") / "docs.css").read_bytes(), 200, _HEADERS, "text/css")


@cache
def _page() -> str:
    document = make_document()
    schemas = document["components"]["schemas"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    groups = [tag["name"] for tag in document["tags"]]
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><title>Postroom API</title>',
        '<link rel="stylesheet" href="/api/docs.css"></head><body>',
        '<a class="skip" href="#main">To the content</a><nav aria-label="Contents"><h1>Postroom API</h1><ul>',
    ]
    for group in groups:
        parts.append(f"<li>{escape(group)}<ul>")
        parts += [
            f'<li><a href="#{operation["operationId"]}">{escape(operation["summary"])}</a></li>'
            for _, _, operation in operations
            if group in operation["tags"]
        ]
        parts.append("</ul></li>")
    parts.append('<li><a href="#errors">Errors</a></li><li><a href="#structures">Structures</a></li></ul></nav>')
    parts.append(f'<main id="main">{_introduction()}')
    parts += [_operation(method, path, operation) for method, path, operation in operations]
    parts.append(_errors())
    parts.append('<section id="structures"><h2>Structures</h2>')
    parts += [_structure(name, schema) for name, schema in sorted(schemas.items())]
    parts.append("</section></main></body></html>\n")
    return "".join(parts)


def _introduction() -> str:
    example = (
        "curl https://mail.example.lan/api/v1/messages \\\n"
        '  -H "Authorization: Bearer pr_live_..." \\\n'
        '  -H "Idempotency-Key: backup-2026-11-26" \\\n'
        '  --json \'{"to": "ops@contoso.com", "subject": "Backup done", "text": "All 42 machines."}\''
    )
    return (
        "<p>Hand in mail over HTTP, and see what became of it. Keys are made in the console under "
        "<em>Apps &amp; devices</em>; each belongs to an app and has that app's senders and limits. "
        "<strong>202 means: stored on the disk.</strong> Trouble at Microsoft is never an error of a request: "
        "it shows in the message's status.</p>"
        f"<pre tabindex=0><code>{escape(example)}</code></pre>"
        '<p>The same as data: <a href="/api/openapi.json">openapi.json</a>.</p>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope=row><code>{escape(it['name'])}</code></th><td>{escape(it['in'])}</td>"
        f"<td>{escape(it.get('description', ''))}</td></tr>"
        for it in operation["parameters"]
    )
    table = (
        f"<table><thead><tr><th>Name</th><th>In</th><th>Meaning</th></tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else ""
    )
    body = operation.get("requestBody", {}).get("content", {})
    takes = "".join(f"<li><code>{escape(kind)}</code> {_shape(it['schema'])}</li>" for kind, it in body.items())
    shown = "".join(
        f"<figure><figcaption>{escape(it.get('summary', 'Example'))}</figcaption>"
        f"<pre tabindex=0><code>{escape(_formatted(it['value']))}</code></pre></figure>"
        for kind in body.values()
        for it in kind.get("examples", {}).values()
    )
    gives = "".join(
        f"<li><code>{status}</code> {_shape(next(iter(it['content'].values()))['schema'])}</li>"
        for status, it in operation["responses"].items()
        if status.startswith("2")
    )
    return (
        f'<section id="{operation["operationId"]}"><h2>{escape(operation["summary"])}</h2>'
        f'<p class="route"><code><b>{method}</b> {escape(path)}</code></p>'
        f"{_paragraphs(operation['description'])}{table}"
        + (f"<h3>Takes</h3><ul>{takes}</ul>{shown}" if takes else "")
        + f"<h3>Answers</h3><ul>{gives}</ul></section>"
    )


def _paragraphs(text: str) -> str:
    """Blank lines and `code` of Markdown, which is all that the descriptions have."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return "".join(f"<p>{part}</p>" for part in marked.split("\n\n"))


def _formatted(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _errors() -> str:
    rows = "".join(
        f'<tr id="errors-{it.code}"><th scope=row><code>{it.code}</code></th><td>{it.status}</td>'
        f"<td>{escape(it.meaning)}</td></tr>"
        for it in error_codes()
    )
    return (
        '<section id="errors"><h2>Errors</h2><p>Every error has the same body: see '
        '<a href="#structure-Problem">Problem</a>. What is <code>retryable</code> is sent again later, unchanged.</p>'
        "<table><thead><tr><th>Code</th><th>Status</th><th>Meaning</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


def _structure(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><th scope=row><code>{escape(field)}</code>{' *' if field in required else ''}</th>"
        f"<td>{_shape(it)}</td><td>{escape(it.get('description', ''))}</td></tr>"
        for field, it in schema.get("properties", {}).items()
    )
    values = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", ()))
    table = (
        "<table><thead><tr><th>Field</th><th>Kind</th><th>Meaning</th></tr></thead>" + f"<tbody>{rows}</tbody></table>"
        if rows
        else f"<p>One of {values}.</p>"
        if values
        else ""
    )
    told = escape(schema.get("description", "").strip())
    return f'<section id="structure-{name}"><h3>{escape(name)}</h3><p>{told}</p>{table}</section>'


def _shape(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#structure-{name}">{escape(name)}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(map(_shape, schema[key])))
    if schema.get("type") == "array":
        items = schema.get("items")
        return f"list of {_shape(items)}" if isinstance(items, dict) and items else "list"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    kind = schema.get("format") or schema.get("type") or "anything"
    limit = schema.get("maxLength") or schema.get("maximum")
    return escape(str(kind)) + (f" (at most {limit})" if limit else "")
