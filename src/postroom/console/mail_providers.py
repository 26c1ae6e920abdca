"""Known providers' mail servers, from one data file, to fill in the first step of the page."""

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from postroom.store.records import Authentication, EmailType


class MailProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One choice."""

    name: str
    host: str
    port: int
    email_type: EmailType
    authentication: Authentication
    hint: str
    """What to enter, or what must be prepared."""
    source: Literal["vendor", "seen"]


@cache
def mail_providers() -> tuple[MailProvider, ...]:
    """All of mail_providers.toml, in its order."""
    text = files("postroom.console").joinpath("mail_providers.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=dict[str, tuple[MailProvider, ...]])["provider"]


def find_provider(name: str) -> MailProvider | None:
    return next((provider for provider in mail_providers() if provider.name == name), None)
