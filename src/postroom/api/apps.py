"""Apps & devices over the API: what the console's pages do, for who sets up many."""

import ipaddress
from typing import Any

import msgspec
from starlette.responses import Response

from postroom.accept.legacy import why_not_allowed
from postroom.accept.listener_plan import fitting
from postroom.api.app_shapes import (
    AppLine,
    AppList,
    AppShape,
    AppSheet,
    CreatedApp,
    CreatedKey,
    Credential,
    CredentialList,
    KeyLine,
    KeyList,
    ListenerLine,
    NewApp,
    NewKey,
    NewPassword,
    Nothing,
    RefusedClientLine,
    RefusedClientList,
    RefusedSenderLine,
    ShownApp,
)
from postroom.api.problems import ApiError, invalid, not_found
from postroom.api.room import Call, app_id_text, read_id, say
from postroom.api.shapes import microseconds_of, time_of, time_or_none
from postroom.errors import WrongStateError
from postroom.ids import public_id
from postroom.store.records import ApiKey, App, AppPassword, AppSettings, RefusedClient, RefusedSender

_SETTINGS = tuple(field.name for field in msgspec.structs.fields(AppShape))


async def list_apps(call: Call) -> Response:
    return say(AppList([app_line(app) for app in await call.room.store.apps.list()]))


async def create_app(call: Call) -> Response:
    """With a password, unless its address or its user on this machine is enough."""
    asked = call.body
    assert isinstance(asked, NewApp)
    settings = _settings(asked)
    apps = call.room.store.apps
    try:
        if not settings.needs_sign_in or (settings.local_users and not asked.login):
            app, password = await apps.create_without_password(settings, call.caller.who), None
        else:
            if bool(asked.login) != bool(asked.password):
                raise invalid("password", "a kept user name needs its password, and the other way round")
            app, password = await apps.create(
                settings, call.caller.who, login=asked.login, password=asked.password, is_short=asked.short_password
            )
    except ValueError as trouble:
        raise invalid("", str(trouble)) from None
    for address in settings.addresses:
        await call.room.store.refused_clients.forget(str(ipaddress.ip_network(address, strict=False).network_address))
    # Who chose a password knows it already.
    return say(CreatedApp(app_line(app), None if asked.password else password), 201)


async def show_app(call: Call) -> Response:
    app = await _find(call)
    refused = await call.room.store.refused_senders.of_app(app.app_id)
    shown = msgspec.structs.asdict(app_line(app))
    return say(ShownApp(**shown, refused_senders=[_refused_sender(it) for it in refused]))


async def show_sheet(call: Call) -> Response:
    """What to enter into the device; the password was shown when it was made."""
    app = await _find(call)
    senders = app.senders
    if not senders:
        senders = tuple(filter(None, ((await call.room.store.mail_servers.default()).sender,)))
    return say(
        AppSheet(
            name=app.name,
            login=app.login,
            needs_sign_in=app.needs_sign_in,
            addresses=list(app.addresses),
            senders=list(senders),
            listeners=[
                ListenerLine(it.name, it.host, it.port, it.encryption) for it in fitting(call.room.listeners(), app)
            ],
        )
    )


async def change_app(call: Call) -> Response:
    """The whole of its rules; what is left out takes its default."""
    asked = call.body
    assert isinstance(asked, AppShape)
    app = await _find(call)
    try:
        changed = await call.room.store.apps.change(app.app_id, _settings(asked), call.caller.who)
    except ValueError as trouble:
        raise invalid("", str(trouble)) from None
    return say(app_line(changed))


async def enable_app(call: Call) -> Response:
    return await _set_enabled(call, True)


async def disable_app(call: Call) -> Response:
    """Apps are never deleted: their messages name them."""
    return await _set_enabled(call, False)


async def list_credentials(call: Call) -> Response:
    app = await _find(call)
    return say(CredentialList([_credential(it) for it in await call.room.store.apps.passwords(app.app_id)]))


async def rotate(call: Call) -> Response:
    """A new password beside the newest one."""
    app = await _find(call)
    password = await call.room.store.apps.add_password(app.app_id, call.caller.who, is_short=call.flag("short"))
    return say(NewPassword(app.login, password), 201)


async def remove_credential(call: Call) -> Response:
    app = await _find(call)
    credential_id = read_id(call.part("credential_id"), "cred", "credential")
    try:
        await call.room.store.apps.remove_password(app.app_id, credential_id, call.caller.who)
    except WrongStateError:
        raise not_found("credential") from None
    return say(Nothing())


