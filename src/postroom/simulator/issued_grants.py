"""What a sign-in leaves behind until it is redeemed: authorization codes, refresh tokens, device codes."""

import secrets
import string
from typing import Literal

import msgspec

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.registration import Platform
from postroom.simulator.scopes import Scopes

# Without vowels and look-alikes, so that a code spells nothing and reads well over a telephone.
_USER_CODE_LETTERS = "".join(sorted(set(string.ascii_uppercase + string.digits) - set("AEIOU01LS5")))

DeviceState = Literal["pending", "approved", "declined", "refused", "redeemed"]


class SignInProof(msgspec.Struct, frozen=True):
    """When and how a person signed in; it goes from the browser's session into codes and refresh tokens."""

    signed_in_at: float
    did_mfa: bool = False
    platform: Platform = "web"
    # Every refresh token that came from one sign-in; made when the first of them is issued.
    family: str = ""

    @property
    def methods(self) -> list[str]:
        return ["pwd", "mfa"] if self.did_mfa else ["pwd"]


class AuthorizationCode(msgspec.Struct):
    """A sign-in that waits to be redeemed, once, by the app that asked for it."""

    value: str
    client_id: str
    object_id: str
    redirect_uri: str
    scopes: Scopes
    nonce: str
    code_challenge: str
    code_challenge_method: str
    issued_at: float
    proof: SignInProof
    tenant_name: str = ""
    is_redeemed: bool = False


class RefreshToken(msgspec.Struct, frozen=True):
    value: str
    client_id: str
    object_id: str
    scopes: Scopes
    resource: str
    issued_at: float
    proof: SignInProof
    # Of a single-page app: the family ends 24 hours after its sign-in, whatever is refreshed.
    family_started_at: float = 0.0


class DeviceRequest(msgspec.Struct):
    """A device that waits for a person to type `user_code` somewhere else."""

    device_code: str
    user_code: str
    client_id: str
    scopes: Scopes
    tenant_name: str
    ends_at: float
    state: DeviceState = "pending"
    object_id: str = ""
    proof: SignInProof | None = None
    refusal: AadstsError | None = None


def make_user_code() -> str:
    return "".join(secrets.choice(_USER_CODE_LETTERS) for _ in range(9))
