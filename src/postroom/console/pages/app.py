"""One app: its rules, what to enter into the device, its passwords and keys, and whether its mail arrives."""

from collections.abc import Sequence

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from postroom.accept.listener_plan import fitting
from postroom.accept.networks import holds, parse_networks
from postroom.console.forms import Form, Troubles
from postroom.console.language import _
from postroom.console.pages import app_form
from postroom.console.visit import Visit
from postroom.errors import WrongStateError
from postroom.ids import parse_public_id, public_id
from postroom.store.records import SCOPES, App, RefusedClient


async def show(visit: Visit) -> Response:
    app = await _find(visit)
    return await _page(visit, app, Form(app_form.values_of(app)), {})


async def change(visit: Visit) -> Response:
    """All rules at once, from the form."""
    app = await _find(visit)
    settings, troubles = app_form.read_settings(visit.form)
    if not troubles:
        settings = msgspec.structs.replace(settings, after_unknown=app.after_unknown)
        try:
            await visit.rooms.store.apps.change(app.app_id, settings, visit.who)
        except ValueError as trouble:
            troubles["name"] = str(trouble)
    if troubles:
        return await _page(visit, app, visit.form, troubles)
    for address in settings.addresses:
        await visit.rooms.store.refused_clients.forget(address)
    return visit.go(_path(app), said="rules")


async def add_password(visit: Visit) -> Response:
    """A new one beside the newest; shown once."""
    app = await _find(visit)
    password = await visit.rooms.store.apps.add_password(app.app_id, visit.who, is_short=visit.form.is_on("is_short"))
    return await show_credentials(visit, app, password)


async def remove_password(visit: Visit) -> Response:
    app = await _find(visit)
    try:
        credential_id = parse_public_id(visit.form.text("credential_id"))
        await visit.rooms.store.apps.remove_password(app.app_id, credential_id, visit.who)
    except (ValueError, WrongStateError):
        raise HTTPException(404) from None
    return visit.go(_path(app), said="password-removed")


async def make_key(visit: Visit) -> Response:
    """A key of the API; shown once."""
    app = await _find(visit)
    scopes = [scope for scope in SCOPES if visit.form.is_on(f"scope-{scope}")]
    if not scopes:
        return await _page(visit, app, Form(app_form.values_of(app)), {"scope-send": _("Choose what the key may do.")})
    _key, text = await visit.rooms.store.api_keys.create(
        app.app_id, visit.form.text("key_name"), scopes, None, visit.who
    )
    return await visit.page("app_key.html", app=app, key=text, api_url=f"{visit.rooms.public_url}/api/v1/messages")


async def revoke_key(visit: Visit) -> Response:
    app = await _find(visit)
    try:
        key_id = parse_public_id(visit.form.text("key_id"))
        if key_id not in {key.api_key_id for key in await visit.rooms.store.api_keys.list(app.app_id)}:
            raise HTTPException(404)
        await visit.rooms.store.api_keys.revoke(key_id, visit.who)
    except (ValueError, WrongStateError):
        raise HTTPException(404) from None
    return visit.go(_path(app), said="key-revoked")


async def enable(visit: Visit) -> Response:
    return await _set_enabled(visit, True)


async def disable(visit: Visit) -> Response:
    return await _set_enabled(visit, False)


async def show_credentials(visit: Visit, app: App, password: str) -> Response:
    """What to enter into the device, with the password this once (empty: it was kept, or there is none)."""
    mail_server = await visit.rooms.store.mail_servers.default()
    return await visit.page(
        "app_credentials.html",
        app=app,
        password=password,
        has_password=bool(await visit.rooms.store.apps.passwords(app.app_id)),
        sender=_sender_of(app, mail_server.sender),
        listeners=fitting(visit.rooms.listeners(), app),
    )


async def _set_enabled(visit: Visit, is_enabled: bool) -> Response:
    app = await _find(visit)
    await visit.rooms.store.apps.set_enabled(app.app_id, is_enabled, visit.who)
    return visit.go(_path(app), said="enabled" if is_enabled else "disabled")


async def _page(visit: Visit, app: App, form: Form, troubles: Troubles) -> Response:
    store = visit.rooms.store
    mail_server = await store.mail_servers.default()
    return await visit.page(
        "app.html",
        status=422 if troubles else 200,
        app=app,
        values=app_form.given(form),
        troubles=troubles,
        app_form=app_form,
        mail_server=mail_server,
        sender=_sender_of(app, mail_server.sender),
        listeners=fitting(visit.rooms.listeners(), app),
        passwords=await store.apps.passwords(app.app_id),
        keys=await store.api_keys.list(app.app_id),
        scopes=SCOPES,
        refused=_refused_of(app, await store.refused_clients.list()),
        refused_senders=await store.refused_senders.of_app(app.app_id),
        api_url=f"{visit.rooms.public_url}/api/v1/messages",
        form=form,
    )


def _sender_of(app: App, default: str) -> str:
    """An address that the app may send from; empty when there is none yet."""
    addresses = [sender for sender in app.senders if not sender.startswith("@")]
    if addresses:
        return addresses[0]
    if not app.senders or f"@{default.rpartition('@')[2].lower()}" in app.senders:
        return default
    return app.login.partition("@")[0] + app.senders[0]


def _refused_of(app: App, refused: Sequence[RefusedClient]) -> list[RefusedClient]:
    """What was turned away from its addresses, or under its name, since it was last let in."""
    networks = parse_networks(" ".join(app.addresses))
    since_us = app.last_used_at_us or 0
    return [
        it
        for it in refused
        if it.last_at_us > since_us and (holds(networks, it.address) or (it.login and it.login == app.login))
    ]


def _path(app: App) -> str:
    return f"/apps/{public_id(app.app_id)}"


async def _find(visit: Visit) -> App:
    try:
        app = await visit.rooms.store.apps.find(parse_public_id(visit.part("app_id")))
    except ValueError:
        raise HTTPException(404) from None
    if app is None or app.is_internal:
        raise HTTPException(404)
    return app
