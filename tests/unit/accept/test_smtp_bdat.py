"""By DATA or by BDAT, in whatever chunks: a message is taken or refused with the same sentence, and stored alike."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.accept.test_smtp_session import World, on_virtual_time

HEAD = b"From: scanner@contoso.example\r\nDate: x\r\nMessage-ID: <1@x>\r\nTo: bob@fabrikam.example\r\n\r\n"
ENVELOPE = b"MAIL FROM:<scanner@contoso.example>\r\nRCPT TO:<bob@fabrikam.example>\r\n"

PIECES = [b"text", b".", b"..", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"\n", b"\r", b"\0", b"\xc3\xbc", b"x" * 990, b" "]
BODIES = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=6)


def as_data(content: bytes) -> bytes:
    """Dot-stuffed at true line ends, as an honest client does it (RFC 5321 4.5.2)."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    return b"DATA\r\n" + stuffed + b"\r\n.\r\n"


def as_chunks(content: bytes, cuts: list[int]) -> bytes:
    said = b""
    for cut in cuts:
        chunk, content = content[:cut], content[cut:]
        said += b"BDAT %d\r\n" % len(chunk) + chunk
    return said + b"BDAT %d LAST\r\n" % len(content) + content


def verdict(answer: str) -> str:
    last = [line for line in answer.splitlines() if not line.startswith("354")][-1]
    return last.split(" queued as ")[0]


def stored(world: World) -> bytes:
    """Behind our own Received."""
    content = world.store.bodies.writers[-1].content
    return content[content.index(b"From: ") :] if world.store.outbox.kept else b""


def hand_in(said: bytes) -> tuple[str, bytes]:
    """What the server says in the end, and what it stored."""
    outcome = ("", b"")

    async def scenario(world: World) -> None:
        nonlocal outcome
        tap = await world.connect()
        await world.talk(tap, b"EHLO x\r\n" + ENVELOPE)
        answer = await world.talk(tap, said)
        outcome = (verdict(answer), stored(world))
        assert await world.talk(tap, b"NOOP\r\n") == "250 2.0.0 OK\r\n", "nothing is left over"

    on_virtual_time(scenario)
    return outcome


@settings(max_examples=150, deadline=None)
@given(BODIES, CUTS)
def test_data_and_bdat_are_one(body: bytes, cuts: list[int]) -> None:
    content = HEAD + body + b"\r\n"
    assert hand_in(as_data(content[:-2])) == hand_in(as_chunks(content, cuts))
