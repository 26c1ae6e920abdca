"""Known providers' mail servers, from one data file, to fill in the first step of the page."""

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from postroom.store.records import Authentication, EmailType, MailServerDraft


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


def provider_of(draft: MailServerDraft) -> MailProvider | None:
    """The choice whose server the draft names, so that its page tells of it when it is entered again.

    None for what stands there before anybody chose: the values of Microsoft 365.
    """
    first, *others = mail_providers()
    if (draft.host, draft.port) == (first.host, first.port):
        return None
    return next((each for each in others if (each.host, each.port) == (draft.host, draft.port)), None)
