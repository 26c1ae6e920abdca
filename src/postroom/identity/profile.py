"""Reads from Microsoft Graph who the signed-in person is, and what licences they have.

Microsoft Learn: "Get a user" (GET /me with User.Read) and "List licenseDetails".
"""

from enum import StrEnum

import httpx2
import msgspec

from postroom.identity.addresses import normal_address
from postroom.identity.providers import Provider
from postroom.identity.refused import SignInRefused, refuse
from postroom.identity.token_answers import words_of
from postroom.outcome import FailureClass

PROFILE_FIELDS = ("id", "displayName", "mail", "userPrincipalName", "proxyAddresses")

# Service plans that come with a mailbox. Others have "Exchange" in their name and none: match exactly.
MAILBOX_PLANS = {
    "EXCHANGE_S_STANDARD": "Exchange Online (Plan 1)",
    "EXCHANGE_S_ENTERPRISE": "Exchange Online (Plan 2)",
    "EXCHANGE_S_DESKLESS": "Exchange Online Kiosk",
    "EXCHANGE_S_ESSENTIALS": "Exchange Online Essentials",
    "EXCHANGE_B_STANDARD": "Exchange Online POP",
    "EXCHANGE_S_STANDARD_MIDMARKET": "Exchange Online (Plan 1)",
    "EXCHANGE_S_ENTERPRISE_GOV": "Exchange Online (Plan 2) for Government",
    "EXCHANGE_S_STANDARD_GOV": "Exchange Online (Plan 1) for Government",
}
_PENDING = frozenset({"PendingProvisioning", "PendingActivation", "PendingInput"})


class Profile(msgspec.Struct, frozen=True):
    """What `/me` says."""

    object_id: str
    user_principal_name: str
    display_name: str
    mail: str
    addresses: tuple[str, ...]
    """UPN, mail and proxy addresses, lower case, each once."""


class LicenceState(StrEnum):
    LICENSED = "licensed"
    PENDING = "pending"
    NOT_LICENSED = "not licensed"
    UNKNOWN = "unknown"


class LicenceNote(msgspec.Struct, frozen=True):
    """A note, never a verdict: shared mailboxes have no licence and send all the same."""

    state: LicenceState
    text: str


class _Me(msgspec.Struct, rename="camel"):
    id: str
    user_principal_name: str
    display_name: str | None = None
    mail: str | None = None
    proxy_addresses: tuple[str, ...] = ()


class _ServicePlan(msgspec.Struct, rename="camel"):
    service_plan_name: str = ""
    provisioning_status: str = ""


class _Licence(msgspec.Struct, rename="camel"):
    service_plans: tuple[_ServicePlan, ...] = ()


class _Licences(msgspec.Struct):
    value: tuple[_Licence, ...]


class _GraphError(msgspec.Struct):
    code: str = ""
    message: str = ""


class _GraphFailure(msgspec.Struct):
    error: _GraphError


async def read_profile(http: httpx2.AsyncClient, provider: Provider, access_token: str) -> Profile:
    """Who the token's owner is. SignInRefused when Graph does not say."""
    try:
        response = await _get(http, provider, f"/me?$select={','.join(PROFILE_FIELDS)}", access_token)
    except (httpx2.HTTPError, OSError) as trouble:
        raise _unavailable(provider, f"Microsoft Graph does not answer: {words_of(trouble)}") from None
    if response.status_code >= 500 or response.status_code == 429:
        raise _unavailable(provider, f"Microsoft Graph answered {response.status_code}; try again in a minute")
    if response.status_code != 200:
        raise _unreadable(provider, response)
    try:
        return _profile_of(msgspec.json.decode(response.content, type=_Me))
    except msgspec.DecodeError as trouble:
        raise _unavailable(provider, f"Microsoft Graph answered something else than a profile ({trouble})") from None


async def read_licence(http: httpx2.AsyncClient, provider: Provider, access_token: str) -> LicenceNote:
    """Whether the token's owner has a licence with a mailbox. Never raises for what Graph does."""
    try:
        response = await _get(http, provider, "/me/licenseDetails", access_token)
    except (httpx2.HTTPError, OSError):
        return LicenceNote(LicenceState.UNKNOWN, "licence unknown: Microsoft Graph does not answer")
    if response.status_code != 200:
        return LicenceNote(LicenceState.UNKNOWN, f"licence unknown: Microsoft Graph answered {response.status_code}")
    try:
        return judge_licences(response.content)
    except msgspec.DecodeError:
        return LicenceNote(LicenceState.UNKNOWN, "licence unknown: Microsoft Graph's answer cannot be read")


def judge_licences(body: bytes) -> LicenceNote:
    """The note for an answer of `/me/licenseDetails`. msgspec.DecodeError when it is none."""
    licences = msgspec.json.decode(body, type=_Licences).value
    plans = {plan.service_plan_name: plan for licence in licences for plan in licence.service_plans}
    with_mailbox = [plan for name, plan in plans.items() if name in MAILBOX_PLANS]
    for plan in with_mailbox:
        if plan.provisioning_status == "Success":
            return LicenceNote(LicenceState.LICENSED, f"licensed: {MAILBOX_PLANS[plan.service_plan_name]}")
    if any(plan.provisioning_status in _PENDING for plan in with_mailbox):
        return LicenceNote(LicenceState.PENDING, "the licence with Exchange Online is still being set up")
    return LicenceNote(
        LicenceState.NOT_LICENSED,
        "no licence with Exchange Online (a shared mailbox needs none and sends all the same)",
    )


async def _get(http: httpx2.AsyncClient, provider: Provider, path: str, access_token: str) -> httpx2.Response:
    return await http.get(provider.graph_url(path), headers={"Authorization": f"Bearer {access_token}"})


def _profile_of(me: _Me) -> Profile:
    proxies = [address[5:] for address in me.proxy_addresses if address.lower().startswith("smtp:")]
    addresses = [normal_address(text) for text in (me.user_principal_name, me.mail or "", *proxies) if text]
    return Profile(
        object_id=me.id,
        user_principal_name=me.user_principal_name,
        display_name=me.display_name or "",
        mail=me.mail or "",
        addresses=tuple(dict.fromkeys(addresses)),
    )


def _unavailable(provider: Provider, text: str) -> SignInRefused:
    return refuse(
        "sign_in_unavailable",
        f"{text}. Nothing was saved.",
        "microsoft_unavailable",
        failure_class=FailureClass.NETWORK,
        server=provider.graph_host,
        command="GET /me",
    )


def _unreadable(provider: Provider, response: httpx2.Response) -> SignInRefused:
    try:
        error = msgspec.json.decode(response.content, type=_GraphFailure).error
    except msgspec.DecodeError:
        error = _GraphError()
    words = f"{error.code} {error.message}".strip()[:300]
    return refuse(
        "profile_unreadable",
        f"Microsoft Graph does not let us read who signed in ({response.status_code} {words}). Nothing was saved.",
        "permission_missing",
        failure_class=FailureClass.PERMISSION,
        server=provider.graph_host,
        command="GET /me",
        trace=response.headers.get("request-id"),
    )
