import socket
import ssl
import threading
from pathlib import Path

import pytest

from postroom.simulator.authority import Authority


def trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """One TLS handshake on a socket pair; the version agreed on."""
    near, far = socket.socketpair()
    thread = threading.Thread(target=serve_once, args=(server, far))
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as tls:
            return str(tls.version())
    finally:
        near.close()
        thread.join()


def serve_once(context: ssl.SSLContext, far: socket.socket) -> None:
    try:
        with context.wrap_socket(far, server_side=True) as tls:
            tls.recv(1)
    except OSError:
        far.close()


def test_a_client_that_trusts_the_authority_accepts_every_name_of_the_certificate() -> None:
    authority = Authority.create()
    server = authority.server_context(["login.microsoftonline.com", "graph.microsoft.com"])

    assert shake_hands(server, trusting(authority), "login.microsoftonline.com") == "TLSv1.3"
    assert shake_hands(server, trusting(authority), "graph.microsoft.com") == "TLSv1.3"


def test_another_name_is_refused() -> None:
    authority = Authority.create()
    server = authority.server_context(["smtp.office365.com"])

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, trusting(authority), "graph.microsoft.com")


def test_each_authority_is_its_own() -> None:
    server = Authority.create().server_context(["smtp.office365.com"])

    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(server, trusting(Authority.create()), "smtp.office365.com")


def test_tls_1_2_is_the_oldest_that_is_spoken() -> None:
    authority = Authority.create()
    client = trusting(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    assert shake_hands(authority.server_context(["a.test"]), client, "a.test") == "TLSv1.2"
    assert authority.server_context(["a.test"]).minimum_version == ssl.TLSVersion.TLSv1_2


def test_no_key_stays_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    Authority.create().server_context(["smtp.office365.com"])

    assert list(tmp_path.iterdir()) == []
