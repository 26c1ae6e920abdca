"""Every route of the API in one table: method, path, scope, what it takes and what it answers."""

from dataclasses import dataclass, field
from typing import Any

from postroom.api import (
    actions,
    app_shapes,
    apps,
    batch,
    choices,
    client_secret,
    mail_servers,
    message_shapes,
    oauth,
    reading,
    sending,
    sending_settings,
    shapes,
)
from postroom.api.room import Answer

BASE = "/api/v1"


@dataclass(frozen=True)
class Parameter:
    """One of the address: `?limit=50`."""

    name: str
    description: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    is_repeatable: bool = False
    is_required: bool = False


@dataclass(frozen=True)
class Route:
    """One way to call the API."""

    method: str
    path: str
    scope: str
    answer: Answer
    summary: str
    group: str
    takes: Any = None
    """The structure of the JSON body; decoded before the route is called."""
    gives: Any = None
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    reads_body: bool = False
    """The route reads the body itself: `takes` only documents it."""
    media_types: tuple[str, ...] = ("application/json",)
    gives_media_type: str = "application/json"
    is_idempotent: bool = False
    """Takes an Idempotency-Key."""
    errors: tuple[int, ...] = ()
    """Beside those that its form tells: HTTP's codes."""

    @property
    def has_body(self) -> bool:
        return self.takes is not None or self.reads_body


