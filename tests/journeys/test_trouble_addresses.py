"""The address decides what goes wrong, and each message's page says what did."""

import pytest
from playwright.async_api import expect

from tests.journeys.person import Person
from tests.journeys.prepared import make_app, set_up_mail_server

pytestmark = pytest.mark.anyio


async def test_what_goes_wrong_is_seen(person: Person) -> None:
    await set_up_mail_server(person.server)
    app, password = await make_app(person.server)
    await person.sign_in_as_administrator()
    for name in ("451-once", "550", "drop-after-dot-once"):
        await person.hand_in(app.login, password, f"To {name}", f"{name}@fabrikam.example")

    await person.open_message("To 451-once")
    await person.sees("Deferred: a temporary problem. Next try in")
    await person.sees("4.7.0 Temporary server error. Please try again later.")
    await person.button("Retry now").click()
    await person.sees("Sent: accepted by Microsoft 365")
    await person.sees("Attempt 2")

    await person.open_message("To 550")
    await person.sees("Failed: refused for good")
    await person.sees("5.4.1 Recipient address rejected: Access denied. AS(201806281)")
    await expect(person.heading("The recipient does not exist")).to_be_visible()

    await person.open_message("To drop-after-dot-once")
    await person.sees("Unknown: it may have been sent:")
    await person.link("Overview").click()
    await person.sees("Of 1 attempt in the last 24 hours nobody knows whether it arrived")
