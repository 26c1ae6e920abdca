"""A scan of 25 MB passes through `postroom serve` whole, while its process grows by a few MiB only."""

import base64
import hashlib
import os
import smtplib
import ssl
from pathlib import Path

import pytest

from postroom.message import RecipientState
from tests.faults.serving import SENDER, Postroom, WitnessProcess, postroom_in, wait_for, witness_in

pytestmark = pytest.mark.anyio

SCAN_BYTES = 25_000_000
GROWTH_LIMIT_KIB = 16 * 1024
CHUNK_BYTES = 1 << 20


def compose_scan(size_bytes: int, message_id: str) -> tuple[bytes, str]:
    """A message with an attachment of so many random bytes, and the digest of what follows its head."""
    head = (
        f"From: {SENDER}\r\nTo: ops@witness.test\r\nSubject: Scan\r\nMessage-ID: {message_id}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    )
    attached = base64.encodebytes(os.urandom(size_bytes)).replace(b"\n", b"\r\n")
    body = (
        b"--b\r\nContent-Type: text/plain\r\n\r\nThe scan is attached.\r\n.\r\n"
        b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="scan.pdf"\r\n\r\n' + attached + b"--b--\r\n"
    )
    return head.encode() + body, hashlib.sha256(body).hexdigest()


def hand_in(postroom: Postroom, smtp: str, content: bytes) -> None:
    host, _, port = smtp.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=60) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(postroom.login, postroom.password)
        refused = client.sendmail(SENDER, ["ops@witness.test"], content, mail_options=[f"SIZE={len(content)}"])
    assert refused == {}


def memory_kib(pid: int, name: str) -> int:
    """VmRSS, what a process holds, or VmHWM, the most it held (proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def reset_peak(pid: int) -> None:
    """VmHWM begins again at VmRSS (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def pass_through(postroom: Postroom, witness: WitnessProcess, smtp: str, size_bytes: int, message_id: str) -> int:
    """Send a scan, see that it arrives whole; its size on the wire."""
    content, digest = compose_scan(size_bytes, message_id)
    before = postroom.counts()[RecipientState.SENT]
    hand_in(postroom, smtp, content)
    wait_for(lambda: postroom.counts()[RecipientState.SENT] > before, "the scan is sent", 60)
    [arrival] = [each for each in witness.arrivals() if each.message_id == message_id]
    assert arrival.digest == digest
    assert arrival.size_bytes > len(content)  # our Received field
    return len(content)


async def test_a_25_mb_scan_passes_whole_and_memory_hardly_grows(tmp_path: Path) -> None:
    with witness_in(tmp_path) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port)
        serving = postroom.start()
        smtp = serving.wait_until_ready()["smtp"]
        pass_through(postroom, witness, smtp, 300_000, "<warm@witness.test>")  # what is loaded at first use
        reset_peak(serving.pid)
        before = memory_kib(serving.pid, "VmRSS")
        size_bytes = pass_through(postroom, witness, smtp, SCAN_BYTES, "<large@witness.test>")
        growth = memory_kib(serving.pid, "VmHWM") - before
        print(f"{size_bytes:,} bytes passed; memory {before / 1024:.1f} MiB, growth {growth / 1024:.1f} MiB")
        assert serving.terminate() == 0
    assert size_bytes > 33_000_000
    assert growth < GROWTH_LIMIT_KIB
