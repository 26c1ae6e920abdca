import contextlib
import datetime
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from postroom.accept.certificate import VALID_DAYS, listener_context, load_or_make_certificate, tls_contexts
from postroom.accept.smtp_tls import TlsError, TlsLayer
from postroom.errors import SettingsError
from tests.dialogs.old_client import old_client

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def test_a_self_signed_certificate_is_made_once_and_again_when_it_has_ended(tmp_path: Path) -> None:
    certificate = tmp_path / "listener.crt"
    load_or_make_certificate(tmp_path, "mail.example.lan", NOW)
    made = certificate.read_bytes()
    assert (tmp_path / "listener.key").stat().st_mode & 0o777 == 0o600
    load_or_make_certificate(tmp_path, "mail.example.lan", NOW + datetime.timedelta(days=VALID_DAYS - 1))
    assert certificate.read_bytes() == made
    load_or_make_certificate(tmp_path, "mail.example.lan", NOW + datetime.timedelta(days=VALID_DAYS + 1))
    assert certificate.read_bytes() != made


def test_another_host_name_needs_another_certificate(tmp_path: Path) -> None:
    load_or_make_certificate(tmp_path, "old.example.lan", NOW)
    made = (tmp_path / "listener.crt").read_bytes()
    load_or_make_certificate(tmp_path, "new.example.lan", NOW)
    assert (tmp_path / "listener.crt").read_bytes() != made


def test_another_address_needs_another_certificate_and_one_less_does_not(tmp_path: Path) -> None:
    load_or_make_certificate(tmp_path, "x.example", NOW, ["10.2.3.4"])
    made = (tmp_path / "listener.crt").read_bytes()
    names = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(map(str, names.get_values_for_type(x509.IPAddress))) == ["10.2.3.4", "127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.DNSName) == ["x.example", "localhost"]
    load_or_make_certificate(tmp_path, "x.example", NOW)
    assert (tmp_path / "listener.crt").read_bytes() == made
    load_or_make_certificate(tmp_path, "x.example", NOW, ["10.2.3.4", "fd00::4"])
    assert (tmp_path / "listener.crt").read_bytes() != made


def test_a_pair_that_a_crash_tore_apart_is_made_anew(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "other"):
        load_or_make_certificate(folder, "x.example", NOW)
    (tmp_path / "listener.key").write_bytes((tmp_path / "other" / "listener.key").read_bytes())
    tls_contexts(load_or_make_certificate(tmp_path, "x.example", NOW))


def test_nothing_older_than_tls_1_2_but_for_devices_that_are_allowed_it(tmp_path: Path) -> None:
    files = load_or_make_certificate(tmp_path, "x.example", NOW)
    assert tls_contexts(files).old is None
    contexts = tls_contexts(files, allows_old=True)
    assert contexts.modern.minimum_version is ssl.TLSVersion.TLSv1_2
    assert contexts.old is not None
    for version in ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"):
        assert shake_hands(contexts.old, version) == version
    assert shake_hands(contexts.old, "TLSv1", "AES128-SHA") == "TLSv1"
    assert shake_hands(contexts.modern, "TLSv1.2") == "TLSv1.2"
    with pytest.raises(TlsError, match="no shared cipher"):
        shake_hands(contexts.modern, "TLSv1.2", "AES128-SHA")
    for version in ("TLSv1", "TLSv1.1"):
        with pytest.raises(TlsError, match="unsupported protocol"):
            shake_hands(contexts.modern, version)


def shake_hands(context: ssl.SSLContext, version: str, ciphers: str = "DEFAULT") -> str | None:
    """A client of the time, at a listener."""
    client_context = old_client(version, ciphers)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = client_context.wrap_bio(incoming, outgoing), TlsLayer(context)
    while True:
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        if server.shake_hands(outgoing.read()):
            return server.version
        incoming.write(server.take_outgoing())


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    one, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "a.crt"))
    other.private_key_pem.write_to_path(str(tmp_path / "b.key"))
    with pytest.raises(SettingsError, match=r"a\.crt with key .*b\.key cannot be used.*belong together"):
        listener_context(str(tmp_path / "a.crt"), str(tmp_path / "b.key"))


def test_an_encrypted_key_is_refused_and_never_asked_about(tmp_path: Path) -> None:
    trustme.CA().issue_cert("a.example").cert_chain_pems[0].write_to_path(str(tmp_path / "a.crt"))
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    (tmp_path / "a.key").write_bytes(encrypted)
    with pytest.raises(SettingsError, match=r"a\.key cannot be used"):
        listener_context(str(tmp_path / "a.crt"), str(tmp_path / "a.key"))
