"""The draft of the Mail Server page: what a form makes of it, what a change takes back, what is missing."""

from datetime import date

import pytest
from msgspec.structs import replace

from postroom.console.drafts import (
    change_draft,
    forget_sign_in,
    has_changes,
    missing_before_check,
    next_step,
    permissions_of,
    read_addresses,
    read_app,
    read_server,
    steps_of,
)
from postroom.console.forms import Form
from postroom.store.records import Authentication, EmailType, MailServerDraft, SendRight
from tests.unit.console.visitor import GUID, full_draft

VERIFIED = replace(full_draft(), secret_ends_on=date(2028, 11, 22), verified_at_us=1)


def server_form(**fields: str) -> Form:
    return Form({"host": "smtp.office365.com", "port": "587", "email_type": "smtp", "use_tls": "on", **fields})


def test_a_change_takes_back_the_verification_and_nothing_else() -> None:
    changed = change_draft(VERIFIED, sender_name="Scanner")
    assert changed.verified_at_us is None
    assert changed.refresh_token == VERIFIED.refresh_token


def test_no_change_keeps_the_verification() -> None:
    assert change_draft(VERIFIED, port=587) is VERIFIED


@pytest.mark.parametrize(
    ("field", "value"),
    [("tenant", "contoso.com"), ("username", "other@contoso.com"), ("authentication", Authentication.BASIC)],
)
def test_a_change_of_who_signs_in_takes_back_the_sign_in_and_its_pin(field: str, value: object) -> None:
    changed = change_draft(VERIFIED, **{field: value})
    assert (changed.refresh_token, changed.scopes, changed.user, changed.granted_at_us) == ("", (), None, None)


def test_another_app_needs_another_sign_in_of_the_same_account() -> None:
    changed = change_draft(VERIFIED, client_id=GUID.replace("1", "2"))
    assert (changed.refresh_token, changed.user) == ("", VERIFIED.user)


def test_a_rotated_token_is_no_change_of_settings_but_a_new_sign_in_is() -> None:
    assert VERIFIED.has_same_settings(replace(VERIFIED, refresh_token="rotated", verified_at_us=None))
    assert not VERIFIED.has_same_settings(replace(VERIFIED, granted_at_us=99))
    assert not VERIFIED.has_same_settings(replace(VERIFIED, sender="other@contoso.com"))


def test_a_copy_of_what_is_live_holds_no_changes() -> None:
    assert not has_changes(replace(VERIFIED, refresh_token="rotated"), VERIFIED)
    assert not has_changes(forget_sign_in(VERIFIED), VERIFIED), "nothing was entered, only left out"
    assert has_changes(replace(VERIFIED, granted_at_us=99), VERIFIED), "somebody has signed in anew"
    assert has_changes(replace(VERIFIED, sender="other@contoso.com"), VERIFIED)


def test_the_yield_of_a_sign_in_is_taken_over_later_changes_of_other_fields() -> None:
    begun = replace(VERIFIED, refresh_token="", user=None)
    signed_in = replace(begun, refresh_token="new", user=VERIFIED.user)
    meanwhile = replace(begun, test_address="late@contoso.com")
    assert meanwhile.signs_in_as(signed_in)
    taken = meanwhile.with_sign_in_of(signed_in)
    assert (taken.refresh_token, taken.test_address) == ("new", "late@contoso.com")


def test_the_yield_of_a_sign_in_for_another_username_is_not_taken() -> None:
    assert not replace(VERIFIED, username="other@contoso.com").signs_in_as(VERIFIED)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"port": "465"}, "port", "does not offer port 465"),
        ({"port": "many"}, "port", "number from 1 to 65535"),
        ({"email_type": "smtps"}, "email_type", "does not offer SMTPS"),
        ({"use_tls": ""}, "use_tls", "TLS"),
        ({"host": ""}, "host", "Server Name"),
    ],
)
def test_what_cannot_work_together_is_said_before_dialling(fields: dict[str, str], field: str, words: str) -> None:
    _draft, troubles = read_server(MailServerDraft(), server_form(**fields))
    assert words in troubles[field]


def test_the_server_name_loses_what_copying_adds() -> None:
    draft, troubles = read_server(MailServerDraft(), server_form(host="  smtp://SMTP.Office365.com/ "))
    assert draft.host == "smtp.office365.com"
    assert draft.email_type is EmailType.SMTP
    assert troubles == {}