_BOOLEAN: dict[str, Any] = {"type": "boolean"}
_WAIT = Parameter(
    "wait", "Seconds to wait for the outcome; then the answer is 200.", {"type": "integer", "minimum": 0, "maximum": 30}
)
_LIMIT = Parameter("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50})
_RAW = (
    Parameter("to", "For message/rfc822: a recipient of the envelope; else To, Cc and Bcc.", is_repeatable=True),
    Parameter("sender", "For message/rfc822: the envelope's sender; else Sender or From."),
    Parameter("lane", "For message/rfc822.", {"type": "string", "enum": ["high", "normal", "low"]}),
    Parameter("send_at", "For message/rfc822: not before.", {"type": "string", "format": "date-time"}),
    Parameter("expires_at", "For message/rfc822: not after.", {"type": "string", "format": "date-time"}),
    Parameter(
        "lifetime_hours",
        "For message/rfc822: give up after so many hours in which it could be sent.",
        {"type": "integer", "minimum": 1, "maximum": 720},
    ),
    Parameter("tag", "For message/rfc822.", is_repeatable=True),
)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST", "/messages", "send", sending.send, "Send a message", "Send",
        takes=shapes.NewMessage, gives=shapes.AcceptedMessage, status=202, parameters=(_WAIT, *_RAW),
        reads_body=True, media_types=("application/json", "multipart/form-data", "message/rfc822"), is_idempotent=True,
    ),
    Route(
        "POST", "/messages/batch", "send", batch.send_batch, "Send up to 100 messages", "Send",
        takes=list[shapes.NewMessage], gives=shapes.BatchAnswer, status=202, reads_body=True, is_idempotent=True,
        parameters=(Parameter("atomic", "All of them or none.", _BOOLEAN),),
    ),
    Route(
        "POST", "/attachments", "send", sending.upload, "Upload a file for a later message", "Send",
        gives=shapes.UploadedFile, status=201, reads_body=True, media_types=("application/octet-stream",),
        parameters=(Parameter("filename", "A name alone, such as report.pdf.", is_required=True),),
    ),
    Route(
        "GET", "/messages", "messages:read", reading.list_messages, "List messages", "Messages",
        gives=message_shapes.MessagePage, errors=(400,),
        parameters=(
            Parameter("q", "The words of the console's search, such as status:failed to:@contoso.com."),
            _LIMIT,
            Parameter("cursor", "Where to go on: next_cursor of the page before."),
        ),
    ),
    Route(
        "POST", "/messages/actions", "messages:write", actions.act_on_many, "Act on all messages of a search",
        "Messages", takes=message_shapes.BulkAction, gives=message_shapes.BulkAnswer,
    ),
    Route(
        "GET", "/messages/{message_id}", "messages:read", reading.show_message, "Show a message", "Messages",
        gives=message_shapes.FullMessage,
    ),
    Route(
        "PATCH", "/messages/{message_id}", "messages:write", actions.change_times,
        "Change time, expiry or lane while it waits", "Messages", takes=message_shapes.ChangedTimes,
        gives=message_shapes.FullMessage, errors=(409,),
    ),
    Route(
        "GET", "/messages/{message_id}/events", "messages:read", reading.list_events, "What happened to a message",
        "Messages", gives=message_shapes.Events,
    ),
    Route(
        "GET", "/messages/{message_id}/raw", "content:read", reading.read_raw, "The message as it is stored",
        "Messages", gives_media_type="message/rfc822", errors=(410,),
    ),
    Route(
        "GET", "/messages/{message_id}/content", "content:read", reading.read_content,
        "Texts and files, as a reader shows them", "Messages", gives=message_shapes.MessageContent, errors=(410, 413),
    ),
    *(
        Route(
            "POST", f"/messages/{{message_id}}/{name}", "messages:write", actions.action(name), summary, "Messages",
            gives=message_shapes.FullMessage, errors=(409,),
        )
        for name, summary in (
            ("cancel", "Send nothing more of it"),
            ("retry", "Send again what failed or was put off"),
            ("hold", "Let it wait until it is released"),
            ("release", "Send what was held"),
        )
    ),
    Route(
        "POST", "/messages/{message_id}/send-again", "messages:write", actions.send_one_again,
        "Send the same content as a new message", "Messages", gives=shapes.AcceptedMessage, status=202,
        errors=(409, 410, 413, 507),
    ),
    Route("GET", "/apps", "settings:read", apps.list_apps, "List apps and devices", "Apps", gives=app_shapes.AppList),
    Route(
        "POST", "/apps", "credentials:write", apps.create_app, "Make an app", "Apps",
        takes=app_shapes.NewApp, gives=app_shapes.CreatedApp, status=201,
    ),
    Route("GET", "/apps/{app_id}", "settings:read", apps.show_app, "Show an app", "Apps", gives=app_shapes.ShownApp),
    Route(
        "GET", "/apps/{app_id}/sheet", "settings:read", apps.show_sheet, "What to enter into a device", "Apps",
        gives=app_shapes.AppSheet,
    ),
    Route(
        "PUT", "/apps/{app_id}", "settings:write", apps.change_app, "Change an app's rules", "Apps",
        takes=app_shapes.AppShape, gives=app_shapes.AppLine,
    ),
    Route(
        "POST", "/apps/{app_id}/enable", "settings:write", apps.enable_app, "Switch an app on", "Apps",
        gives=app_shapes.AppLine,
    ),
    Route(
        "POST", "/apps/{app_id}/disable", "settings:write", apps.disable_app, "Switch an app off", "Apps",
        gives=app_shapes.AppLine,
    ),
    Route(
        "GET", "/apps/{app_id}/credentials", "settings:read", apps.list_credentials, "List an app's passwords",
        "Apps", gives=app_shapes.CredentialList,
    ),
    Route(
        "POST", "/apps/{app_id}/credentials/rotate", "credentials:write", apps.rotate,
        "Make a new password beside the newest one", "Apps", gives=app_shapes.NewPassword, status=201,
        parameters=(Parameter("short", "16 letters in place of 24.", _BOOLEAN),),
    ),
    Route(
        "DELETE", "/apps/{app_id}/credentials/{credential_id}", "credentials:write", apps.remove_credential,
        "Remove a password", "Apps", gives=app_shapes.Nothing,
    ),
    Route(
        "GET", "/apps/{app_id}/keys", "settings:read", apps.list_keys, "List an app's keys", "Apps",
        gives=app_shapes.KeyList,
    ),
    Route(
        "POST", "/apps/{app_id}/keys", "credentials:write", apps.create_key, "Make a key", "Apps",
        takes=app_shapes.NewKey, gives=app_shapes.CreatedKey, status=201,
    ),
    Route(
        "DELETE", "/apps/{app_id}/keys/{key_id}", "credentials:write", apps.revoke_key, "Revoke a key", "Apps",
        gives=app_shapes.Nothing,
    ),
    Route(
        "GET", "/refused-clients", "settings:read", apps.list_refused_clients, "List clients that were turned away",
        "Apps", gives=app_shapes.RefusedClientList,
    ),
    Route(
        "POST", "/refused-clients/{address}/ignore", "settings:write", apps.ignore_refused_client,
        "Show a client no more", "Apps", gives=app_shapes.Nothing,
    ),
    Route(
        "GET", "/mail-servers", "settings:read", mail_servers.list_all, "List the ways out", "Mail servers",
        gives=mail_servers.MailServerList,
    ),
    Route(
        "GET", "/mail-servers/{mail_server_id}", "settings:read", mail_servers.show,
        "Show a way out; `default` is an id", "Mail servers", gives=mail_servers.MailServerLine,
    ),
    Route(
        "PATCH", "/mail-servers/{mail_server_id}", "settings:write", mail_servers.change,
        "Change default, alternatives, limits, or pause it", "Mail servers", takes=mail_servers.ChangedMailServer,
        gives=mail_servers.MailServerLine, errors=(409,),
    ),
    Route(
        "DELETE", "/mail-servers/{mail_server_id}", "settings:write", mail_servers.remove, "Remove a way out",
        "Mail servers", status=204, errors=(409,),
    ),
    Route(
        "POST", "/mail-servers/{mail_server_id}/secret", "settings:write", client_secret.renew,
        "Renew the client secret: tried first, then used; the old one is kept for 24 hours", "Mail servers",
        takes=client_secret.NewSecret, gives=client_secret.SecretShape, errors=(409, 503),
    ),
    Route(
        "POST", "/mail-servers/{mail_server_id}/secret/back", "settings:write", client_secret.go_back,
        "Go back to the client secret of before", "Mail servers", gives=client_secret.SecretShape,
        errors=(409, 422, 503),
    ),
    Route(
        "GET", "/mail-servers/{mail_server_id}/oauth", "settings:read", oauth.show,
        "Show who is signed in; `draft` is what is being set up", "Mail servers", gives=oauth.SignInShape,
        errors=(409,),
    ),
    Route(
        "POST", "/mail-servers/{mail_server_id}/oauth/start", "settings:write", oauth.start,
        "Begin a sign-in: the page of Microsoft to open in any browser", "Mail servers", takes=oauth.AskedSignIn,
        gives=oauth.BegunShape, errors=(409, 422),
    ),
    Route(
        "POST", "/mail-servers/{mail_server_id}/oauth/complete", "settings:write", oauth.complete,
        "Complete it with the address on which it ended", "Mail servers", takes=oauth.Completed,
        gives=oauth.SignInShape, errors=(409, 422, 503),
    ),
    Route(
        "GET", "/routing-rules", "settings:read", mail_servers.list_rules, "Which mail goes which way",
        "Mail servers", gives=mail_servers.Rules,
    ),
    Route(
        "PUT", "/routing-rules", "settings:write", mail_servers.replace_rules, "Replace all routing rules",
        "Mail servers", takes=mail_servers.Rules, gives=mail_servers.Rules,
    ),
    Route(
        "GET", "/forecast", "messages:read", mail_servers.forecast, "When what is due will be out", "Messages",
        gives=mail_servers.ForecastShape,
    ),
    Route(
        "GET", "/choices", "messages:read", choices.list_open, "What was set aside after a long stop", "Messages",
        gives=choices.ChoiceList,
    ),
    Route(
        "POST", "/choices/{choice_id}", "messages:write", choices.answer,
        "Choose what of it is sent; the rest is held", "Messages", takes=choices.AnswerShape,
        gives=choices.ChoiceList, errors=(409,),
    ),
    Route(
        "GET", "/sending", "settings:read", sending_settings.show, "Show the settings of sending", "Settings",
        gives=sending_settings.SendingShape,
    ),
    Route(
        "PUT", "/sending", "settings:write", sending_settings.change, "Change the settings of sending", "Settings",
        takes=sending_settings.SendingShape, gives=sending_settings.SendingShape,
    ),
)  # fmt: skip
