"""What goes wrong below SMTP, in words, and what it means for the mailbox: no I/O, only errors in and outcomes out.

A mail server that cannot be reached stops its mailbox, so that the mail waits without growing old.
"""

import socket
import ssl

from postroom.outcome import Failure, FailureClass, StopCause, Stopped


def away(code: str, text: str, server: str, *, command: str = "CONNECT", remedy_id: str = "no_connection") -> Stopped:
    """The mail server cannot be talked to; nothing is said about any message."""
    failure_class = FailureClass.TLS if code.startswith("tls_") else FailureClass.NETWORK
    failure = Failure(failure_class, code, text, remedy_id, command=command, server=server)
    return Stopped(failure, StopCause.MAIL_SERVER_AWAY)


def no_connection(error: OSError, server: str) -> Stopped:
    """The outcome of a connection that was not made; `server` is host and port as people know them."""
    if isinstance(error, socket.gaierror):
        text = f"The name of {server} cannot be found: {error.strerror or 'no address'}."
        return away("name_not_found", text, server, remedy_id="name_not_found")
    if isinstance(error, TimeoutError):
        return away("connection_timeout", f"{server} did not answer in time.", server)
    if isinstance(error, ConnectionRefusedError):
        return away("connection_refused", f"{server} refused the connection.", server)
    return away("no_connection", f"No connection to {server}: {error.strerror or error}.", server)


def tls_failed(error: Exception, server: str, seen: str | None = None) -> Stopped:
    """The outcome of a TLS handshake that failed; `seen` describes the certificate that was shown."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_trusted(error, server, seen)
    reason = getattr(error, "reason", None) or ""
    if reason in {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"}:
        text = f"{server} speaks no TLS 1.2 or newer."
        return away("tls_too_old", text, server, command="STARTTLS", remedy_id="tls_too_old")
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        text = f"{server} does not speak TLS on this port; the type SMTPS usually needs port 465."
        return away("tls_not_spoken", text, server, command="STARTTLS", remedy_id="settings_do_not_fit")
    words = str(error) or "the connection was closed"
    return away("tls_failed", f"TLS with {server} was not agreed on: {words}.", server, command="STARTTLS")


def _not_trusted(error: ssl.SSLCertVerificationError, server: str, seen: str | None) -> Stopped:
    reason = error.verify_message or "it cannot be verified"
    text = f"The certificate of {server} is not trusted: {reason}."
    if seen:
        text += f" It showed {seen}."
    failure = Failure(FailureClass.TLS, "tls_not_trusted", text, "tls_not_trusted", command="STARTTLS", server=server)
    return Stopped(failure, StopCause.CONFIGURATION)
