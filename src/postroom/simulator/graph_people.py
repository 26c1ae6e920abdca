"""People as Graph shows them: `/me`, `/users/{id}`, licences and directory roles.

Source: Microsoft Learn, Graph v1.0, "Get a user", "List licenseDetails" and "List a user's memberships".
"""

import uuid
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator.directory_rules import ROLES
from postroom.simulator.graph_entities import context_of, pick_properties
from postroom.simulator.graph_errors import refusal
from postroom.simulator.graph_requests import Call, Front
from postroom.simulator.tenant import User

DEFAULT_PROPERTIES = (
    "businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation",
    "preferredLanguage", "surname", "userPrincipalName", "id",
)  # fmt: skip

# Exchange Online (Plan 1), and the foundation plan that is in nearly every licence and is no mailbox.
SKU_ID, SKU_NAME = "4b9405b0-7788-4568-add1-99614e613b69", "EXCHANGESTANDARD"
SERVICE_PLANS = (
    ("9aaf7827-d63c-4b61-89c3-182f06f82e5c", "EXCHANGE_S_STANDARD", "User"),
    ("113feb6c-3fe4-4440-bddc-54d774bf0318", "EXCHANGE_S_FOUNDATION", "Company"),
)
ROLE_TYPE = "microsoft.graph.directoryRole"
READS_PEOPLE = ("User.Read.All", "Directory.Read.All")


def routes(front: Front) -> list[BaseRoute]:
    people = _People(front)
    found: list[BaseRoute] = []
    for owner in ("/v1.0/me", "/v1.0/users/{user}"):
        found += [
            Route(owner, front.endpoint(people.read_user), methods=["GET"]),
            Route(f"{owner}/licenseDetails", front.endpoint(people.list_licenses), methods=["GET"]),
            Route(f"{owner}/transitiveMemberOf", front.endpoint(people.list_memberships), methods=["GET"]),
            Route(f"{owner}/transitiveMemberOf/$count", front.endpoint(people.count_memberships), methods=["GET"]),
            Route(f"{owner}/transitiveMemberOf/{{cast}}", front.endpoint(people.list_memberships), methods=["GET"]),
            Route(
                f"{owner}/transitiveMemberOf/{{cast}}/$count",
                front.endpoint(people.count_memberships),
                methods=["GET"],
            ),
        ]
    return found


