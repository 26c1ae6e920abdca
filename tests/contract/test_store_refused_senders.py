"""What a mail server refused is remembered per sender for an hour, and fails no message that was not tried."""

import pytest

from postroom.clock import HOUR_US
from postroom.outcome import Failure, FailureClass, Outcome, Refused
from postroom.store.records import RefusedSender
from tests.contract.kept_store import REFUSED, SENT, UNKNOWN, KeptStore, later, stopped

pytestmark = pytest.mark.anyio

SENDER = "scanner@contoso.com"


def refused(code: str = "send_as_denied") -> Refused:
    text = "5.2.252 SendAsDenied; anna@contoso.com not allowed to send as scanner@contoso.com"
    return Refused(Failure(FailureClass.PERMISSION, code, text, "send_as_denied", smtp_code=554))


async def send(kept: KeptStore, *outcomes: Outcome, sender: str = SENDER) -> int:
    new = kept.message(*(f"r{number}@fabrikam.com" for number in range(len(outcomes))), sender=sender)
    await kept.store.outbox.keep(new)
    await kept.settle(await kept.lease_one(), *outcomes)
    return new.message_id


async def remembered(kept: KeptStore, sender: str = SENDER) -> list[RefusedSender]:
    return list(await kept.store.refused_senders.of_sender(sender))


@pytest.mark.parametrize("code", ["send_as_denied", "send_on_behalf_denied", "sender_refused"])
async def test_a_refused_sender_is_remembered_with_its_server_and_its_words(ready: KeptStore, code: str) -> None:
    await send(ready, refused(code), sender="Scanner@Contoso.com")
    [found] = await remembered(ready)
    assert (found.sender, found.mail_server_id, found.mail_server_name) == (SENDER, 1, "smtp.office365.com")
    assert (found.failure, found.refused_at_us) == (refused(code).failure, ready.clock.now_us())


@pytest.mark.parametrize("outcome", [REFUSED, later(HOUR_US), UNKNOWN, stopped()])
async def test_nothing_else_is_said_of_a_sender(ready: KeptStore, outcome: Outcome) -> None:
    await send(ready, outcome)
    assert await remembered(ready) == []


async def test_it_fails_no_message_that_was_not_tried(ready: KeptStore) -> None:
    await send(ready, refused())
    second = await ready.keep()
    assert await ready.states(second) == ["queued"]
    lease = await ready.lease_one()
    assert lease.message_id == second
    await ready.settle(lease, SENT)
    assert await ready.states(second) == ["sent"]


async def test_it_is_forgotten_when_a_message_of_that_sender_comes_through(ready: KeptStore) -> None:
    await send(ready, refused(), sender="other@contoso.com")
    await send(ready, refused())
    await send(ready, SENT)
    assert await remembered(ready) == []
    assert len(await remembered(ready, "other@contoso.com")) == 1


async def test_a_recipient_that_was_accepted_counts_more_than_one_that_was_refused(ready: KeptStore) -> None:
    await send(ready, SENT, refused())
    assert await remembered(ready) == []


async def test_it_is_forgotten_when_the_mail_server_is_saved(ready: KeptStore) -> None:
    await send(ready, refused())
    await ready.store.mail_servers.save(await ready.store.mail_servers.draft_from_live(), "anna")
    assert await remembered(ready) == []


async def test_it_is_not_believed_longer_than_an_hour_and_pruned_then(ready: KeptStore) -> None:
    await send(ready, refused())
    ready.clock.advance(3599)
    assert len(await remembered(ready)) == 1
    ready.clock.advance(1)
    assert await remembered(ready) == []
    assert await ready.count("refused_senders") == 1
    await ready.store.outbox.prune(7, 90)
    assert await ready.count("refused_senders") == 0


async def test_an_app_is_told_of_the_senders_of_its_own_mail(ready: KeptStore) -> None:
    await send(ready, refused())
    [found] = await ready.store.refused_senders.of_app(ready.app_id)
    assert found.sender == SENDER
    assert await ready.store.refused_senders.of_app(1) == []
