"""“Can be produced” means seen over the socket: each reply of replies.toml, said by the simulated Exchange Online.

Hosts, times, ids and addresses of machines are masked on both sides; all else is word for word.
"""

import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postroom.simulator.authority import Authority
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.fault_table import Fault
from postroom.simulator.faults import FAULTS
from postroom.simulator.tenant import contoso
from postroom.simulator.tokens import Tokens, make_signing_key
from tests.reference.productions import SWITCHES, Stage, meet_address
from tests.unit.simulator.exchange_client import HOST, open_clients, trust_of

ENTRIES: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("replies.toml").read_text())["reply"]
PRODUCED = [entry for entry in ENTRIES if "produced" in entry]

_TAG = re.compile(r" \[(?:tag|Hostname=[\w.]+|[\w.]+\.outlook\.com(?: [\w.:-]+Z [0-9A-F]{16})?)\]$")
_IP = re.compile(r"\[\d+\.\d+\.\d+\.\d+\]")
_MESSAGE_ID = re.compile(r"<[^<>@ ]+@[^<>@ ]+>")


def masked(reply: str) -> str:
    """The reply without the tag that closes it, and without the ids and addresses in it."""
    return _MESSAGE_ID.sub("<id>", _IP.sub("[ip]", _TAG.sub("", reply)))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


KEY = make_signing_key()


@pytest.fixture
async def stage(authority: Authority) -> AsyncIterator[Stage]:
    tenant = contoso(SimulatorClock())
    context = authority.server_context([HOST], speaks_old_tls=True)
    server = ExchangeServer(tenant, Tokens(tenant, KEY), context)
    await server.start()
    async with open_clients(server, trust_of(authority)) as make_client:
        yield Stage(server, authority, make_client)
    await server.stop()


@pytest.mark.anyio
@pytest.mark.parametrize("entry", PRODUCED, ids=lambda entry: str(entry["id"]))
async def test_the_simulator_says_it_word_for_word(stage: Stage, entry: dict[str, Any]) -> None:
    way: str = entry["produced"]

    if way.startswith("switch: "):
        verb, reply = await SWITCHES[way.removeprefix("switch: ")](stage)
    else:
        verb, reply = await meet_address(stage, f"{way}contoso.com")

    assert masked(reply) == masked(entry["reply"])
    assert verb == entry["command"]


def test_each_reply_is_produced_or_says_why_not() -> None:
    unclear = [entry["id"] for entry in ENTRIES if ("produced" in entry) == bool(entry.get("not_produced"))]
    assert unclear == []


def test_each_switch_belongs_to_a_reply() -> None:
    used = {entry["produced"].removeprefix("switch: ") for entry in PRODUCED}
    assert set(SWITCHES) - used == set()


SAID = {masked(entry["reply"]) for entry in ENTRIES}
SAYING = [fault for fault in FAULTS if fault.reply]


@pytest.mark.parametrize("fault", SAYING, ids=[fault.local_part for fault in SAYING])
def test_each_line_of_the_fault_table_has_its_entry_in_the_reference(fault: Fault) -> None:
    # Exchange Online closes this one with a word of the machine's that differs from case to case.
    without_machine = {said.removesuffix(" PRX2") for said in SAID}
    assert masked(fault.reply) in SAID | without_machine


@pytest.mark.anyio
@pytest.mark.parametrize("fault", SAYING, ids=[fault.local_part for fault in SAYING])
async def test_each_line_of_the_fault_table_is_said_over_the_socket(stage: Stage, fault: Fault) -> None:
    _, reply = await meet_address(stage, f"{fault.address}contoso.com")

    assert masked(reply) == masked(fault.reply)