class _People:
    def __init__(self, front: Front) -> None:
        self.front = front
        self.tenant = front.tenant

    async def read_user(self, call: Call) -> Response:
        user = self._user_of(call)
        entity = pick_properties(_properties_of(user), call.select, DEFAULT_PROPERTIES, "user")
        return JSONResponse({"@odata.context": context_of(call.base_url, "users", call.select), **entity})

    async def list_licenses(self, call: Call) -> Response:
        """An application may not ask at all; of a person the switch decides what a directory role would."""
        if call.caller.user is None and "user" in call.request.path_params:
            raise refusal("directory denied")
        user = self._user_of(call)
        if self.tenant.license_read == "forbidden":
            raise refusal("directory denied")
        context = f"{call.base_url}/$metadata#users('{user.object_id}')/licenseDetails"
        return JSONResponse({"@odata.context": context, "value": self._licenses_of(user)})

    def _licenses_of(self, user: User) -> list[dict[str, Any]]:
        if not user.licensed:
            return []
        is_limited = self.tenant.license_read == "limited"
        return [
            {
                "id": str(uuid.uuid5(uuid.UUID(user.object_id), SKU_ID)),
                "skuId": SKU_ID,
                "skuPartNumber": None if is_limited else SKU_NAME,
                "servicePlans": [] if is_limited else _service_plans(user),
            }
        ]

    async def list_memberships(self, call: Call) -> Response:
        params = call.request.query_params
        memberships = self._memberships_of(call)
        entity_set = "directoryRoles" if "cast" in call.request.path_params else "directoryObjects"
        context = context_of(call.base_url, entity_set, call.select, is_entity=False)
        counted = {"@odata.count": len(memberships)} if params.get("$count", "").lower() == "true" else {}
        return JSONResponse({"@odata.context": context, **counted, "value": memberships})

    async def count_memberships(self, call: Call) -> Response:
        return PlainTextResponse(str(len(self._memberships_of(call, asks_for_count=True))))

    def _memberships_of(self, call: Call, *, asks_for_count: bool = False) -> list[dict[str, Any]]:
        user = self._user_of(call)
        cast = call.request.path_params.get("cast", "")
        if cast and not cast.startswith("microsoft.graph."):
            raise refusal("segment unknown", name=cast)
        _check_advanced_query(call, is_cast=bool(cast), asks_for_count=asks_for_count)
        if cast and cast != ROLE_TYPE:
            return []
        sees_all = call.caller.allows("Directory.Read.All")
        return [self._describe_role(role, cast, sees_all=sees_all) for role in sorted(user.sign_in.roles)]

    def _describe_role(self, role: str, cast: str, *, sees_all: bool) -> dict[str, Any]:
        """With User.Read alone only type and id come back; the wording of that is [C]."""
        template_id = ROLES[role]
        role_id = str(uuid.uuid5(uuid.UUID(self.tenant.tenant_id), template_id))
        return {
            **({} if cast else {"@odata.type": f"#{ROLE_TYPE}"}),
            "id": role_id,
            "deletedDateTime": None,
            "description": role if sees_all else None,
            "displayName": role if sees_all else None,
            "roleTemplateId": template_id if sees_all else None,
        }

    def _user_of(self, call: Call) -> User:
        """Whom the path names; GraphError if there is nobody, or not for this caller."""
        name = call.request.path_params.get("user")
        if name is None:
            user = call.signed_in_user()
            call.caller.require("User.Read", *READS_PEOPLE)
            return user
        found = self.front.find_user(name)
        if found is None or found is not call.caller.user:
            call.caller.require(*READS_PEOPLE)
        else:
            call.caller.require("User.Read", *READS_PEOPLE)
        if found is None:
            raise refusal("object unknown", name=name)
        return found


def _check_advanced_query(call: Call, *, is_cast: bool, asks_for_count: bool) -> None:
    """Casts, `$filter`, `$search` and `$orderby` need ConsistencyLevel and $count=true, a count the first alone."""
    params = call.request.query_params
    is_eventual = call.request.headers.get("consistencylevel", "").lower() == "eventual"
    counts = asks_for_count or params.get("$count", "").lower() == "true"
    is_advanced = is_cast or not {"$filter", "$search", "$orderby"}.isdisjoint(params)
    if (is_advanced and not (is_eventual and counts)) or (counts and not is_eventual):
        raise refusal("query unsupported")
    if not {"$filter", "$search"}.isdisjoint(params):
        raise refusal("filter unsupported")


def _properties_of(user: User) -> dict[str, Any]:
    given, _, surname = user.display_name.rpartition(" ")
    proxies = [f"SMTP:{user.mail}"] if user.mail else []
    return {
        "businessPhones": [],
        "displayName": user.display_name,
        "givenName": given or None,
        "jobTitle": None,
        "mail": user.mail or None,
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": surname if given else None,
        "userPrincipalName": user.user_principal_name,
        "id": user.object_id,
        "proxyAddresses": proxies + [f"smtp:{alias}" for alias in user.proxy_addresses],
        "accountEnabled": user.sign_in.is_enabled and not user.is_shared,
    }


def _service_plans(user: User) -> list[dict[str, str]]:
    return [
        {
            "servicePlanId": plan_id,
            "servicePlanName": name,
            "provisioningStatus": "Success",
            "appliesTo": applies_to,
        }
        for plan_id, name, applies_to in SERVICE_PLANS
        if user.is_mailbox or applies_to == "Company"
    ]