async def list_keys(call: Call) -> Response:
    app = await _find(call)
    return say(KeyList([_key(it) for it in await call.room.store.api_keys.list(app.app_id)]))


async def create_key(call: Call) -> Response:
    asked = call.body
    assert isinstance(asked, NewKey)
    app = await _find(call)
    beyond = [scope for scope in asked.scopes if scope not in call.caller.scopes]
    if beyond:
        raise ApiError(
            "insufficient_scope",
            f"A key cannot give what it does not have: {', '.join(beyond)}.",
            "Make the key in the console.",
        )
    expires_at_us = microseconds_of(asked.expires_at) if asked.expires_at is not None else None
    if expires_at_us is not None and expires_at_us <= call.room.clock.now_us():
        raise invalid("expires_at", "it is over already")
    key, text = await call.room.store.api_keys.create(
        app.app_id, asked.name, asked.scopes, expires_at_us, call.caller.who
    )
    return say(CreatedKey(_key(key), text), 201)


async def revoke_key(call: Call) -> Response:
    app = await _find(call)
    key_id = read_id(call.part("key_id"), "key", "key")
    if key_id not in {it.api_key_id for it in await call.room.store.api_keys.list(app.app_id)}:
        raise not_found("key")
    await call.room.store.api_keys.revoke(key_id, call.caller.who)
    return say(Nothing())


async def list_refused_clients(call: Call) -> Response:
    """Addresses that were turned away, so that an app can be made of them."""
    return say(RefusedClientList([_refused(it) for it in await call.room.store.refused_clients.list()]))


async def ignore_refused_client(call: Call) -> Response:
    await call.room.store.refused_clients.ignore(call.part("address"), call.caller.who)
    return say(Nothing())


def app_line(app: App) -> AppLine:
    values: dict[str, Any] = {name: getattr(app, name) for name in _SETTINGS}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return AppLine(
        **values,
        id=app_id_text(app.app_id),
        login=app.login,
        enabled=app.is_enabled,
        created_at=time_of(app.created_at_us),
        last_used_at=time_or_none(app.last_used_at_us),
        last_used_from=app.last_used_from,
        last_used_tls=app.last_used_tls,
        last_used_mechanism=app.last_used_mechanism,
    )


def _refused_sender(it: RefusedSender) -> RefusedSenderLine:
    return RefusedSenderLine(
        sender=it.sender,
        mail_server=it.mail_server_name,
        code=it.failure.code,
        text=it.failure.text,
        remedy=it.failure.remedy_id,
        refused_at=time_of(it.refused_at_us),
    )


def _settings(asked: AppShape) -> AppSettings:
    values: dict[str, Any] = {name: getattr(asked, name) for name in _SETTINGS}
    values = {name: tuple(it) if isinstance(it, list) else it for name, it in values.items()}
    settings = AppSettings(**values)
    trouble = why_not_allowed(settings)
    if trouble is not None:
        raise invalid("addresses", trouble)
    return settings


async def _find(call: Call) -> App:
    app = await call.room.store.apps.find_by_name(call.part("app_id"))
    if app is None:
        raise not_found("app")
    return app


async def _set_enabled(call: Call, is_enabled: bool) -> Response:
    app = await _find(call)
    await call.room.store.apps.set_enabled(app.app_id, is_enabled, call.caller.who)
    return say(app_line(await _find(call)))


def _credential(password: AppPassword) -> Credential:
    return Credential(
        f"cred_{public_id(password.credential_id)}",
        password.chosen_by_a_person,
        time_of(password.created_at_us),
        time_or_none(password.last_used_at_us),
    )


def _key(key: ApiKey) -> KeyLine:
    return KeyLine(
        id=f"key_{public_id(key.api_key_id)}",
        name=key.name,
        shown_start=key.shown_start,
        scopes=list(key.scopes),
        created_at=time_of(key.created_at_us),
        expires_at=time_or_none(key.expires_at_us),
        last_used_at=time_or_none(key.last_used_at_us),
        last_used_from=key.last_used_from,
    )


def _refused(client: RefusedClient) -> RefusedClientLine:
    return RefusedClientLine(
        address=client.address,
        listener=client.listener,
        helo=client.helo,
        login=client.login,
        code=client.code,
        text=client.text,
        attempts=client.attempts,
        first_at=time_of(client.first_at_us),
        last_at=time_of(client.last_at_us),
    )