def test_large_mail_by_graph_asks_for_one_permission_more_and_for_another_sign_in() -> None:
    graph = replace(VERIFIED, host="graph.microsoft.com", port=443, email_type=EmailType.GRAPH, scopes=("Mail.Send",))
    assert "Mail.ReadWrite" not in permissions_of(graph)
    form = server_form(host="graph.microsoft.com", port="443", email_type="graph", takes_large_mail="on")
    changed, troubles = read_server(graph, form)
    assert (changed.takes_large_mail, changed.refresh_token, troubles) == (True, "", {})
    assert "Mail.ReadWrite" in permissions_of(changed)
    consented, _ = read_server(replace(graph, scopes=("Mail.Send", "Mail.ReadWrite")), form)
    assert consented.refresh_token == graph.refresh_token, "its sign-in covers it already"
    by_smtp, _ = read_server(changed, server_form(takes_large_mail="on"))
    assert not by_smtp.takes_large_mail


def addresses_form(**fields: str) -> Form:
    addresses = {"sender": "noreply@contoso.com", "username": "scanner@contoso.com", "test_address": "you@fabrikam.com"}
    return Form({**addresses, **fields})


def test_send_on_behalf_is_asked_for_before_saving() -> None:
    draft, troubles = read_addresses(MailServerDraft(), addresses_form())
    assert draft.send_right is SendRight.SEND_ON_BEHALF
    assert "scanner@contoso.com must be allowed to send for noreply@contoso.com" in troubles["send_right_is_granted"]


def test_send_on_behalf_that_was_granted_goes_on() -> None:
    granted = addresses_form(send_right="send_as", send_right_is_granted="on")
    draft, troubles = read_addresses(MailServerDraft(), granted)
    assert troubles == {}
    assert draft.send_right is SendRight.SEND_AS


def test_an_empty_username_is_the_sender_and_needs_no_right() -> None:
    draft, troubles = read_addresses(MailServerDraft(), addresses_form(username=""))
    assert (draft.username, draft.send_right, troubles) == ("noreply@contoso.com", SendRight.OWN, {})


def test_a_shared_mailbox_cannot_sign_in_itself() -> None:
    shared = addresses_form(username="", sender_is_own_mailbox="no")
    _draft, troubles = read_addresses(MailServerDraft(), shared)
    assert "shared mailbox cannot sign in" in troubles["username"]


def app_form(**fields: str) -> Form:
    values = {"tenant": GUID, "client_id": GUID, "client_secret": "the~value", "secret_ends_on": "2028-11-22"}
    return Form({**values, **fields})


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"tenant": "common"}, "tenant", "common"),
        ({"client_id": "my app"}, "client_id", "GUID"),
        ({"client_secret": GUID}, "client_secret", "Secret ID"),
        ({"secret_ends_on": "soon"}, "secret_ends_on", "soon is not a date"),
        ({"secret_ends_on": ""}, "secret_ends_on", "Enter the date"),
    ],
)
def test_values_of_entra_that_were_mixed_up_are_recognised(fields: dict[str, str], field: str, words: str) -> None:
    _draft, troubles = read_app(MailServerDraft(), app_form(**fields))
    assert words in troubles[field]


def test_an_empty_secret_keeps_the_one_we_have() -> None:
    draft, troubles = read_app(VERIFIED, app_form(client_secret=""))
    assert (draft.client_secret, troubles) == (VERIFIED.client_secret, {})


def test_the_steps_follow_the_method() -> None:
    assert [step.name for step in steps_of(VERIFIED)] == [
        "server",
        "addresses",
        "method",
        "app",
        "sign-in",
        "check",
        "test",
    ]
    basic = replace(VERIFIED, authentication=Authentication.BASIC)
    assert [step.name for step in steps_of(basic)][2:4] == ["method", "password"]


@pytest.mark.parametrize(
    ("draft", "step"),
    [
        (MailServerDraft(), "addresses"),
        (replace(VERIFIED, tenant=""), "method"),
        (replace(VERIFIED, client_secret=""), "app"),
        (replace(VERIFIED, refresh_token=""), "sign-in"),
        (replace(VERIFIED, verified_at_us=None), "check"),
        (VERIFIED, "test"),
        (replace(VERIFIED, authentication=Authentication.BASIC), "password"),
    ],
)
def test_the_next_step_is_the_first_that_still_needs_a_person(draft: MailServerDraft, step: str) -> None:
    assert next_step(draft) == step


def test_without_a_sign_in_there_is_nothing_to_check() -> None:
    assert [step.name for step in missing_before_check(replace(VERIFIED, refresh_token=""))] == ["sign-in"]
    assert missing_before_check(VERIFIED) == []
