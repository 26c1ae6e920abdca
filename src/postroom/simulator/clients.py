"""Who asks at the token endpoint: an app by its secret, by its certificate, or a public one without proof."""

import hmac
from base64 import b64decode
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote_plus

import msgspec

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.client_assertions import asserted_client_id, check_assertion
from postroom.simulator.sign_in_rules import find_app
from postroom.simulator.tenant import AppRegistration, ClientSecret, Tenant

Proof = Literal["none", "secret", "certificate"]
# The claim `appidacr`.
APPIDACR: dict[Proof, str] = {"none": "0", "secret": "1", "certificate": "2"}


class Client(msgspec.Struct, frozen=True):
    """An app and how it proved itself."""

    app: AppRegistration
    proof: Proof

    @property
    def appidacr(self) -> str:
        return APPIDACR[self.proof]

    def refuse_without_credential(self) -> None:
        """7000218 where the grant is for confidential clients."""
        if self.proof == "none":
            raise AadstsError(7000218)

    def refuse_unneeded_credential(self) -> None:
        """700025 where the grant belongs to a public client."""
        if self.proof != "none":
            raise AadstsError(700025)

    def refuse_public_flow(self) -> None:
        """7000218 for an app without proof, unless its registration allows public client flows."""
        if not self.app.allows_public_client_flows:
            self.refuse_without_credential()


def authenticate_client(tenant: Tenant, tenant_name: str, form: Mapping[str, str], authorization: str) -> Client:
    """The app, by client id and secret in the form or in the Basic header (RFC 6749 2.3.1), or by an assertion.

    A client that presents nothing is let through as such: whether its grant needs proof is for the grant to say.
    """
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() == "basic":
        client_id, secret = _read_basic(encoded)
    if not client_id and form.get("client_assertion"):
        client_id = asserted_client_id(form)
    if not client_id:
        raise AadstsError(900144, name="client_id")
    app = find_app(tenant, client_id)
    if form.get("client_assertion"):
        check_assertion(tenant, app, tenant_name, form)
        return Client(app, "certificate")
    if not secret:
        return Client(app, "none")
    _refuse_bad_secret(tenant, app, secret)
    return Client(app, "secret")


def _read_basic(encoded: str) -> tuple[str, str]:
    try:
        client_id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)


def _refuse_bad_secret(tenant: Tenant, app: AppRegistration, value: str) -> None:
    if app.allows_public_client_flows and not app.secrets and not app.certificates:
        raise AadstsError(700025)
    matching = [secret for secret in app.secrets if _is_value(secret, value)]
    if not matching:
        raise AadstsError(7000215, client_id=app.client_id)
    if all(secret.ends_at <= tenant.clock.now() for secret in matching):
        raise AadstsError(7000222, client_id=app.client_id)


def _is_value(secret: ClientSecret, value: str) -> bool:
    return hmac.compare_digest(secret.value.encode(), value.encode())
