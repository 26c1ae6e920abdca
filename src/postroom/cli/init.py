"""`postroom init`: write the settings file, make the data folder and the vault's key."""

import os
from pathlib import Path

import click

from postroom.errors import PostroomError
from postroom.settings import load_settings, settings_text
from postroom.vault_key import load_or_make_keys


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="postroom.toml",
    show_default=True,
    help="The settings file to write.",
)
@click.option("--rehearsal", is_flag=True, help="Rehearse with a simulated Microsoft 365.")
def init(path: Path, rehearsal: bool) -> None:
    """Write a settings file with every key, its default and its meaning; make the data folder and the vault's key."""
    if path.exists():
        raise click.ClickException(f"{path} exists already and was not touched. Choose another file with --config.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settings_text({"rehearsal.enabled": rehearsal}), encoding="utf-8")
        settings = load_settings(path, os.environ)
        settings.data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = load_or_make_keys(settings.vault_key_path, settings.data_path, os.environ)
    except OSError as trouble:
        raise click.ClickException(f"{trouble.filename} cannot be written: {trouble.strerror}.") from None
    except PostroomError as trouble:
        raise click.ClickException(str(trouble)) from None
    click.echo(f"Settings     {path}")
    click.echo(f"Data folder  {settings.data_path}")
    click.echo(f"Vault key    {keys.file or keys.source} (keep a copy apart from the backups)")
    click.echo(f"Now run      postroom serve --config {path}")
