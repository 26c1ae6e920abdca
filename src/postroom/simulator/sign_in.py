"""The walk of a person through Microsoft's sign-in: account, password, second factor, consent, and back.

What the walk is for (an app's authorize request, a device's code, an administrator's consent) is its goal; the walk
is the same for each.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroom.simulator import pages
from postroom.simulator.aadsts import AadstsError, make_trail
from postroom.simulator.clouds import LOGIN_HOSTS
from postroom.simulator.consent import ConsentStep, decide_consent
from postroom.simulator.issued_grants import SignInProof
from postroom.simulator.registration import Platform
from postroom.simulator.scopes import PERMISSIONS, Scopes
from postroom.simulator.sessions import Sessions
from postroom.simulator.sign_in_rules import authenticate_user, demand_mfa, refuse_by_policy
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens

# Sign-in pages that may be open at once; of more, the oldest are forgotten.
KEPT_PAGES = 500


class Goal(Protocol):
    """What a walk is for. `form_target` is where its last page may lead; empty for nowhere else."""

    @property
    def tenant_name(self) -> str: ...
    @property
    def client_id(self) -> str: ...
    @property
    def scopes(self) -> Scopes: ...
    @property
    def platform(self) -> Platform: ...
    @property
    def prompt(self) -> str: ...
    @property
    def login_hint(self) -> str: ...
    @property
    def domain_hint(self) -> str: ...
    @property
    def form_target(self) -> str: ...
    @property
    def is_device_code(self) -> bool: ...

    def ask_first(self, walk: "SignIn", request: Request, flow: "Flow", user: User) -> Response | None:
        """A page before consent, or None."""

    def succeed(self, walk: "SignIn", request: Request, user: User, proof: SignInProof) -> Response:
        """The end of a walk that went well."""

    def fail(self, walk: "SignIn", request: Request, error: AadstsError) -> Response:
        """The way back without success."""

    def learn_refusal(self, error: AadstsError) -> None:
        """A rule refused this person; the page that says so is shown next."""


class Flow(msgspec.Struct, frozen=True):
    """One page that waits for its form; its id is good for one post. `refusal` is what going back would say."""

    goal: Goal
    object_id: str = ""
    proof: SignInProof | None = None
    refusal: AadstsError | None = None


class SignIn:
    def __init__(self, tenant: Tenant, tokens: Tokens) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self.sessions = Sessions(tenant)
        self._flows: dict[str, Flow] = {}

    # The beginning

    def begin(self, request: Request, goal: Goal) -> Response:
        """The first page that the goal and the browser's session leave to show."""
        flow = Flow(goal)
        if self.tenant.entra.answer_with is not None:
            return self.refuse(request, flow, self._switched_error(goal))
        people = self.sessions.usable(request, goal.tenant_name, goal.domain_hint)
        if goal.prompt == "login" or (goal.prompt == "select_account" and not people):
            return self.sign_in_page(request, flow, goal.login_hint)
        if goal.prompt == "select_account":
            return self._account_page(request, flow, people)
        if goal.login_hint:
            people = [(user, proof) for user, proof in people if goal.login_hint.strip().lower() in user.addresses]
        if len(people) == 1:
            [(user, proof)] = people
            return self.go_on(request, Flow(goal, user.object_id, _at(goal.platform, proof)))
        if goal.prompt == "none":
            return goal.fail(self, request, AadstsError(50058))
        return (
            self._account_page(request, flow, people) if people else self.sign_in_page(request, flow, goal.login_hint)
        )

    def _switched_error(self, goal: Goal) -> AadstsError:
        app = self.tenant.app(goal.client_id)
        values = {"client_id": app.client_id, "name": app.name, "tenant": self.tenant.name}
        return AadstsError(self.tenant.entra.answer_with or 50000, resource=goal.scopes.first_resource, **values)

    # The forms

    async def check_password(self, request: Request) -> Response:
        form = await pages.read_form(request)
        flow = self.take_flow(request, form)
        if flow is None:
            return self.used_page(request)
        goal, user_name = flow.goal, form.get("loginfmt", "").strip()
        app = self.tenant.app(goal.client_id)
        try:
            user = authenticate_user(self.tenant, app, goal.tenant_name, user_name, form.get("passwd", ""))
        except AadstsError as error:
            return self.sign_in_page(request, flow, user_name, error)
        proof = SignInProof(self.tenant.clock.now(), platform=goal.platform)
        response = self.go_on(request, Flow(goal, user.object_id, proof))
        self.sessions.keep(request, response, user.object_id, proof)
        return response

    async def pick_account(self, request: Request) -> Response:
        form = await pages.read_form(request)
        flow = self.take_flow(request, form)
        if flow is None:
            return self.used_page(request)
        people = self.sessions.usable(request, flow.goal.tenant_name, flow.goal.domain_hint)
        for user, proof in people:
            if user.object_id == form.get("account"):
                return self.go_on(request, Flow(flow.goal, user.object_id, _at(flow.goal.platform, proof)))
        return self.sign_in_page(request, flow, "")

    async def check_second_factor(self, request: Request) -> Response:
        form = await pages.read_form(request)
        flow = self.take_flow(request, form)
        if flow is None or flow.proof is None:
            return self.used_page(request)
        if form.get("answer") not in ("approve", "register"):
            return self.refuse(request, flow, AadstsError(50074))
        user = self.tenant.user(flow.object_id)
        user.sign_in.mfa_is_registered = True
        proof = msgspec.structs.replace(flow.proof, did_mfa=True)
        response = self.go_on(request, Flow(flow.goal, user.object_id, proof))
        self.sessions.keep(request, response, user.object_id, proof)
        return response

    async def take_consent(self, request: Request) -> Response:
        form = await pages.read_form(request)
        flow = self.take_flow(request, form)
        if flow is None or flow.proof is None:
            return self.used_page(request)
        if form.get("answer") != "accept":
            return flow.goal.fail(self, request, AadstsError(65004))
        user = self.tenant.user(flow.object_id)
        self._record_consent(flow.goal, user, form)
        return flow.goal.succeed(self, request, user, flow.proof)

    def _record_consent(self, goal: Goal, user: User, form: Mapping[str, str]) -> None:
        app = self.tenant.app(goal.client_id)
        step = decide_consent(self.tenant, app, user, goal.scopes, goal.prompt)
        if step.kind == "administrator" and "for_organisation" in form:
            app.admin_consented.update(goal.scopes.permissions)
        elif step.kind in ("administrator", "user"):
            self.tenant.record_consent(app.client_id, user.object_id, goal.scopes.permissions)

    async def go_back(self, request: Request) -> Response:
        """The button under a refusal: back to the app, or a request for an administrator's approval (90095)."""
        form = await pages.read_form(request)
        flow = self.take_flow(request, form)
        if flow is None or flow.refusal is None:
            return self.used_page(request)
        if form.get("answer") == "request approval" and flow.refusal.code == 90094:
            name = self.tenant.app(flow.goal.client_id).name
            return flow.goal.fail(self, request, AadstsError(90095, name=name))
        return flow.goal.fail(self, request, flow.refusal)

    async def sign_out(self, request: Request) -> Response:
        """The logout endpoint. `post_logout_redirect_uri` is followed where an app has registered it."""
        query = {**request.query_params, **await pages.read_form(request)}
        wanted = query.get("post_logout_redirect_uri", "")
        is_known = any(wanted in app.every_redirect_uri for app in self.tenant.apps.values())
        response: Response
        if is_known:
            suffix = f"?state={query['state']}" if query.get("state", "").isalnum() else ""
            response = RedirectResponse(f"{wanted}{suffix}", 302)
        else:
            response = pages.render(request, "signed_out.html")
        self.sessions.forget(request, response)
        return response

    # The way

    def go_on(self, request: Request, flow: Flow) -> Response:
        """Everything after the person is known: rules, second factor, consent, the end."""
        goal, proof = flow.goal, flow.proof or SignInProof(self.tenant.clock.now())
        user, app = self.tenant.user(flow.object_id), self.tenant.app(goal.client_id)
        try:
            refuse_by_policy(self.tenant, app, user, is_device_code=goal.is_device_code)
        except AadstsError as error:
            return self.refuse(request, flow, error)
        resource = goal.scopes.first_resource
        demand = None if proof.did_mfa else demand_mfa(self.tenant, user, resource, is_interactive=True)
        if demand is not None:
            if goal.prompt == "none":
                return goal.fail(self, request, demand)
            return self.show_page(request, "mfa.html", flow, path="mfa", user=user, demand=demand)
        first = goal.ask_first(self, request, flow, user)
        return first or self._ask_consent(request, flow, user, proof)

    def _ask_consent(self, request: Request, flow: Flow, user: User, proof: SignInProof) -> Response:
        goal = flow.goal
        app = self.tenant.app(goal.client_id)
        step = decide_consent(self.tenant, app, user, goal.scopes, goal.prompt)
        if step.kind == "none":
            return goal.succeed(self, request, user, proof)
        if step.kind == "denied":
            return self.refuse(request, flow, AadstsError(90094, name=app.name))
        if goal.prompt == "none":
            return goal.fail(self, request, AadstsError(65001, client_id=app.client_id, name=app.name))
        return self.consent_page(request, flow, user, step)

    def refuse(self, request: Request, flow: Flow, error: AadstsError) -> Response:
        """A rule says no: to a silent request by redirect, to a person on a page with a way back."""
        flow.goal.learn_refusal(error)
        if flow.goal.prompt == "none":
            return flow.goal.fail(self, request, error)
        refused = msgspec.structs.replace(flow, refusal=error)
        return self.show_page(
            request,
            "sign_in_blocked.html",
            refused,
            path="back",
            error=error,
            trail=make_trail(self.tenant.clock.now()),
            may_request=error.code == 90094 and self.tenant.entra.user_consent == "admin request workflow",
        )

    # Pages

    def take_flow(self, request: Request, form: Mapping[str, str]) -> Flow | None:
        """What the posted form belongs to; None if it was posted before, or by another site."""
        flow = self._flows.pop(form.get("flow", ""), None)
        return None if pages.came_from_elsewhere(request) else flow

    def keep_flow(self, flow: Flow) -> str:
        while len(self._flows) >= KEPT_PAGES:
            del self._flows[next(iter(self._flows))]
        flow_id = secrets.token_urlsafe(24)
        self._flows[flow_id] = flow
        return flow_id

    def sign_in_page(self, request: Request, flow: Flow, user_name: str, error: AadstsError | None = None) -> Response:
        return self.show_page(request, "sign_in.html", flow, path="login", user_name=user_name, error=error)

    def _account_page(self, request: Request, flow: Flow, people: list[tuple[User, SignInProof]]) -> Response:
        return self.show_page(request, "pick_account.html", flow, path="account", people=[user for user, _ in people])

    def consent_page(self, request: Request, flow: Flow, user: User, step: ConsentStep) -> Response:
        return self.show_page(
            request,
            "consent.html",
            flow,
            path="consent",
            user=user,
            permissions=[(name, PERMISSIONS[name]) for name in step.permissions],
            may_consent_for_all=step.kind == "administrator",
        )

    def show_page(self, request: Request, template: str, flow: Flow, *, path: str, **values: Any) -> Response:
        """A page with one form that belongs to `flow` and posts to `path` below the tenant's name."""
        target = flow.goal.form_target
        return pages.render(
            request,
            template,
            form_targets=[target] if target else [],
            flow_id=self.keep_flow(flow),
            action=f"/{flow.goal.tenant_name}/{path}",
            app=self.tenant.app(flow.goal.client_id),
            tenant=self.tenant,
            **values,
        )

    def error_page(self, request: Request, error: AadstsError) -> Response:
        trail = make_trail(self.tenant.clock.now())
        return pages.render(request, "sign_in_error.html", status_code=400, error=error, trail=trail)

    def used_page(self, request: Request) -> Response:
        return pages.render(request, "sign_in_used.html", status_code=400)


def host_of(request: Request) -> str:
    """The cloud's host that the browser asked for; on localhost the tenant's own cloud is meant."""
    host = request.headers.get("host", "").partition(":")[0].lower()
    return host if host in LOGIN_HOSTS else ""


def _at(platform: Platform, proof: SignInProof) -> SignInProof:
    """A session's proof for another app: its platform, and a family of tokens of its own."""
    return msgspec.structs.replace(proof, platform=platform, family="")
