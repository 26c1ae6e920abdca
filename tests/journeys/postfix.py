"""A real Postfix as the mail server: PLAIN over STARTTLS, a private authority, in a folder of its own.

It delivers into maildirs, so that a test reads what arrived byte by byte.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.faults.serving import wait_for

HOST = "mail.example.test"
USER, PASSWORD = "relay", "Planted-pass-7"
DOMAIN = "example.test"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
myhostname = {host}
mydestination =
mynetworks = 192.0.2.0/32
inet_interfaces = 127.0.0.1
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
smtpd_tls_cert_file = {folder}/server.pem
smtpd_tls_key_file = {folder}/server.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = {domain}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/access, permit_sasl_authenticated, reject
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
message_size_limit = 31457280
virtual_mailbox_limit = 0
alias_maps =
alias_database =
"""
_MASTER = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
showq unix n - n - - showq
"""
_ACCESS = "refused@example.test 550 5.7.1 Not this one\nlater@example.test 451 4.7.1 Come again\n"


@dataclass
class Postfix:
    """One that runs."""

    port: int
    authority: trustme.CA
    folder: Path

    def arrived(self) -> list[bytes]:
        """Every message, without the lines that Postfix put before it."""
        files = sorted((self.folder / "mail" / "box" / "new").glob("*"), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_bytes() for file in files]


@contextlib.contextmanager
def postfix_in(folder: Path) -> Iterator[Postfix]:
    """Skips the test where there is none, or where we are not root, which its master wants."""
    if shutil.which("postfix") is None or shutil.which("saslpasswd2") is None or os.getuid() != 0:
        pytest.skip("needs root and Postfix (apt-get install postfix sasl2-bin libsasl2-modules)")
    authority = trustme.CA()
    port = _lay_out(folder, authority)
    run = ["/usr/sbin/postfix", "-c", str(folder / "conf")]
    # Debian's Postfix reads its passwords in one place only: ours stand there, but for its processes alone.
    private = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/sasldb2 && exec "$@"', str(folder / "sasldb2")]
    subprocess.run([*private, *run, "start"], check=True, capture_output=True, timeout=60)
    try:
        wait_for(lambda: _answers(port), "Postfix listens")
        yield Postfix(port, authority, folder)
    finally:
        subprocess.run([*run, "stop"], check=False, capture_output=True, timeout=60)


def _lay_out(folder: Path, authority: trustme.CA) -> int:
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)  # its processes give up root's rights
    for name in ("conf", "queue", "data", "mail"):
        (folder / name).mkdir()
    for name in ("data", "mail"):
        shutil.chown(folder / name, "postfix", "postfix")
    status = (folder / "mail").stat()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    (folder / "server.pem").write_bytes(authority.issue_cert(HOST).private_key_and_cert_chain_pem.bytes())
    values = {"folder": folder, "host": HOST, "domain": DOMAIN, "uid": status.st_uid, "gid": status.st_gid}
    (folder / "conf" / "main.cf").write_text(_MAIN.format(**values))
    (folder / "conf" / "master.cf").write_text(_MASTER.format(port=f"127.0.0.1:{port}"))
    (folder / "access").write_text(_ACCESS)
    subprocess.run(
        ["saslpasswd2", "-p", "-c", "-f", str(folder / "sasldb2"), "-u", DOMAIN, USER],
        input=PASSWORD.encode(), check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    shutil.chown(folder / "sasldb2", "postfix")
    return port


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(3) == b"220"
    return False
