"""The ways to the server: the socket of this machine, or another machine by SMTP."""

import os
import socket
from typing import TYPE_CHECKING

from postroom.cli.sendmail_config import Config
from postroom.cli.sendmail_dialogue import Dialogue
from postroom.cli.sendmail_ending import SendmailError, ServerAwayError

if TYPE_CHECKING:
    import smtplib

LOCAL_PATIENCE_SECONDS = 8.0
"""A cron job waits ten seconds at most: two are left for the drop folder."""
REMOTE_PATIENCE_SECONDS = 10.0


def open_dialogue(config: Config) -> Dialogue:
    """Greeted and, elsewhere, signed in. ServerAwayError, SendmailError."""
    dialogue = (
        Dialogue(connect_remote(config), REMOTE_PATIENCE_SECONDS)
        if config.host
        else Dialogue(connect_socket(config), LOCAL_PATIENCE_SECONDS)
    )
    try:
        if config.host:
            dialogue.say_hello(socket.getfqdn())  # what is offered may be more after the sign-in (RFC 4954 6.)
        else:
            dialogue.greet("localhost")
    except BaseException:
        dialogue.close()
        raise
    return dialogue


def connect_socket(config: Config) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(LOCAL_PATIENCE_SECONDS)
    try:
        connection.connect(config.socket)
    except OSError as trouble:
        connection.close()
        # No strerror: the path is longer than a socket's may be.
        raise ServerAwayError(f"{config.socket}: {trouble.strerror or trouble}") from None
    return connection


def connect_remote(config: Config) -> socket.socket:
    """A connection that has been greeted, is under TLS and signed in, as the settings want it.

    Names are looked up without a time limit of their own, so all of it happens on a thread that is not waited for.
    """
    import threading

    found: list[socket.socket] = []
    troubles: list[Exception] = []

    def connect() -> None:
        try:
            found.append(_sign_in(config))
        except Exception as trouble:  # told by who waits
            troubles.append(trouble)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(REMOTE_PATIENCE_SECONDS)
    if found:
        return found[0]
    raise _remote_trouble(config, troubles[0] if troubles else TimeoutError())


def _sign_in(config: Config) -> socket.socket:
    import smtplib
    import ssl

    password = _read_password(config)
    if config.tls == "implicit":
        context = ssl.create_default_context(cafile=config.ca_file or None)
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            config.host, config.port, timeout=REMOTE_PATIENCE_SECONDS, context=context
        )
    else:
        client = smtplib.SMTP(config.host, config.port, timeout=REMOTE_PATIENCE_SECONDS)
        if config.tls == "starttls":
            client.starttls(context=ssl.create_default_context(cafile=config.ca_file or None))
    if config.user:
        client.login(config.user, password)
    return _connection_of(client)


def _connection_of(client: "smtplib.SMTP") -> socket.socket:
    """Every reply has been read, so the client holds back nothing that was for us."""
    connection = client.sock
    assert isinstance(connection, socket.socket)
    client.sock = None
    return connection


def _read_password(config: Config) -> str:
    if not config.user:
        return ""
    try:
        with open(config.password_file, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as trouble:
        why = trouble.strerror if isinstance(trouble, OSError) else "it is not UTF-8"
        text = f"The password for {config.host} cannot be read from {config.password_file or 'password_file'}: {why}."
        raise SendmailError(os.EX_CONFIG, text) from None


def _remote_trouble(config: Config, trouble: Exception) -> Exception:
    import smtplib
    import ssl

    server = f"{config.host}:{config.port}"
    match trouble:
        case SendmailError():
            return trouble
        case ssl.SSLCertVerificationError():
            text = f"{server} does not show a certificate to trust ({trouble.verify_message}). Name its CA in ca_file."
            return SendmailError(os.EX_CONFIG, text)
        case smtplib.SMTPAuthenticationError():
            text = f"{server} does not let {config.user} sign in: {_words(trouble)}"
            return SendmailError(os.EX_TEMPFAIL if trouble.smtp_code < 500 else os.EX_NOPERM, text)
        case smtplib.SMTPNotSupportedError():
            return SendmailError(os.EX_CONFIG, f"{server} does not offer what sendmail.toml asks for: {trouble}")
        case smtplib.SMTPResponseException():
            return ServerAwayError(f"{server}: {_words(trouble)}")
        case TimeoutError():
            return ServerAwayError(f"{server} does not answer")
        case OSError():
            return ServerAwayError(f"{server}: {trouble.strerror or trouble}")
    return trouble


def _words(trouble: "smtplib.SMTPResponseException") -> str:
    said = trouble.smtp_error
    return f"{trouble.smtp_code} {said.decode('utf-8', 'replace') if isinstance(said, bytes) else said}"
