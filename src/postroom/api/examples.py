"""What the documentation shows: requests that work once their addresses are real, and what errors look like."""

from typing import Any

PATH_PARAMETERS = {
    "message_id": "Such as msg_0A03ZKR000001: the id that was answered.",
    "app_id": "The app's id, its user name or its name.",
    "credential_id": "Such as cred_0A03ZKR000001.",
    "key_id": "Such as key_0A03ZKR000001.",
    "address": "The client's address, as it is listed.",
    "choice_id": "Such as ch_0A03ZKR000001, as it is listed.",
    "mail_server_id": "Such as ms_0A03ZKR000001, or `default`.",
}

_SHORT = {"to": "ops@contoso.com", "subject": "Nightly backup OK", "text": "All 42 machines."}
_LONG: dict[str, Any] = {
    "from": "Backup <noreply@contoso.com>",
    "to": ["ops@contoso.com", {"email": "x@example.org", "name": "X"}],
    "reply_to": "it@contoso.com",
    "subject": "Nightly backup OK",
    "text": "All 42 machines.",
    "html": "<p>All <b>42</b> machines.</p>",
    "attachments": [{"filename": "r.txt", "content": "T0sK", "content_type": "text/plain"}],
    "headers": {"X-Job": "42"},
    "tags": ["backup"],
    "metadata": {"job": "42"},
    "lane": "normal",
    "envelope": {"notify": ["failure", "delay"]},
}

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/messages"): {
        "short": {"summary": "What most programs need", "value": _SHORT},
        "long": {"summary": "Names, a page, a file, tags", "value": _LONG},
    },
    ("POST", "/messages/batch"): {"two": {"value": [_SHORT, {**_SHORT, "to": "it@contoso.com"}]}},
    ("POST", "/messages/actions"): {
        "try": {
            "summary": "First see how many it would be",
            "value": {"action": "retry", "filter": "status:failed", "dry_run": True},
        }
    },
    ("PATCH", "/messages/{message_id}"): {"sooner": {"value": {"lane": "high", "send_at": None}}},
    ("POST", "/apps"): {
        "program": {"summary": "A program that signs in", "value": {"name": "CI", "senders": ["ci@contoso.com"]}},
        "printer": {
            "summary": "A printer that only has its address",
            "value": {"name": "HP 2nd floor", "addresses": ["10.2.3.14"], "needs_sign_in": False},
        },
    },
    ("POST", "/mail-servers/{mail_server_id}/secret"): {
        "secret": {"value": {"client_secret": "the Value that Entra shows once", "ends_on": "2028-11-26"}}
    },
    ("PUT", "/sending"): {
        "canary": {
            "summary": "Two days, no delay notice, a canary every half hour",
            "value": {
                "lifetime_seconds": 172_800,
                "delay_notice_after_seconds": None,
                "administrator": "it@contoso.com",
                "canary_enabled": True,
                "canary_every_seconds": 1_800,
            },
        }
    },
    ("POST", "/apps/{app_id}/keys"): {"key": {"value": {"name": "pipeline", "scopes": ["send", "messages:read"]}}},
}


def _problem(status: int, code: str, detail: str, remedy: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"/api/docs#errors-{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "req_5f41f7255f2a78da",
        "retryable": status in (429, 503, 507),
        "remedy": remedy,
        "errors": more.get("errors", []),
    }


PROBLEMS = {
    401: _problem(
        401,
        "missing_api_key",
        "The request has no key.",
        "Send the header Authorization: Bearer pr_live_...; keys are made under Apps & devices.",
    ),
    403: _problem(
        403,
        "insufficient_scope",
        "The key does not have the scope messages:read.",
        "Make a key with the scope messages:read under Apps & devices, and use that one.",
    ),
    422: _problem(
        422,
        "validation_error",
        "The field htm1 cannot be used: there is no such field; is it misspelt?",
        "Correct the request; /api/docs has every field.",
        errors=[{"field": "htm1", "code": "invalid", "message": "there is no such field; is it misspelt?"}],
    ),
    429: _problem(
        429,
        "rate_limit_exceeded",
        '"CI" may hand in 60 messages a minute; send again in 12 seconds, '
        "or raise the limit under Apps & devices > CI > Limits",
        "Send again when Retry-After says.",
    ),
}
