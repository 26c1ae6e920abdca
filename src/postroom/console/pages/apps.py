"""Apps & devices: who may hand us mail, with which user name and password, in whose name."""

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from postroom.console.forms import Troubles, address_trouble
from postroom.console.language import _
from postroom.console.visit import Visit
from postroom.ids import parse_public_id, public_id
from postroom.store.records import App, AppSettings

KINDS = ("Printer or scanner", "Monitoring", "Backup or storage", "Web application", "Script", "Other")


async def show(visit: Visit) -> Response:
    return await _list_page(visit, {})


async def create(visit: Visit) -> Response:
    """Make the app; its password is on the page that answers, and never again."""
    form = visit.form
    troubles = _judge_senders(form.lines("senders"))
    if not form.text("name"):
        troubles["name"] = _("Enter a name, such as HP 2nd floor.")
    if troubles:
        return await _list_page(visit, troubles)
    kind = form.text("kind") if form.text("kind") in KINDS else KINDS[-1]
    settings = AppSettings(name=form.text("name"), kind=kind, senders=form.lines("senders"))
    app, password = await visit.rooms.store.apps.create(settings, visit.who)
    return await _credentials_page(visit, app, password)


async def show_one(visit: Visit) -> Response:
    return await _app_page(visit, await _find(visit), {})


async def change_senders(visit: Visit) -> Response:
    app = await _find(visit)
    senders = visit.form.lines("senders")
    troubles = _judge_senders(senders)
    if troubles:
        return await _app_page(visit, app, troubles)
    await visit.rooms.store.apps.change(app.app_id, msgspec.structs.replace(app, senders=senders), visit.who)
    return visit.go(f"/apps/{public_id(app.app_id)}", said="senders")


async def rotate_password(visit: Visit) -> Response:
    app = await _find(visit)
    password = await visit.rooms.store.apps.add_password(app.app_id, visit.who)
    return await _credentials_page(visit, app, password)


async def enable(visit: Visit) -> Response:
    return await _set_enabled(visit, True)


async def disable(visit: Visit) -> Response:
    return await _set_enabled(visit, False)


async def _set_enabled(visit: Visit, is_enabled: bool) -> Response:
    app = await _find(visit)
    await visit.rooms.store.apps.set_enabled(app.app_id, is_enabled, visit.who)
    return visit.go(f"/apps/{public_id(app.app_id)}", said="enabled" if is_enabled else "disabled")


def _judge_senders(senders: tuple[str, ...]) -> Troubles:
    sentences = [address_trouble(sender, "sender") for sender in senders]
    wrong = [sentence for sentence in sentences if sentence]
    return {"senders": wrong[0]} if wrong else {}


async def _list_page(visit: Visit, troubles: Troubles) -> Response:
    store = visit.rooms.store
    return await visit.page(
        "apps.html",
        status=422 if troubles else 200,
        apps=[app for app in await store.apps.list() if not app.is_internal],
        kinds=KINDS,
        mail_server=await store.mail_servers.default(),
        troubles=troubles,
        form=visit.form,
    )


async def _app_page(visit: Visit, app: App, troubles: Troubles) -> Response:
    return await visit.page(
        "app.html",
        status=422 if troubles else 200,
        app=app,
        mail_server=await visit.rooms.store.mail_servers.default(),
        submission=visit.rooms.submission_address,
        troubles=troubles,
        form=visit.form,
    )


async def _credentials_page(visit: Visit, app: App, password: str) -> Response:
    return await visit.page(
        "app_credentials.html",
        app=app,
        password=password,
        mail_server=await visit.rooms.store.mail_servers.default(),
        submission=visit.rooms.submission_address,
    )


async def _find(visit: Visit) -> App:
    try:
        app = await visit.rooms.store.apps.find(parse_public_id(visit.part("app_id")))
    except ValueError:
        raise HTTPException(404) from None
    if app is None or app.is_internal:
        raise HTTPException(404)
    return app
