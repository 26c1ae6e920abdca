"""Apps & devices: made, shown once, changed, disabled."""

import re

import pytest

from postroom.store.records import RefusedAttempt, SenderPolicy
from tests.unit.console.visitor import PUBLIC_URL, House, Visitor

pytestmark = pytest.mark.anyio


async def make_app(house: House, **fields: str) -> Visitor:
    visitor = await house.administrator()
    await house.set_up()
    await visitor.open("/apps/new")
    given = {"name": "HP 2nd floor", "kind": "Printer or scanner", "senders": "scanner@contoso.com\nhp@contoso.com"}
    await visitor.submit("/apps", **{**given, **fields})
    return visitor


def shown_password(visitor: Visitor) -> str:
    found = re.search(r'id="sheet-password">(\w{24})<', visitor.page.source)
    assert found, visitor.page.text
    return found.group(1)


async def test_the_password_is_shown_once_with_the_settings(house: House) -> None:
    visitor = await make_app(house)
    password = shown_password(visitor)
    for value in ("127.0.0.1", "2587", "STARTTLS", "hp-2nd-floor", "mail.example.lan"):
        assert value in visitor.page.text
    app = await house.store.apps.authenticate("hp-2nd-floor", password)
    assert app is not None
    assert app.senders == ("scanner@contoso.com", "hp@contoso.com")
    page = await visitor.open("/apps")
    assert "HP 2nd floor" in page.text
    assert "Never used" in page.text
    assert password not in page.source


async def test_a_name_and_proper_senders_are_asked_for(house: House) -> None:
    visitor = await make_app(house, name=" ", senders="scanner")
    assert visitor.page.status == 422
    assert "Enter a name" in visitor.page.text
    assert "scanner is not an e-mail address" in visitor.page.text
    assert await house.store.apps.list() == []


async def open_app(visitor: Visitor) -> str:
    """Its page; its path."""
    await visitor.open("/apps")
    link = re.search(r'href="(/apps/[0-9A-Z]{13})"', visitor.page.source)
    assert link
    await visitor.open(link.group(1))
    return link.group(1)


async def test_two_passwords_work_until_the_old_one_is_removed(house: House) -> None:
    visitor = await make_app(house)
    old = shown_password(visitor)
    path = await open_app(visitor)
    await visitor.submit("/password")
    new = shown_password(visitor)
    for password in (old, new):
        assert await house.store.apps.authenticate("hp-2nd-floor", password) is not None
    await visitor.open(path)
    oldest = visitor.page.forms[-1]
    removals = [form for form in visitor.page.forms if form.action.endswith("/remove-password")]
    assert len(removals) == 2
    assert oldest not in removals
    page = await visitor.post(removals[-1].action, removals[-1].values)
    assert "cannot sign in any more" in page.text
    assert await house.store.apps.authenticate("hp-2nd-floor", old) is None
    assert await house.store.apps.authenticate("hp-2nd-floor", new) is not None


async def test_every_rule_can_be_changed_and_is_shown_again(house: House) -> None:
    visitor = await make_app(house)
    path = await open_app(visitor)
    rules = {
        "name": "HP",
        "owner": "Anna",
        "senders": "new@contoso.com @fabrikam.com",
        "sender_policy": "rewrite",
        "recipient_domains": "contoso.com",
        "message_limit_a_minute": "5",
        "message_limit_a_day": "",
        "size_limit_mb": "2.5",
        "addresses": "10.2.3.14 10.2.4.0/24",
        "local_users": "www-data",
        "fixes_lines": "on",
        "allows_old_tls": "on",
    }
    page = await visitor.submit("/rules", **rules)
    assert page.url == f"{PUBLIC_URL}{path}?said=rules"
    [app] = await house.store.apps.list()
    assert (app.name, app.owner, app.senders) == ("HP", "Anna", ("new@contoso.com", "@fabrikam.com"))
    assert (app.sender_policy, app.recipient_domains) == (SenderPolicy.REWRITE, ("contoso.com",))
    assert (app.message_limit_a_minute, app.message_limit_a_day) == (5, None)
    assert (app.size_limit_bytes, app.addresses) == (2_621_440, ("10.2.3.14", "10.2.4.0/24"))
    assert (app.local_users, app.fixes_lines, app.allows_old_tls, app.allows_plain_text) == (
        *(("www-data",), True, True),
        False,
    )
    shown = visitor.form_values("/rules")
    assert shown["size_limit_mb"] == "2.5"
    assert shown["sender_policy"] == "rewrite"
    assert "Legacy" in page.text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"senders": "@contoso"}, "Write a whole domain like @contoso.com"),
        ({"recipient_domains": "everybody"}, "Write domains such as contoso.com"),
        ({"message_limit_a_minute": "-1"}, "Enter a number of messages"),
        ({"message_limit_a_day": "many"}, "Enter a number of messages"),
        ({"size_limit_mb": "huge"}, "Enter a size in MB"),
        ({"addresses": "printer"}, "is no address or network"),
        ({"addresses": "8.8.8.8", "method": "address"}, "is a public address"),
        ({"method": "address"}, "needs the address that it connects from"),
        ({"allows_plain_text": "on"}, "enter the device's address"),
        ({"method": "kept"}, "Enter the user name that the program has"),
        ({"method": "kept", "kept_login": "alerts"}, "Enter the password that the program has"),
    ],
)
async def test_what_cannot_be_is_said_beside_its_field_and_nothing_is_lost(
    house: House, fields: dict[str, str], sentence: str
) -> None:
    visitor = await make_app(house, **fields)
    assert visitor.page.status == 422
    assert sentence in visitor.page.text
    assert visitor.form_values("/apps")["name"] == "HP 2nd floor"
    assert await house.store.apps.list() == []


