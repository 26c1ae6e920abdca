"""What is needed to start: frozen, from a TOML file with the environment laid over it.

What the administrator changes in the console lives in the store, never here. Each field carries its documentation;
`postroom init` writes the file from it, and a test holds `docs/settings.md` against it.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from postroom.errors import SettingsError

Port = Annotated[int, Meta(ge=0, le=65535)]


class ConsoleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pages that people open in a browser."""

    host: Annotated[str, Meta(description="Address the console listens on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the console; 0 takes a free one.")] = 8025
    public_url: Annotated[
        str,
        Meta(
            description="How people reach the console, such as https://mail.example.lan. Microsoft accepts https, "
            "or http://localhost only, as the address a sign-in returns to. Empty: http://localhost and the port."
        ),
    ] = ""


Hosts = Annotated[str, Meta(description="Addresses to listen on, with blanks between them; 0.0.0.0 and :: for all.")]


class SmtpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all SMTP listeners have in common."""

    host_name: Annotated[
        str, Meta(description="Name in the greeting and in the certificate. Empty: the machine's name.")
    ] = ""
    certificate_file: Annotated[
        str, Meta(description="PEM file with the certificate chain. Empty: a self-signed one is made.")
    ] = ""
    private_key_file: Annotated[str, Meta(description="PEM file with the certificate's private key.")] = ""
    size_limit_bytes: Annotated[
        int,
        Meta(ge=1024, description="Largest message taken; Exchange Online's own default is 35 MB a mailbox."),
    ] = 36_700_160
    connection_limit: Annotated[
        int,
        Meta(
            ge=1,
            description="Connections at a time, of all clients and listeners; each takes 6 to 16 KiB "
            "idle, and up to 400 KiB while a message comes.",
        ),
    ] = 500
    client_connection_limit: Annotated[int, Meta(ge=1, description="Connections at a time, of one address.")] = 100
    proxies: Annotated[
        str,
        Meta(
            description="Addresses or networks of load balancers, with blanks between them: they, and only they, begin "
            "each connection with a PROXY header that names the client."
        ),
    ] = ""


class SubmissionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SMTP listener for apps and devices: STARTTLS is required before they sign in."""

    enabled: Annotated[bool, Meta(description="Whether this listener runs.")] = True
    host: Hosts = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the listener; 0 takes a free one.")] = 2587


class ImplicitTlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SMTP listener where TLS comes first, before the greeting: what programs call SSL, port 465."""

    enabled: Annotated[bool, Meta(description="Whether this listener runs.")] = False
    host: Hosts = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the listener; 0 takes a free one.")] = 2465


class LocalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SMTP listener for programs of this machine: no TLS, no sign-in, loopback only."""

    enabled: Annotated[
        bool, Meta(description="Listen. Any program of this machine may then send within the limits of its app.")
    ] = False
    host: Hosts = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the listener; 0 takes a free one.")] = 2526


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SMTP listener for old printers and the like, known by their addresses: never on a public address."""

    enabled: Annotated[bool, Meta(description="Listen. Only clients at an address that an app names are served.")] = (
        False
    )
    host: Hosts = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the listener; 0 takes a free one.")] = 2525


class SendmailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Unix socket and the drop folder of the `sendmail` command."""

    enabled: Annotated[bool, Meta(description="Open the socket, and pick up what was dropped.")] = True
    socket: Annotated[
        str, Meta(description="Socket that every user of this machine may write to; relative to this file.")
    ] = "run/submit.sock"
    drop_folder: Annotated[
        str, Meta(description="Where sendmail leaves mail while the server is down; relative to this file.")
    ] = "run/maildrop"
    default_domain: Annotated[
        str, Meta(description="Put behind addresses without a domain, such as root. Empty: the mail server's sender's.")
    ] = ""


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much mail may wait: beyond it, new mail is refused for a while (452, 507)."""

    recipient_limit: Annotated[int, Meta(ge=1, description="Recipients that may wait to be sent.")] = 1_000_000
    reserved_bytes: Annotated[int, Meta(ge=0, description="Left free on the disk, for sending what was taken.")] = (
        67_108_864
    )


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long what was sent stays on the disk."""

    content_days: Annotated[
        int, Meta(ge=0, description="Days a message's content is kept after its last recipient ended.")
    ] = 7
    metadata_days: Annotated[int, Meta(ge=0, description="Days its addresses, subject and timeline are kept.")] = 90


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What monitors read at /metrics, with a key that has the scope metrics:read."""

    open_to_loopback: Annotated[
        bool, Meta(description="Let programs of this machine read them without a key; never through a proxy.")
    ] = False


class RehearsalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rehearse with a simulated Microsoft 365 in place of the real one; nothing leaves this machine."""

    enabled: Annotated[
        bool,
        Meta(
            description="Send smtp.office365.com, login.microsoftonline.com and graph.microsoft.com to a simulator "
            "that starts with Postroom. Every page then says Rehearsal."
        ),
    ] = False
    pages_port: Annotated[Port, Meta(description="Port of the simulator's pages on localhost; 0 takes a free one.")] = (
        8026
    )


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written to standard error."""

    level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    ] = "info"
    format: Annotated[str, Meta(pattern="^(text|json)$", description="text for people, json for machines.")] = "text"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything needed to start."""

    instance_name: Annotated[str, Meta(description="Shown in page titles and in test mails.")] = "Postroom"
    data_folder: Annotated[
        str, Meta(description="Folder of the database and of large messages; relative to this file.")
    ] = "data"
    vault_key_file: Annotated[
        str,
        Meta(
            description="File with the key that seals secrets, made at the first start, unless the key comes as the "
            "systemd credential vault.key or in POSTROOM_VAULT_KEY (docs/vault.md). Keep a copy apart from the "
            "backups. Empty: vault.key beside the data folder."
        ),
    ] = ""
    console: ConsoleSettings = ConsoleSettings()
    smtp: SmtpSettings = SmtpSettings()
    submission: SubmissionSettings = SubmissionSettings()
    implicit_tls: ImplicitTlsSettings = ImplicitTlsSettings()
    local: LocalSettings = LocalSettings()
    device: DeviceSettings = DeviceSettings()
    sendmail: SendmailSettings = SendmailSettings()
    outbox: OutboxSettings = OutboxSettings()
    retention: RetentionSettings = RetentionSettings()
    metrics: MetricsSettings = MetricsSettings()
    rehearsal: RehearsalSettings = RehearsalSettings()
    log: LogSettings = LogSettings()

    @property
    def data_path(self) -> Path:
        return Path(self.data_folder)

    @property
    def vault_key_path(self) -> Path:
        return Path(self.vault_key_file) if self.vault_key_file else self.data_path.parent / "vault.key"


