from pathlib import Path

import pytest

from postroom.errors import SettingsError
from postroom.settings import Settings, load_settings, setting_keys, settings_text


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "postroom.toml"
    path.write_text(text)
    return path


def test_the_file_that_init_writes_says_the_defaults(tmp_path: Path) -> None:
    written = load_settings(write(tmp_path, settings_text()), {})
    assert written == load_settings(write(tmp_path, ""), {})
    assert written.console == Settings().console


def test_what_was_chosen_stands_in_the_file(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, settings_text({"rehearsal.enabled": True})), {}).rehearsal.enabled


def test_every_key_is_documented() -> None:
    assert all(len(key.description) > 20 for key in setting_keys())


def test_the_environment_lies_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[console]\nport = 1000\n")
    settings = load_settings(path, {"POSTROOM_CONSOLE_PORT": "2000", "POSTROOM_REHEARSAL_ENABLED": "true"})
    assert settings.console.port == 2000
    assert settings.rehearsal.enabled


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, 'data_folder = "d"\n'), {})
    assert settings.data_path == tmp_path / "d"
    assert settings.vault_key_path == tmp_path / "vault.key"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[console]\nprot = 1\n", r"unknown field `prot` - at `\$.console`"),
        ("[console]\nport = 99999\n", r"<= 65535 - at `\$.console.port`"),
        ('[log]\nlevel = "loud"\n', r"at `\$.log.level`"),
        ("[console\n", "is not valid TOML"),
    ],
)
def test_what_cannot_be_used_names_the_key_and_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        load_settings(write(tmp_path, text), {})


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="postroom init --config"):
        load_settings(tmp_path / "none.toml", {})


def test_a_variable_that_does_not_fit_is_named() -> None:
    with pytest.raises(SettingsError, match="POSTROOM_CONSOLE_PORT is 'x'"):
        load_settings(None, {"POSTROOM_CONSOLE_PORT": "x"})
