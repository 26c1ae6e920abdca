"""The page on which a person chooses, after a long stop, what is still sent."""

import pytest

from postroom.ids import public_id
from postroom.message import RecipientState
from postroom.store.choices import ChoiceAnswer, ChosenMail
from tests.unit.console.test_messages_pages import hand_in
from tests.unit.console.visitor import House, Visitor

pytestmark = pytest.mark.anyio

PATH = "/choices"


async def after_a_long_stop(house: House) -> Visitor:
    visitor = await house.administrator()
    await house.set_up()
    await house.store.mailboxes.pause(1, "anna")
    await hand_in(house)
    house.clock.advance(2 * 3600)
    await house.store.mailboxes.resume(1, "anna")
    return visitor


async def test_the_overview_leads_to_the_choice_and_it_is_answered(house: House) -> None:
    visitor = await after_a_long_stop(house)
    page = await visitor.open("/")
    assert "After a long stop 1 message waits for your choice" in page.text
    assert 'href="/choices"' in page.source
    page = await visitor.open(PATH)
    assert "Only newer than" in page.text
    [choice] = await house.store.choices.open()
    action = f"{PATH}/{public_id(choice.choice_id)}"
    refused = await visitor.submit(action, send="newer")
    assert refused.status == 422
    assert "Say from which time on" in refused.text
    await visitor.open(PATH)
    page = await visitor.submit(action, send="none")
    assert "Nothing waits for a choice" in page.text
    assert (await house.store.messages.counts())[RecipientState.HELD] == 1


async def test_who_chooses_second_is_told(house: House) -> None:
    visitor = await after_a_long_stop(house)
    await visitor.open(PATH)
    [choice] = await house.store.choices.open()
    await house.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.ALL), "ben@contoso.com")
    page = await visitor.submit(f"{PATH}/{public_id(choice.choice_id)}", send="none")
    assert page.status == 422
    assert "ben@contoso.com has chosen already: send all" in page.text
