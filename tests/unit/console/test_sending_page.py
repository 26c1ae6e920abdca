"""Admin, Sending: shown as it is kept, saved as it was typed, with a sentence for what cannot be."""

import pytest

from postroom.clock import DAY_US, HOUR_US, MINUTE_US
from postroom.store.sending_settings import SendingSettings
from tests.unit.console.visitor import EMAIL, House

pytestmark = pytest.mark.anyio

PATH = "/admin/sending"


async def test_what_was_typed_is_kept_audited_and_shown_again(house: House) -> None:
    visitor = await house.administrator()
    await visitor.open(PATH)
    assert visitor.form_values(PATH) | {"csrf_token": ""} == {
        "csrf_token": "",
        "lifetime": "5",
        "delay_notice_after": "4",
        "administrator": "",
        "canary_every": "60",
        "canary_recipient": "",
    }
    typed = {
        "lifetime": "2,5",
        "delay_notice_after": "",
        "administrator": "it@contoso.com",
        "canary_is_on": "on",
        "canary_every": "30",
        "canary_recipient": "canary@contoso.com",
    }
    page = await visitor.submit(PATH, **typed)
    assert "It holds from now on" in page.text
    assert await house.store.sending_settings.load() == SendingSettings(
        lifetime_us=5 * DAY_US // 2,
        delay_notice_after_us=None,
        administrator="it@contoso.com",
        canary_is_on=True,
        canary_every_us=30 * MINUTE_US,
        canary_recipient="canary@contoso.com",
    )
    assert visitor.form_values(PATH) | typed == visitor.form_values(PATH) | {"lifetime": "2,5"}
    assert visitor.form_values(PATH)["lifetime"] == "2.5"
    newest = (await house.store.audit.recent(1))[0]
    assert (newest.who, newest.action) == (EMAIL, "changed sending settings")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"lifetime": "five"}, "Enter a number of days"),
        ({"lifetime": ""}, "Enter a number of days"),
        ({"lifetime": "-1"}, "Enter a number of days"),
        ({"lifetime": "nan"}, "Enter a number of days"),
        ({"lifetime": "31"}, "for 30 days at most"),
        ({"delay_notice_after": "soon"}, "Enter a number of hours"),
        ({"delay_notice_after": "200"}, "must come before the mail is given up"),
        ({"administrator": "it"}, "it is not an e-mail address"),
        ({"canary_every": "1"}, "every 5 minutes at most"),
        ({"canary_every": ""}, "Enter a number of minutes"),
        ({"canary_recipient": "a@b@c"}, "a@b@c is not an e-mail address"),
    ],
)
async def test_what_cannot_be_is_told_and_not_kept(house: House, typed: dict[str, str], sentence: str) -> None:
    visitor = await house.administrator()
    await visitor.open(PATH)
    page = await visitor.submit(PATH, **typed)
    assert page.status == 422
    assert sentence in page.text
    assert visitor.form_values(PATH) | typed == visitor.form_values(PATH), "what was typed is not shown again"
    assert await house.store.sending_settings.load() == SendingSettings()


async def test_without_a_recipient_of_its_own_the_page_names_the_test_address(house: House) -> None:
    visitor = await house.administrator()
    assert "which is not set yet" in (await visitor.open(PATH)).text
    await house.set_up()
    assert "the test address of the mail server, you@fabrikam.com" in (await visitor.open(PATH)).text
    assert SendingSettings().delay_notice_after_us == 4 * HOUR_US
