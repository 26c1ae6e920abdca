"""Which mailbox a call is about, and whether this caller may use it (microsoft365.md 3.4, 5 and 6)."""

import msgspec

from postroom.simulator.graph_errors import refusal
from postroom.simulator.graph_gate import Key
from postroom.simulator.graph_requests import Call, Caller, Front
from postroom.simulator.tenant import Tenant, User


class Post(msgspec.Struct, frozen=True):
    """`mailbox` is the one in the path, which keeps the copy; `sender` is whose rights and limits count (6.5).

    The two differ where a person sends from a mailbox to which they have Full Access.
    """

    mailbox: User
    sender: User
    key: Key


def open_mailbox(front: Front, call: Call, *permissions: str) -> Post:
    """The mailbox of /me or /users/{user}, for a caller with one of `permissions`, "Mail.Send" for instance.

    GraphError 400 for an application at /me, 403 without permission or right, 404 without a mailbox.
    """
    name = call.request.path_params.get("user")
    if name is None:
        mailbox = call.signed_in_user()
        _require_own(call.caller, permissions)
    else:
        mailbox = _open_named(front, call.caller, name, permissions)
    if not mailbox.is_mailbox or not (mailbox.licensed or mailbox.is_shared):
        raise refusal("mailbox not enabled")
    return Post(mailbox, call.caller.user or mailbox, (call.caller.claims.client_id, mailbox.object_id))


def _open_named(front: Front, caller: Caller, name: str, permissions: tuple[str, ...]) -> User:
    mailbox = front.find_user(name)
    if caller.user is None:
        _require_application(front.tenant, caller, mailbox, permissions)
    elif mailbox is caller.user:
        _require_own(caller, permissions)
    elif not caller.allows(*_shared(permissions)):
        raise refusal("mail denied")
    if mailbox is None:
        raise refusal("mailbox unknown", name=name)
    if caller.user and not front.tenant.may_open(caller.user, mailbox):
        raise refusal("mail denied")
    return mailbox


def _require_own(caller: Caller, permissions: tuple[str, ...]) -> None:
    if not caller.allows(*permissions, *_shared(permissions)):
        raise refusal("mail denied")


def _shared(permissions: tuple[str, ...]) -> list[str]:
    """The permission for other people's mailboxes: Mail.Send.Shared for Mail.Send."""
    return [f"{permission}.Shared" for permission in permissions]


def _require_application(tenant: Tenant, caller: Caller, mailbox: User | None, permissions: tuple[str, ...]) -> None:
    """An application's own permission covers every mailbox unless an access policy fences it; RBAC gives single ones.

    The two add up: a scope of RBAC takes nothing away from a permission that was granted in Entra.
    """
    client_id = caller.claims.client_id
    if caller.allows(*permissions):
        fence = tenant.graph.access_policies.get(client_id)
        if fence is not None and mailbox is not None and mailbox.object_id not in fence:
            raise refusal("mailbox fenced")
    elif not any(_is_in_role(tenant, caller, mailbox, f"Application {permission}") for permission in permissions):
        raise refusal("mail denied")


def _is_in_role(tenant: Tenant, caller: Caller, mailbox: User | None, role: str) -> bool:
    settings, claims = tenant.exchange.in_effect(), caller.claims
    principal = settings.service_principals.get(claims.object_id)
    if principal is None or principal.app_id != claims.client_id or mailbox is None:
        return False
    scopes = [
        one.scope for one in settings.role_assignments.values() if (one.app_id, one.role) == (claims.client_id, role)
    ]
    return any(not scope or mailbox.object_id in settings.management_scopes.get(scope, ()) for scope in scopes)
