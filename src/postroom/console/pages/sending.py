"""Admin, Sending: how long mail is tried, who is told, and the canary."""

import math

from starlette.responses import Response

from postroom.clock import DAY_US, HOUR_US, MINUTE_US
from postroom.console.canary import tell_canary
from postroom.console.forms import Form, Troubles, address_trouble
from postroom.console.language import _
from postroom.console.visit import Visit
from postroom.store.sending_settings import SendingSettings

_UNITS = {"lifetime": DAY_US, "delay_notice_after": HOUR_US, "canary_every": MINUTE_US}


async def show(visit: Visit) -> Response:
    return await _page(visit, Form(_values_of(await visit.rooms.store.sending_settings.load())), {})


async def save(visit: Visit) -> Response:
    """All of them at once, from the form."""
    settings, troubles = _read_settings(visit.form)
    if troubles:
        return await _page(visit, visit.form, troubles)
    await visit.rooms.store.sending_settings.save(settings, visit.who, visit.address)
    return visit.go("/admin/sending", said="sending-saved")


async def _page(visit: Visit, form: Form, troubles: Troubles) -> Response:
    return await visit.page(
        "sending.html",
        status=422 if troubles else 200,
        values=form.values,
        troubles=troubles,
        mail_server=await visit.rooms.store.mail_servers.default(),
        canary=await tell_canary(visit.rooms.store, visit.now_us),
    )


def _values_of(settings: SendingSettings) -> dict[str, str]:
    """The fields, as a person would type them."""
    delay_us = settings.delay_notice_after_us
    return {
        "lifetime": f"{settings.lifetime_us / DAY_US:.6g}",
        "delay_notice_after": f"{delay_us / HOUR_US:.6g}" if delay_us is not None else "",
        "administrator": settings.administrator,
        "canary_is_on": "on" if settings.canary_is_on else "",
        "canary_every": f"{settings.canary_every_us / MINUTE_US:.6g}",
        "canary_recipient": settings.canary_recipient,
    }


def _read_settings(form: Form) -> tuple[SendingSettings, Troubles]:
    """What was typed, with a sentence for each field that cannot be used."""
    troubles: Troubles = {}
    sentences = {
        "lifetime": _("Enter a number of days, such as 5."),
        "delay_notice_after": _("Enter a number of hours, such as 4, or leave it empty for never."),
        "canary_every": _("Enter a number of minutes, such as 60."),
    }
    spans = {name: _span(form.text(name), unit_us) for name, unit_us in _UNITS.items()}
    for name, sentence in sentences.items():
        if spans[name] is None and (form.text(name) or name != "delay_notice_after"):
            troubles[name] = sentence
    for name in ("administrator", "canary_recipient"):
        trouble = form.text(name) and address_trouble(form.text(name), "")
        if trouble:
            troubles[name] = trouble
    usual = SendingSettings()
    settings = SendingSettings(
        lifetime_us=spans["lifetime"] or usual.lifetime_us,
        delay_notice_after_us=spans["delay_notice_after"],
        administrator=form.text("administrator"),
        canary_is_on=form.is_on("canary_is_on"),
        canary_every_us=spans["canary_every"] or usual.canary_every_us,
        canary_recipient=form.text("canary_recipient"),
    )
    return settings, {name: _(sentence) for name, sentence in settings.troubles().items()} | troubles


def _span(text: str, unit_us: int) -> int | None:
    """Microseconds; None when it is no number that is more than nothing."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return round(number * unit_us) if math.isfinite(number) and 0 < number < 1e6 else None
