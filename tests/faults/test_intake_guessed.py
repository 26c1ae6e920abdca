"""Promise 20 at the ways in: guessing is slowed, then banned; a good client beside the guesser goes on; and neither
words nor time tell whether an app exists."""

import asyncio
import base64
import random
import smtplib
import ssl
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postroom.clock import SystemClock
from postroom.store import Store
from postroom.store.records import AppSettings
from postroom.vault import Vault
from tests.faults.serving import Postroom, postroom_in, witness_in

pytestmark = pytest.mark.anyio

GUESSER, GUESSES = "127.0.9.9", 10
ROUNDS = 400


@pytest.fixture
def postroom(tmp_path: Path) -> Iterator[Postroom]:
    with postroom_in(tmp_path) as postroom:
        postroom.init()
        yield postroom


async def start(postroom: Postroom) -> dict[str, str]:
    with witness_in(postroom.folder) as witness:
        await postroom.set_up(witness.port)
    return await asyncio.to_thread(postroom.start().wait_until_ready)


def sign_in(where: dict[str, str], login: str, password: str, address: str = "127.0.0.1") -> tuple[int, str, float]:
    """The answer, and how long it took."""
    host, _, port = where["smtp"].rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30, source_address=(address, 0)) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.ehlo("guesser.test")
        began = time.monotonic()
        code, text = client.docmd("AUTH PLAIN", base64.b64encode(f"\0{login}\0{password}".encode()).decode())
        return code, text.decode(), time.monotonic() - began


async def test_guessing_by_smtp_is_slowed_and_then_banned(postroom: Postroom) -> None:
    """Ten wrong passwords, tried all at once: each is answered later than the one before, and then the address is
    turned away at the door, whatever it knows by then."""
    where = await start(postroom)
    loop, threads = asyncio.get_running_loop(), ThreadPoolExecutor(GUESSES)
    guesses = [
        loop.run_in_executor(threads, sign_in, where, postroom.login, f"guess {number}", GUESSER)
        for number in range(GUESSES)
    ]
    done, late = await asyncio.wait(guesses, timeout=3)
    assert {guess.result()[0] for guess in done} == {535}
    assert len(done) < GUESSES / 2, "three seconds are enough for the first few only"
    assert min(guess.result()[2] for guess in done) >= 1
    with pytest.raises(smtplib.SMTPConnectError, match=r"Too many sign-ins from 127\.0\.9\.9 have failed"):
        await asyncio.to_thread(sign_in, where, postroom.login, postroom.password, GUESSER)
    assert (await asyncio.to_thread(sign_in, where, postroom.login, postroom.password))[0] == 235
    postroom.end()
    await asyncio.wait(late)
    for guess in late:
        guess.exception()  # cut with the server
    threads.shutdown()


async def ask(where: dict[str, str], key: str, address: str) -> tuple[int, float]:
    """HTTP's status for a key, and how long it took."""
    host = where["console"].removeprefix("http://").replace("localhost", "127.0.0.1")
    place, _, port = host.rpartition(":")
    reader, writer = await asyncio.open_connection(place, int(port), local_addr=(address, 0))
    try:
        began = time.monotonic()
        request = f"GET /api/v1/messages HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n"
        writer.write(request.encode())
        status = int((await asyncio.wait_for(reader.readline(), 30)).split()[1])
        return status, time.monotonic() - began
    finally:
        writer.close()


async def test_guessing_keys_is_slowed_and_then_banned(postroom: Postroom) -> None:
    where = await start(postroom)
    guesses = [ask(where, f"pr_live_{number:032}", GUESSER) for number in range(GUESSES)]
    answers = await asyncio.gather(*guesses)
    assert {status for status, _ in answers} == {401}
    assert min(seconds for _, seconds in answers) >= 0.1
    assert max(seconds for _, seconds in answers) >= 1
    assert (await ask(where, postroom.api_key, GUESSER))[0] == 429, "also with the right one"
    assert (await ask(where, postroom.api_key, "127.0.0.1"))[0] == 403, "its own: known, and without that scope"


async def test_words_do_not_tell_whether_an_app_exists(postroom: Postroom) -> None:
    where = await start(postroom)
    known = await asyncio.to_thread(sign_in, where, postroom.login, "wrong", "127.0.9.1")
    unknown = await asyncio.to_thread(sign_in, where, "nobody", "wrong", "127.0.9.2")
    assert known[0] == unknown[0] == 535
    assert known[1].replace(postroom.login, "X") == unknown[1].replace("nobody", "X")


@pytest.mark.parametrize("kind", ["made password", "chosen password", "disabled"])
async def test_time_does_not_tell_whether_an_app_exists(tmp_path: Path, kind: str) -> None:
    """Known and unknown names by turns in one run: neither is told apart by its place among the other's times.

    The pause before a refusal would hide a gap as well; this looks beneath it.
    """
    store = await Store.open(tmp_path / "data", SystemClock(), Vault(bytes(32)))
    try:
        chosen = "A-password-from-before-7" if kind == "chosen password" else ""
        app, _ = await store.apps.create(AppSettings(name="Scanner"), "test", password=chosen)
        if kind == "disabled":
            await store.apps.set_enabled(app.app_id, False, "test")
        rounds = 40 if kind == "chosen password" else ROUNDS
        share = await share_of_slower(store, app.login, "nobody-knows", rounds)
    finally:
        await store.close()
    print(f"{kind}: a known name takes longer than an unknown one {share:.0%} of the times")
    assert 0.25 < share < 0.75


async def share_of_slower(store: Store, known: str, unknown: str, rounds: int) -> float:
    """Of all pairs of a time for the known and a time for the unknown name: 0.5 when they are alike."""
    times: dict[str, list[float]] = {known: [], unknown: []}
    for name in (known, unknown) * 5:
        await store.apps.authenticate(name, "wrong")
    for _ in range(rounds):
        for name in random.sample((known, unknown), 2):
            began = time.perf_counter()
            assert await store.apps.authenticate(name, "wrong") is None
            times[name].append(time.perf_counter() - began)
    return statistics.fmean(a > b for a in times[known] for b in times[unknown])
