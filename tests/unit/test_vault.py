import pytest

from postroom.errors import VaultKeyError
from postroom.vault import KEY_BYTES, Vault

KEY = bytes(range(KEY_BYTES))


def test_what_is_sealed_opens_at_its_place_only() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"secret", "grants.password.1")
    assert b"secret" not in sealed
    assert vault.open(sealed, "grants.password.1") == b"secret"
    with pytest.raises(VaultKeyError, match="was changed or moved"):
        vault.open(sealed, "grants.password.2")


def test_the_same_secret_never_looks_the_same() -> None:
    vault = Vault(KEY)
    assert vault.seal(b"secret", "x") != vault.seal(b"secret", "x")


def test_another_key_is_named_as_the_reason() -> None:
    sealed = Vault(KEY).seal(b"secret", "x")
    with pytest.raises(VaultKeyError, match="sealed with another vault key"):
        Vault(bytes(KEY_BYTES)).open(sealed, "x")


@pytest.mark.parametrize("sealed", [b"", b"\x01short", b"\x02" + bytes(40)])
def test_a_damaged_value_says_so(sealed: bytes) -> None:
    with pytest.raises(VaultKeyError, match="is damaged"):
        Vault(KEY).open(sealed, "x")


def test_an_older_key_opens_and_never_seals() -> None:
    older, newer = bytes(KEY_BYTES), KEY
    sealed = Vault(older).seal(b"secret", "x")
    both = Vault(newer, older)
    assert both.open(sealed, "x") == b"secret"
    assert (both.is_up_to_date(sealed), both.has_older_keys, Vault(newer).has_older_keys) == (False, True, False)
    assert Vault(newer).open(both.seal(b"secret", "x"), "x") == b"secret"
