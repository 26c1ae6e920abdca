"""Single sign-on: who is signed in to Microsoft in which browser."""

import secrets

from starlette.requests import Request
from starlette.responses import Response

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.issued_grants import SignInProof
from postroom.simulator.sign_in_rules import SHARED_NAMES, refuse_old_sign_in
from postroom.simulator.tenant import Tenant, User

# The name of Entra's own session cookie.
COOKIE = "ESTSAUTH"


class Sessions:
    """Browsers by the value of their cookie; in each, people by object id."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self._browsers: dict[str, dict[str, SignInProof]] = {}

    def keep(self, request: Request, response: Response, object_id: str, proof: SignInProof) -> None:
        """Remember the person in this browser, by a cookie on `response`."""
        browser = request.cookies.get(COOKIE, "")
        if browser not in self._browsers:
            browser = secrets.token_urlsafe(32)
            self._browsers[browser] = {}
        self._browsers[browser][object_id] = proof
        response.set_cookie(COOKIE, browser, httponly=True, samesite="lax")

    def forget(self, request: Request, response: Response) -> None:
        self._browsers.pop(request.cookies.get(COOKIE, ""), None)
        response.delete_cookie(COOKIE)

    def usable(self, request: Request, tenant_name: str, domain_hint: str = "") -> list[tuple[User, SignInProof]]:
        """Those who need not type a password again here; `domain_hint` leaves only people of that domain."""
        proofs = self._browsers.get(request.cookies.get(COOKIE, ""), {})
        people = [(self.tenant.users.get(object_id), proof) for object_id, proof in proofs.items()]
        return [
            (user, proof)
            for user, proof in people
            if user is not None and self._is_valid(user, proof) and _fits(user, tenant_name, domain_hint)
        ]

    def _is_valid(self, user: User, proof: SignInProof) -> bool:
        ended_at = max(user.sessions_valid_from, user.sign_in.password_changed_at)
        if not user.sign_in.is_enabled or proof.signed_in_at < ended_at:
            return False
        try:
            refuse_old_sign_in(self.tenant, user, proof)
        except AadstsError:
            return False
        return True


def _fits(user: User, tenant_name: str, domain_hint: str) -> bool:
    if user.sign_in.is_guest and tenant_name.lower() in SHARED_NAMES:
        return False
    domain = user.user_principal_name.rpartition("@")[2].lower()
    return domain_hint in ("", "organizations", domain)
