import datetime
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from postroom.accept.certificate import VALID_DAYS, listener_context, load_or_make_certificate
from postroom.errors import SettingsError

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


def test_nothing_older_than_tls_1_2(tmp_path: Path) -> None:
    assert load_or_make_certificate(tmp_path, "x.example", NOW).minimum_version is ssl.TLSVersion.TLSv1_2


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
