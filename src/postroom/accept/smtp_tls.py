"""TLS over bytes: what came in, and what must go out. No I/O, so that bytes that were read before are not lost to it.

The loop's own `start_tls` cannot be handed what came behind a PROXY header, and hides why a handshake failed.
"""

import contextlib
import ssl
import warnings

_PLAIN_CHUNK_BYTES = 64 * 1024


class TlsError(Exception):
    """The handshake or a record could not be understood; the text is OpenSSL's reason in a few words."""


class TlsLayer:
    """The server's end of one TLS connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.has_ended = False
        """The client said that nothing more will come."""

    @property
    def version(self) -> str | None:
        return self._ssl.version()

    def shake_hands(self, received: bytes) -> bool:
        """Whether it is done; `take_outgoing` goes out either way, also after a TlsError: it holds the alert."""
        self._incoming.write(received)
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as trouble:
            raise TlsError(_reason(trouble)) from None
        return True

    def open(self, received: bytes) -> bytes:
        """The client's bytes in clear, as far as they are complete."""
        self._incoming.write(received)
        plain = bytearray()
        try:
            while part := self._ssl.read(_PLAIN_CHUNK_BYTES):
                plain += part
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        except ssl.SSLError as trouble:
            raise TlsError(_reason(trouble)) from None
        return bytes(plain)

    def seal(self, plain: bytes) -> bytes:
        """What to write for these bytes, and for whatever else must go out."""
        try:
            self._ssl.write(plain)
        except ssl.SSLError as trouble:
            raise TlsError(_reason(trouble)) from None
        return self._outgoing.read()

    def say_goodbye(self) -> bytes:
        """The notice that we close (RFC 8446 6.1); the client's own is not waited for."""
        with contextlib.suppress(ssl.SSLError, ValueError):  # it wants to read the client's notice
            self._ssl.unwrap()
        return self._outgoing.read()

    def take_outgoing(self) -> bytes:
        return self._outgoing.read()


def allow_old_tls(context: ssl.SSLContext) -> None:
    """TLS 1.0 and 1.1, with the ciphers and hashes of their time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # they are deprecated: that is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")


def _reason(trouble: ssl.SSLError) -> str:
    return (trouble.reason or str(trouble)).lower().replace("_", " ")
