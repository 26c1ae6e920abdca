"""After a certificate was not trusted: a look at it, so that a person learns who issued it.

Nothing is said over the unverified connection; it is closed as soon as the certificate has been seen.
"""

import asyncio
import contextlib
import ssl
from dataclasses import replace

from postroom.deliver.certificates import describe_seen
from postroom.deliver.smtp_stream import SmtpStream
from postroom.network import Route
from postroom.store.records import EmailType

LOOK_SECONDS = 10.0


async def find_seen_certificate(route: Route, email_type: EmailType) -> str | None:
    """The certificate at `route` in words; None when it does not show itself in time."""
    looking = replace(route, tls=_unverifying_context())
    with contextlib.suppress(OSError):  # TimeoutError, ssl.SSLError and BrokenConnectionError are
        async with asyncio.timeout(LOOK_SECONDS):
            return await _look(looking, email_type)
    return None


async def _look(route: Route, email_type: EmailType) -> str | None:
    over_tls = email_type is EmailType.SMTPS
    stream = await SmtpStream.connect(route, with_tls=over_tls, timeout_seconds=LOOK_SECONDS)
    try:
        if not over_tls:
            await _ask_for_tls(stream, route)
        encoded = stream.tls.getpeercert(binary_form=True) if stream.tls else None
        return describe_seen(encoded) if encoded else None
    finally:
        stream.abort()


async def _ask_for_tls(stream: SmtpStream, route: Route) -> None:
    await stream.next_reply(LOOK_SECONDS)
    for line in (b"EHLO [127.0.0.1]\r\n", b"STARTTLS\r\n"):
        stream.write(line)
        await stream.next_reply(LOOK_SECONDS)
    await stream.upgrade(route.tls, route.server_name, LOOK_SECONDS)


def _unverifying_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