class Key(msgspec.Struct, frozen=True):
    """One key of the settings file, as documentation and environment see it."""

    section: str
    name: str
    kind: type
    default: Any
    description: str

    @property
    def variable(self) -> str:
        """The environment variable that overrides it: POSTROOM_CONSOLE_PORT."""
        return "_".join(filter(None, ("POSTROOM", self.section, self.name))).upper()


def setting_keys(struct: type[msgspec.Struct] = Settings, section: str = "") -> Iterator[Key]:
    """Every key in the order of the file; the sections after the keys that stand alone."""
    hints = get_type_hints(struct, include_extras=True)
    sections = []
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            sections.append((hint, field.name))
            continue
        described = next(m.description for m in reversed(hint.__metadata__) if m.description)
        kind = get_args(hint)[0]
        yield Key(section, field.name, kind, field.default, described)
    for hint, name in sections:
        yield from setting_keys(hint, name)


def load_settings(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the file (or only defaults), lay the environment over it, and check everything.

    Errors are SettingsError: one sentence with the key, the reason, and what may stand there.
    """
    written = _read_file(path) if path is not None else {}
    _lay_environment_over(written, environment)
    try:
        settings = msgspec.convert(written, Settings)
    except msgspec.ValidationError as trouble:
        raise SettingsError(f"{path or 'The environment'}: {trouble}. See docs/settings.md for each key.") from None
    return _anchor_paths(settings, path.parent if path is not None else Path())


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"There is no settings file {path}. Write one with: postroom init --config {path}"
        ) from None
    except OSError as trouble:
        raise SettingsError(f"The settings file {path} cannot be read: {trouble.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as trouble:
        raise SettingsError(f"The settings file {path} is not valid TOML: {trouble}.") from None


def _lay_environment_over(written: dict[str, Any], environment: Mapping[str, str]) -> None:
    for key in setting_keys():
        text = environment.get(key.variable)
        if text is None:
            continue
        table = written.setdefault(key.section, {}) if key.section else written
        try:
            table[key.name] = msgspec.convert(text, key.kind, strict=False)
        except msgspec.ValidationError as trouble:
            raise SettingsError(f"The variable {key.variable} is {text!r}: {trouble}.") from None


def _anchor_paths(settings: Settings, folder: Path) -> Settings:
    """Relative paths start at the settings file, so that it does not matter where the program was started."""

    def anchor(text: str) -> str:
        return str((folder / text).absolute()) if text else ""

    smtp = msgspec.structs.replace(
        settings.smtp,
        certificate_file=anchor(settings.smtp.certificate_file),
        private_key_file=anchor(settings.smtp.private_key_file),
    )
    sendmail = msgspec.structs.replace(
        settings.sendmail, socket=anchor(settings.sendmail.socket), drop_folder=anchor(settings.sendmail.drop_folder)
    )
    return msgspec.structs.replace(
        settings,
        data_folder=anchor(settings.data_folder),
        vault_key_file=anchor(settings.vault_key_file),
        smtp=smtp,
        sendmail=sendmail,
    )


def settings_text(chosen: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The file that `postroom init` writes: every key, its meaning, and its default or what was chosen.

    `chosen` names keys as `section.name`.
    """
    lines = ["# Postroom: what is needed to start. Everything else is set in the console.", ""]
    section = ""
    for key in setting_keys():
        if key.section != section:
            section = key.section
            meaning = (type(getattr(Settings(), section)).__doc__ or "").strip()
            lines += [f"# {meaning}", f"[{section}]", ""]
        lines += [f"# {key.description}", f"# Environment: {key.variable}"]
        lines += [f"{key.name} = {_toml(chosen.get(f'{key.section}.{key.name}', key.default))}", ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
