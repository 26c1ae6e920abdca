"""`postroom vault`: the key that seals secrets."""

import asyncio
import os
from pathlib import Path

import click

from postroom.clock import SystemClock
from postroom.errors import PostroomError, VaultKeyError
from postroom.settings import Settings, load_settings
from postroom.store import Store
from postroom.vault_key import CREDENTIAL, VARIABLE, VaultKeys, load_or_make_keys, make_key, write_keys


@click.group()
def vault() -> None:
    """The key that seals secrets."""


@vault.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="POSTROOM_CONFIG",
    default="postroom.toml",
    show_default=True,
    help="The settings file.",
)
def rotate(path: Path) -> None:
    """Make a new key and seal every secret with it. Postroom must not run meanwhile.

    Whatever interrupts it, the key file opens everything; run it again then.
    """
    try:
        settings = load_settings(path, os.environ)
        keys = load_or_make_keys(settings.vault_key_path, settings.data_path, os.environ)
        asyncio.run(rotate_key(settings, keys))
    except OSError as trouble:
        raise click.ClickException(f"{trouble.filename} cannot be written: {trouble.strerror}.") from None
    except PostroomError as trouble:
        raise click.ClickException(str(trouble)) from None
    click.echo("Every secret is sealed with the new key.")
    if keys.file is not None:
        click.echo(f"Vault key    {keys.file} (keep a copy apart from the backups)")
        click.echo("Keep the old key as long as you keep backups that were made before: it alone opens those.")
    else:
        click.echo(f"Now remove the older key from {keys.source}.")


async def rotate_key(settings: Settings, keys: VaultKeys) -> None:
    """The new key goes to the disk beside the old one, the secrets change over, the old one goes.

    Two keys in the source mean that this was begun: it is finished, with no third key. Errors: VaultKeyError when the
    key comes from where we cannot write; DataFolderError while Postroom runs.
    """
    is_begun = len(keys.keys) > 1
    if keys.file is None and not is_begun:
        raise VaultKeyError(
            f"The vault key comes from {keys.source}, which Postroom cannot change. Put a new key (openssl rand -hex "
            f"32) before the old one, separated by a space or a line, as {VARIABLE} or in the credential {CREDENTIAL}, "
            "and run this again."
        )
    changing = keys.keys if is_begun else (make_key(), *keys.keys)
    await _open_with(settings, keys)  # nobody else runs, and the key is the right one
    if keys.file is not None and not is_begun:
        write_keys(keys.file, changing)
    await _open_with(settings, VaultKeys(changing, keys.source))
    if keys.file is not None:
        write_keys(keys.file, changing[:1])


async def _open_with(settings: Settings, keys: VaultKeys) -> None:
    """Opening changes over what an older key sealed; with one key it only proves that it is the right one."""
    store = await Store.open(settings.data_path, SystemClock(), keys.vault())
    await store.close()
