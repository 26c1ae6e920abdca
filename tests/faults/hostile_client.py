"""Our client in a process of its own, for the mail servers that mean it harm: `python -m tests.faults.hostile_client`.

It reads one `Errand` a line from its input, each a mail server to send to, and answers each with a line: the outcomes,
and how much memory the process held at most beyond what it held before.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from postroom.clock import SystemClock
from postroom.deliver import deadlines as limits
from postroom.deliver.deadlines import Deadlines
from postroom.deliver.smtp_transport import SmtpTransport
from postroom.identity.sign_ins import Password, SignIn
from postroom.network import verifying_context
from tests.unit.deliver.scripted_server import Loopback, a_mail_server, a_mailbox, a_parcel

SHORT = Deadlines(
    connect=1, greeting=1, hello=1, tls=1, sign_in=1, mail=1, rcpt=1, data=1, block=1, message=2, end=1, quit=1
)
LARGE = [(b"x" * 62 + b"\r\n") * 1024] * 512
AT_ONCE = 8


class Errand(msgspec.Struct, frozen=True):
    """Send a few messages at once to this server."""

    port: int = 0
    authority_pem: str = ""
    uses_tls: bool = False
    recipients: int = 1
    is_large: bool = True


class Costs(msgspec.Struct, frozen=True):
    kinds: list[str]
    codes: list[str]
    growth_kib: int


class OnePassword:
    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        return Password("scanner@example.test", "a password")


def memory_kib(name: str) -> int:
    """VmRSS, what we hold, or VmHWM, the most that we held (proc_pid_status(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1])


async def run(errand: Errand) -> Costs:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_kib("VmRSS")
    network = Loopback(errand.port, verifying_context(errand.authority_pem))
    server = a_mail_server(use_tls=errand.uses_tls)
    transport = SmtpTransport(network, OnePassword(), SystemClock(), server, a_mailbox(), deadlines=SHORT)
    recipients = [f"r{number}@example.net" for number in range(errand.recipients)]

    async def send() -> list[tuple[str, str]]:
        body = LARGE if errand.is_large else LARGE[:1]
        report = await transport.send(a_parcel(*recipients, body=body))
        failures = [getattr(outcome, "failure", None) for outcome in report.outcomes]
        kinds = [type(outcome).__name__ for outcome in report.outcomes]
        return [(kind, failure.code if failure else "") for kind, failure in zip(kinds, failures, strict=True)]

    told = [pair for pairs in await asyncio.gather(*(send() for _ in range(AT_ONCE))) for pair in pairs]
    await transport.close()
    kinds, codes = ({pair[place] for pair in told} for place in (0, 1))
    return Costs(sorted(kinds), sorted(codes), memory_kib("VmHWM") - before)


def main() -> None:
    limits.SLOWEST_BYTES_A_SECOND = 1 << 40
    for line in sys.stdin.buffer:
        costs = asyncio.run(run(msgspec.json.decode(line, type=Errand)))
        sys.stdout.buffer.write(msgspec.json.encode(costs) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