async def test_a_kept_user_name_and_password_sign_in(house: House) -> None:
    visitor = await make_app(house, method="kept", kept_login="Alerts@Contoso.com", kept_password="Sommer 2019")
    assert "Sommer 2019" not in visitor.page.source
    assert await house.store.apps.authenticate("alerts@contoso.com", "Sommer 2019") is not None
    page = await visitor.open(await open_app(visitor))
    assert "chosen by a person" in page.text


async def test_one_click_makes_an_app_of_who_was_turned_away(house: House) -> None:
    visitor = await house.administrator()
    attempt = RefusedAttempt("10.2.3.77", "device", "RNP002673", "", "unknown_device", "It is not a known device.", 1)
    await house.store.refused_clients.note([attempt, attempt])
    page = await visitor.open("/apps")
    assert "2 refused attempts from 10.2.3.77" in page.text
    assert "RNP002673" in page.text
    await visitor.open("/apps/new?address=10.2.3.77")
    page = await visitor.submit("/apps", name="Old printer")
    assert "2525" in page.text
    [app] = await house.store.apps.list()
    assert (app.addresses, app.needs_sign_in, app.fixes_lines) == (("10.2.3.77",), False, True)
    page = await visitor.open("/apps")
    assert "refused attempt" not in page.text


async def test_a_client_may_be_ignored(house: House) -> None:
    visitor = await house.administrator()
    await house.store.refused_clients.note([RefusedAttempt("10.2.3.77", "device", "x", "", "unknown_device", "t", 1)])
    await visitor.open("/apps")
    page = await visitor.submit("/apps/ignore")
    assert "10.2.3.77" not in page.text


async def test_an_apps_page_tells_that_it_was_turned_away(house: House) -> None:
    visitor = await make_app(house, addresses="10.2.3.77")
    tls = RefusedAttempt("10.2.3.77", "device", "HP", "", "tls_failed", "It offered only TLS 1.0.", 1)
    await house.store.refused_clients.note([tls])
    await open_app(visitor)
    assert "Waiting for its first mail" in visitor.page.text
    assert "It offered only TLS 1.0." in visitor.page.text


async def test_the_first_use_turns_the_page_green_and_ends_older_troubles(house: House) -> None:
    visitor = await make_app(house, addresses="10.2.3.77")
    now_us = house.clock.now_us()
    for text, at_us in (("It offered only TLS 1.0.", now_us - 1), ("Its password is wrong.", now_us + 1)):
        [app] = await house.store.apps.list()
        await house.store.refused_clients.note(
            [RefusedAttempt("10.2.3.77", "device", "HP", "", text[-9:], text, at_us)]
        )
        await house.store.apps.note_use(app.app_id, "10.2.3.77", "TLSv1.3", "PLAIN")
        await open_app(visitor)
        assert "It has reached this server" in visitor.page.text
        assert "Waiting for its first mail" not in visitor.page.text
        assert (text in visitor.page.text) is (at_us > now_us)


async def test_what_calls_sendmail_has_nothing_to_enter(house: House) -> None:
    visitor = await make_app(house, local_users="backup")
    assert "Nothing needs to be entered" in visitor.page.text
    assert "Password" not in visitor.page.text
    await open_app(visitor)
    assert "Nothing needs to be entered" in visitor.page.text
    assert "smtplib" not in visitor.page.text
    await visitor.submit("/password")
    assert shown_password(visitor)


async def test_the_example_for_a_device_without_a_password_does_not_sign_in(house: House) -> None:
    visitor = await make_app(house, method="address", addresses="10.2.3.77", allows_plain_text="on")
    await open_app(visitor)
    assert 'smtplib.SMTP("127.0.0.1", 2525)' in visitor.page.text
    assert "server.login" not in visitor.page.text
    assert "starttls" not in visitor.page.text


@pytest.mark.parametrize(
    ("senders", "sender"),
    [
        ("", "scanner@contoso.com"),
        ("@fabrikam.com hp@contoso.com", "hp@contoso.com"),
        ("@contoso.com", "scanner@contoso.com"),
        ("@fabrikam.com", "hp-2nd-floor@fabrikam.com"),
    ],
)
async def test_the_sheet_names_a_sender_that_is_allowed(house: House, senders: str, sender: str) -> None:
    visitor = await make_app(house, senders=senders)
    assert f'id="sheet-sender">{sender}<' in visitor.page.source


async def test_a_key_is_shown_once_and_can_be_revoked(house: House) -> None:
    visitor = await make_app(house)
    path = await open_app(visitor)
    page = await visitor.submit("/keys", **{"key_name": "CI", "scope-messages:read": "on"})
    found = re.search(r"pr_live_\w{32}", page.source)
    assert found
    known = await house.store.api_keys.authenticate(found[0])
    assert known is not None
    assert known[0].scopes == ("send", "messages:read")
    page = await visitor.open(path)
    assert found[0] not in page.source
    page = await visitor.submit("/revoke-key")
    assert "The key was revoked" in page.text
    assert await house.store.api_keys.authenticate(found[0]) is None


async def test_disabling_and_enabling(house: House) -> None:
    visitor = await make_app(house)
    password = shown_password(visitor)
    await open_app(visitor)
    page = await visitor.submit("/disable")
    assert "may no longer hand in mail" in page.text
    assert await house.store.apps.authenticate("hp-2nd-floor", password) is None
    await visitor.submit("/enable")
    assert await house.store.apps.authenticate("hp-2nd-floor", password) is not None


async def test_names_are_text_and_never_markup(house: House) -> None:
    visitor = await make_app(house, name="<b onmouseover=alert(1)>HP</b>")
    page = await visitor.open("/apps")
    assert "<b onmouseover" not in page.source
    assert "&lt;b onmouseover" in page.source
