"""The providers on offer: each fits the page's own rules, and none stands there twice."""

import msgspec
import pytest

from postroom.checks.prerequisites import explain_pair
from postroom.console.mail_providers import MailProvider, find_provider, mail_providers, provider_of
from postroom.store.records import Authentication, MailServerDraft


@pytest.mark.parametrize("provider", mail_providers(), ids=lambda provider: provider.name)
def test_what_is_filled_in_goes_together(provider: MailProvider) -> None:
    draft = msgspec.structs.replace(
        MailServerDraft(),
        host=provider.host,
        port=provider.port,
        email_type=provider.email_type,
        authentication=provider.authentication,
    )
    assert explain_pair(draft) is None
    assert provider.hint.endswith(".")


def test_names_are_told_apart() -> None:
    names = [provider.name for provider in mail_providers()]
    assert len(set(names)) == len(names)
    found = find_provider("A relay of your own")
    assert found is not None
    assert found.authentication is Authentication.NONE
    assert find_provider("nobody") is None


def test_the_choice_is_known_again_by_its_server() -> None:
    draft = MailServerDraft(host="smtp.sendgrid.net", port=587)
    found = provider_of(draft)
    assert found is not None
    assert found.name == "SendGrid"
    assert provider_of(MailServerDraft()) is None, "nobody chose yet"
    assert provider_of(MailServerDraft(host="mail.example.net")) is None
