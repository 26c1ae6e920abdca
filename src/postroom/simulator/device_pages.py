"""The pages of the device code flow: type the code, sign in, confirm the app, done.

Source: Microsoft Learn, "Microsoft identity platform and the OAuth 2.0 device authorization grant flow".
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from postroom.simulator import pages
from postroom.simulator.aadsts import AadstsError
from postroom.simulator.issued_grants import DeviceRequest, SignInProof
from postroom.simulator.registration import Platform
from postroom.simulator.scopes import Scopes
from postroom.simulator.sign_in import Flow, SignIn
from postroom.simulator.tenant import User

PAGE = "/common/oauth2/deviceauth"


class DeviceGoal(msgspec.Struct, frozen=True):
    device: DeviceRequest
    is_confirmed: bool = False
    prompt: str = ""
    login_hint: str = ""
    domain_hint: str = ""
    form_target: str = ""
    platform: Platform = "public"
    is_device_code: bool = True

    @property
    def tenant_name(self) -> str:
        return self.device.tenant_name

    @property
    def client_id(self) -> str:
        return self.device.client_id

    @property
    def scopes(self) -> Scopes:
        return self.device.scopes

    def ask_first(self, walk: SignIn, request: Request, flow: Flow, user: User) -> Response | None:
        if self.is_confirmed:
            return None
        flow_id, app = walk.keep_flow(flow), walk.tenant.app(self.client_id)
        return pages.render(
            request, "device_confirm.html", flow_id=flow_id, app=app, user=user, action=f"{PAGE}/answer"
        )

    def learn_refusal(self, error: AadstsError) -> None:
        """The device's next question is answered with the refusal (that it learns it at all is unconfirmed)."""
        if error.code != 90094:
            self.device.refusal = error

    def succeed(self, walk: SignIn, request: Request, user: User, proof: SignInProof) -> Response:
        self.device.state = "approved"
        self.device.object_id, self.device.proof = user.object_id, proof
        return self._last_page(walk, request, is_signed_in=True)

    def fail(self, walk: SignIn, request: Request, error: AadstsError) -> Response:
        if self.device.refusal is None:
            self.device.state = "declined"
        return self._last_page(walk, request, is_signed_in=False)

    def _last_page(self, walk: SignIn, request: Request, *, is_signed_in: bool) -> Response:
        app = walk.tenant.app(self.client_id)
        return pages.render(request, "device_done.html", app=app, is_signed_in=is_signed_in)


class DevicePages:
    def __init__(self, walk: SignIn) -> None:
        self.walk = walk

    async def show(self, request: Request) -> Response:
        return self._code_page(request, request.query_params.get("otc", ""))

    async def take_code(self, request: Request) -> Response:
        if pages.came_from_elsewhere(request):
            return self.walk.used_page(request)
        form = await pages.read_form(request)
        user_code = form.get("otc", "")
        if not user_code.strip():
            return self._code_page(request, "", AadstsError(90119))
        device = self.walk.tokens.device_request_by_user_code(user_code)
        if device is None:
            return self._code_page(request, user_code, AadstsError(70018))
        return self.walk.begin(request, DeviceGoal(device))

    async def take_answer(self, request: Request) -> Response:
        form = await pages.read_form(request)
        flow = self.walk.take_flow(request, form)
        if flow is None or not isinstance(flow.goal, DeviceGoal):
            return self.walk.used_page(request)
        if flow.goal.device.state != "pending":
            return self.walk.error_page(request, AadstsError(90120))
        if form.get("answer") != "continue":
            return flow.goal.fail(self.walk, request, AadstsError(65004))
        confirmed = msgspec.structs.replace(flow.goal, is_confirmed=True)
        return self.walk.go_on(request, msgspec.structs.replace(flow, goal=confirmed))

    def _code_page(self, request: Request, user_code: str, error: AadstsError | None = None) -> Response:
        return pages.render(request, "device_code.html", action=PAGE, user_code=user_code, error=error)
