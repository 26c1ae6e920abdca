"""The authorize endpoint, and the end of its walk: a code, an ID token or an error on its way back to the app."""

import uuid
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroom.simulator import pages
from postroom.simulator.aadsts import AadstsError, make_trail
from postroom.simulator.authorize import (
    AuthorizeRequest,
    ReturnAddress,
    find_asking_app,
    find_return_address,
    read_authorize_request,
)
from postroom.simulator.issued_grants import SignInProof
from postroom.simulator.registration import Platform
from postroom.simulator.scopes import Scopes
from postroom.simulator.sign_in import Flow, SignIn, host_of
from postroom.simulator.tenant import User

NOT_TO_BE_CACHED = {"cache-control": "no-store, no-cache", "pragma": "no-cache"}


class AuthorizeGoal(msgspec.Struct, frozen=True):
    asked: AuthorizeRequest
    is_device_code: bool = False

    @property
    def tenant_name(self) -> str:
        return self.asked.tenant_name

    @property
    def client_id(self) -> str:
        return self.asked.client_id

    @property
    def scopes(self) -> Scopes:
        return self.asked.scopes

    @property
    def platform(self) -> Platform:
        return self.asked.platform

    @property
    def prompt(self) -> str:
        return self.asked.prompt

    @property
    def login_hint(self) -> str:
        return self.asked.login_hint

    @property
    def domain_hint(self) -> str:
        return self.asked.domain_hint

    @property
    def form_target(self) -> str:
        return self.asked.address.redirect_uri

    def ask_first(self, walk: SignIn, request: Request, flow: Flow, user: User) -> Response | None:
        return None

    def learn_refusal(self, error: AadstsError) -> None:
        """The app learns nothing before the person goes back."""

    def succeed(self, walk: SignIn, request: Request, user: User, proof: SignInProof) -> Response:
        asked, answer = self.asked, dict[str, str]()
        if "code" in asked.response_types:
            answer["code"] = self._issue_code(walk, user, proof)
        if "id_token" in asked.response_types:
            answer["id_token"] = walk.tokens.issue_id_token(
                asked.client_id, user, asked.scopes.openid, asked.nonce, code=answer.get("code", "")
            )
        return send_back(request, asked.address, {**answer, "session_state": str(uuid.uuid4())})

    def _issue_code(self, walk: SignIn, user: User, proof: SignInProof) -> str:
        asked = self.asked
        code = walk.tokens.issue_code(
            asked.client_id,
            user,
            asked.address.redirect_uri,
            asked.scopes,
            nonce=asked.nonce,
            code_challenge=asked.code_challenge,
            code_challenge_method=asked.code_challenge_method,
            proof=proof,
            tenant_name=asked.tenant_name,
        )
        return code.value

    def fail(self, walk: SignIn, request: Request, error: AadstsError) -> Response:
        return send_back_error(walk, request, self.asked.address, error)


class AuthorizePages:
    def __init__(self, walk: SignIn) -> None:
        self.walk = walk

    async def start(self, request: Request) -> Response:
        """The authorize endpoint, by GET or by POST."""
        tenant, tenant_name = self.walk.tenant, request.path_params["tenant"]
        query = {**request.query_params, **await pages.read_form(request)}
        try:
            app = find_asking_app(tenant, tenant_name, host_of(request), query)
            address = find_return_address(app, query)
        except AadstsError as error:
            return self.walk.error_page(request, error)
        try:
            asked = read_authorize_request(tenant, tenant_name, app, address, query)
        except AadstsError as error:
            return send_back_error(self.walk, request, address, error)
        return self.walk.begin(request, AuthorizeGoal(asked))


def send_back_error(walk: SignIn, request: Request, address: ReturnAddress, error: AadstsError) -> Response:
    answer = {
        "error": error.error_at_redirect,
        "error_description": make_trail(walk.tenant.clock.now()).describe(error.sentence),
        "error_uri": error.uri(walk.tenant.cloud.login_url),
    }
    return send_back(request, address, answer)


def send_back(request: Request, address: ReturnAddress, answer: Mapping[str, str]) -> Response:
    """By redirect, or for `form_post` by a page that posts the answer."""
    if address.response_mode != "form_post":
        return RedirectResponse(address.url(answer), 302, NOT_TO_BE_CACHED)
    return pages.render(
        request,
        "form_post.html",
        form_targets=[address.redirect_uri],
        action=address.redirect_uri,
        fields=address.with_state(answer),
    )
