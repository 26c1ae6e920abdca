"""The settings of sending as a whole over the API."""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from postroom.api.problems import ApiError, invalid, together
from postroom.api.room import Call, say
from postroom.clock import MICROSECONDS
from postroom.store.sending_settings import SendingSettings
from postroom.wire.paths import AddressError, check_address

Seconds = Annotated[int, Meta(ge=1, le=365 * 86_400)]
AddressOrNone = Annotated[str, Meta(max_length=254)]


class SendingShape(Struct, frozen=True, forbid_unknown_fields=True):
    """How long mail is tried, who is told, and the canary."""

    lifetime_seconds: Annotated[
        Seconds, Meta(description="How long a message may wait while it could be sent, before it fails.")
    ] = 432_000
    delay_notice_after_seconds: Annotated[
        Seconds | None, Meta(description="When its sender is told that it still waits; null: never.")
    ] = 14_400
    administrator: Annotated[
        AddressOrNone, Meta(description="Who is told what no sender can be told; empty: nobody.")
    ] = ""
    canary_enabled: Annotated[bool, Meta(description="Send a message of our own at intervals, to prove the path.")] = (
        False
    )
    canary_every_seconds: Seconds = 3_600
    canary_recipient: Annotated[AddressOrNone, Meta(description="Empty: the mail server's test address.")] = ""


async def show(call: Call) -> Response:
    return say(_shape_of(await call.room.store.sending_settings.load()))


async def change(call: Call) -> Response:
    """All of them at once; what is left out takes its default."""
    asked = call.body
    assert isinstance(asked, SendingShape)
    settings = _settings(asked)
    troubles = [invalid(f"{name}_seconds", sentence) for name, sentence in settings.troubles().items()]
    troubles += _address_troubles(settings)
    if troubles:
        raise together(troubles)
    await call.room.store.sending_settings.save(settings, call.caller.who, call.caller.address)
    return say(_shape_of(settings))


def _settings(asked: SendingShape) -> SendingSettings:
    delay_seconds = asked.delay_notice_after_seconds
    return SendingSettings(
        lifetime_us=asked.lifetime_seconds * MICROSECONDS,
        delay_notice_after_us=delay_seconds * MICROSECONDS if delay_seconds is not None else None,
        administrator=asked.administrator,
        canary_is_on=asked.canary_enabled,
        canary_every_us=asked.canary_every_seconds * MICROSECONDS,
        canary_recipient=asked.canary_recipient,
    )


def _shape_of(settings: SendingSettings) -> SendingShape:
    delay_us = settings.delay_notice_after_us
    return SendingShape(
        lifetime_seconds=settings.lifetime_us // MICROSECONDS,
        delay_notice_after_seconds=delay_us // MICROSECONDS if delay_us is not None else None,
        administrator=settings.administrator,
        canary_enabled=settings.canary_is_on,
        canary_every_seconds=settings.canary_every_us // MICROSECONDS,
        canary_recipient=settings.canary_recipient,
    )


def _address_troubles(settings: SendingSettings) -> list[ApiError]:
    troubles = []
    for name in ("administrator", "canary_recipient"):
        address: str = getattr(settings, name)
        try:
            if address:
                check_address(address)
        except AddressError as trouble:
            troubles.append(invalid(name, str(trouble)))
    return troubles
