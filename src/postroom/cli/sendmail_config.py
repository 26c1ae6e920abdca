"""Where the `sendmail` command finds the server: the machine's sendmail.toml, all of whose keys may be left out."""

import os
from collections.abc import Mapping
from typing import NamedTuple, get_type_hints

from postroom.cli.sendmail_ending import SendmailError

CONFIG_PATH = "/etc/postroom/sendmail.toml"
CONFIG_VARIABLE = "POSTROOM_SENDMAIL_CONFIG"
"""Another file, for tests and for people who may not write to /etc."""


class Config(NamedTuple):
    """Without `host`, the server of this machine; with it, another, by SMTP."""

    socket: str = "/run/postroom/submit.sock"
    drop_folder: str = "/var/spool/postroom/maildrop"
    host: str = ""
    port: int = 587
    user: str = ""
    password_file: str = ""
    tls: str = "starttls"
    """`starttls`, `implicit` (TLS before the greeting), or `none`."""
    default_domain: str = ""
    """Put behind addresses without one, on the way to another machine. Empty: this machine's full name."""
    ca_file: str = ""
    """PEM file of the certificates to trust; empty: those that the machine trusts."""


TLS_WAYS = ("starttls", "implicit", "none")


def read_config(environment: Mapping[str, str]) -> Config:
    """SendmailError with EX_CONFIG names the file, the key, and what may stand there."""
    path = environment.get(CONFIG_VARIABLE, "")
    if not path and not os.path.exists(CONFIG_PATH):
        return Config()
    return _checked(path or CONFIG_PATH, _read(path or CONFIG_PATH))


def _read(path: str) -> dict[str, object]:
    import tomllib  # only where there is a file

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as trouble:
        raise _wrong(path, f"it cannot be read ({trouble.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as trouble:
        raise _wrong(path, f"it is not valid TOML ({trouble})") from None


def _checked(path: str, found: dict[str, object]) -> Config:
    kinds = get_type_hints(Config)
    for name, value in found.items():
        if name not in kinds:
            raise _wrong(path, f"the key {name} is not known; known are {', '.join(kinds)}")
        if type(value) is not kinds[name]:
            raise _wrong(path, f"the key {name} must be {'a number' if kinds[name] is int else 'text in quotes'}")
    config = Config(**found)  # type: ignore[arg-type]  # checked one by one above
    if config.tls not in TLS_WAYS:
        raise _wrong(path, f"the key tls may be {', '.join(TLS_WAYS)}")
    if config.user and config.tls == "none":
        raise _wrong(path, "a password is not sent without TLS: choose tls = starttls or implicit")
    return config


def _wrong(path: str, why: str) -> SendmailError:
    return SendmailError(os.EX_CONFIG, f"{path} cannot be used: {why}.")
