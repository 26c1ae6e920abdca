"""Apps & devices: who may hand us mail, who was turned away, and the form that makes an app of it."""

import ipaddress

from starlette.responses import Response

from postroom.clock import DAY_US
from postroom.console.forms import Form, Troubles
from postroom.console.language import _
from postroom.console.pages import app_form
from postroom.console.pages.app import show_credentials
from postroom.console.visit import Visit
from postroom.store.records import App, AppFigures

UNUSED_US = 90 * DAY_US
NO_FIGURES = AppFigures(0, 0)


async def show(visit: Visit) -> Response:
    store = visit.rooms.store
    apps = await store.apps.list()
    figures = await store.apps.figures(visit.now_us - DAY_US)
    return await visit.page(
        "apps.html",
        apps=[(app, figures.get(app.app_id, NO_FIGURES), _state(app, visit.now_us)) for app in apps],
        refused=await store.refused_clients.list(),
        mail_server=await store.mail_servers.default(),
    )


async def show_new(visit: Visit) -> Response:
    """The form; with ?address= that of a device that was turned away."""
    sender = (await visit.rooms.store.mail_servers.default()).sender
    values = app_form.defaults(_inside(visit.asked("address")), sender.rpartition("@")[2])
    return await _new_page(visit, Form(values), {})


async def create(visit: Visit) -> Response:
    """Make the app; its password is on the page that answers, and never again."""
    form, apps = visit.form, visit.rooms.store.apps
    settings, troubles = app_form.read_settings(form)
    method = form.text("method")
    if method == "kept" and not form.text("kept_login"):
        troubles["kept_login"] = _("Enter the user name that the program has.")
    if method == "kept" and not form.secret("kept_password"):
        troubles["kept_password"] = _("Enter the password that the program has.")
    if troubles:
        return await _new_page(visit, form, troubles)
    password = ""
    try:
        if method == "address" or (settings.local_users and method != "kept" and not settings.addresses):
            app = await apps.create_without_password(settings, visit.who)
        else:
            kept = (form.text("kept_login"), form.secret("kept_password")) if method == "kept" else ("", "")
            app, password = await apps.create(settings, visit.who, login=kept[0], password=kept[1])
    except ValueError as trouble:
        return await _new_page(visit, form, {"kept_login" if method == "kept" else "name": str(trouble)})
    for address in settings.addresses:
        await visit.rooms.store.refused_clients.forget(address)
    return await show_credentials(visit, app, "" if method == "kept" else password)


async def ignore(visit: Visit) -> Response:
    """Show a client that was turned away no more."""
    await visit.rooms.store.refused_clients.ignore(visit.form.text("address"), visit.who)
    return visit.go("/apps", said="ignored")


async def _new_page(visit: Visit, form: Form, troubles: Troubles) -> Response:
    return await visit.page(
        "app_new.html",
        status=422 if troubles else 200,
        values=app_form.given(form),
        troubles=troubles,
        app_form=app_form,
        mail_server=await visit.rooms.store.mail_servers.default(),
        form=form,
    )


def _state(app: App, now_us: int) -> str:
    """disabled, new, unused or active."""
    if not app.is_enabled:
        return "disabled"
    if app.last_used_at_us is None:
        return "new"
    return "unused" if now_us - app.last_used_at_us > UNUSED_US else "active"


def _inside(text: str) -> str:
    """An address out of a link, if it is one."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
