"""App registrations as Graph shows them, above all when their secrets and certificates end.

Source: Microsoft Learn, Graph v1.0, "List applications" and "Get application". The least permission is
Application.Read.All, delegated or of the application itself; User.Read does not do (microsoft365.md 5).
"""

import re
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator.graph_entities import context_of, format_time, pick_properties
from postroom.simulator.graph_errors import refusal
from postroom.simulator.graph_requests import Call, Front
from postroom.simulator.tenant import AppRegistration

DEFAULT_PROPERTIES = (
    "id", "deletedDateTime", "appId", "displayName", "groupMembershipClaims", "signInAudience", "keyCredentials",
    "passwordCredentials", "web", "spa", "publicClient",
)  # fmt: skip
READS_APPLICATIONS = ("Application.Read.All", "Directory.Read.All")
_BY_APP_ID = re.compile(r"\s*appId\s+eq\s+'([^']*)'\s*")


def routes(front: Front) -> list[BaseRoute]:
    applications = _Applications(front)
    read = front.endpoint(applications.read_application)
    return [
        Route("/v1.0/applications", front.endpoint(applications.list_applications), methods=["GET"]),
        Route("/v1.0/applications(appId='{client_id}')", read, methods=["GET"]),
        Route("/v1.0/applications/{object_id}", read, methods=["GET"]),
    ]


class _Applications:
    def __init__(self, front: Front) -> None:
        self.tenant = front.tenant

    async def list_applications(self, call: Call) -> Response:
        call.caller.require(*READS_APPLICATIONS)
        wanted = call.request.query_params.get("$filter")
        apps = list(self.tenant.apps.values())
        if wanted is not None:
            match = _BY_APP_ID.fullmatch(wanted)
            if match is None:
                raise refusal("filter unsupported")
            apps = [app for app in apps if app.client_id == match[1]]
        context = context_of(call.base_url, "applications", call.select, is_entity=False)
        return JSONResponse({"@odata.context": context, "value": [_describe(app, call.select) for app in apps]})

    async def read_application(self, call: Call) -> Response:
        """By object id, or by client id in parentheses; the client id in the place of the object id finds nothing."""
        call.caller.require(*READS_APPLICATIONS)
        names = call.request.path_params
        for app in self.tenant.apps.values():
            if names in ({"object_id": app.object_id}, {"client_id": app.client_id}):
                context = context_of(call.base_url, "applications", call.select)
                return JSONResponse({"@odata.context": context, **_describe(app, call.select)})
        raise refusal("object unknown", name=next(iter(names.values())))


def _describe(app: AppRegistration, select: str) -> dict[str, Any]:
    known = {
        "id": app.object_id,
        "deletedDateTime": None,
        "appId": app.client_id,
        "displayName": app.name,
        "groupMembershipClaims": None if app.group_membership_claims == "None" else app.group_membership_claims,
        "signInAudience": "AzureADMultipleOrgs" if app.is_multitenant else "AzureADMyOrg",
        "keyCredentials": _certificates_of(app),
        "passwordCredentials": _secrets_of(app),
        "web": {"redirectUris": app.redirect_uris},
        "spa": {"redirectUris": app.spa_redirect_uris},
        "publicClient": {"redirectUris": app.public_redirect_uris},
    }
    return pick_properties(known, select, DEFAULT_PROPERTIES, "application")


def _secrets_of(app: AppRegistration) -> list[dict[str, Any]]:
    """Never the value: `secretText` is given once, when the secret is made."""
    return [
        {
            "customKeyIdentifier": None,
            "displayName": secret.display_name or None,
            "endDateTime": format_time(secret.ends_at),
            "hint": secret.hint,
            "keyId": secret.secret_id,
            "secretText": None,
            "startDateTime": format_time(secret.starts_at) if secret.starts_at else None,
        }
        for secret in app.secrets
    ]


def _certificates_of(app: AppRegistration) -> list[dict[str, Any]]:
    return [
        {
            "customKeyIdentifier": certificate.thumbprint,
            "displayName": certificate.display_name or certificate.subject,
            "endDateTime": format_time(certificate.ends_at),
            "key": None,
            "keyId": certificate.key_id,
            "startDateTime": format_time(certificate.starts_at),
            "type": "AsymmetricX509Cert",
            "usage": "Verify",
        }
        for certificate in app.certificates
    ]
