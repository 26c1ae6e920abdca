"""Every reply of replies.toml means for us what stands beside it."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postroom.deliver.replies import outcome_of
from postroom.deliver.reply_rules import RULES
from postroom.outcome import Sent, Stopped
from postroom.remedies import all_remedies
from postroom.wire.replies import parse_reply

ENTRIES: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("replies.toml").read_text())["reply"]

# What the simulator says is judged by test_replies_produced.py.
NOT_JUDGED = {"id", "command", "reply", "produced", "not_produced"}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["id"]))
def test_a_reply_means_what_the_reference_says(entry: dict[str, Any]) -> None:
    reply = parse_reply(entry["reply"])
    outcome = outcome_of(reply, command=entry["command"], server="smtp.office365.com:587")

    found: dict[str, Any] = {"outcome": msgspec.to_builtins(outcome)["type"]}
    if isinstance(outcome, Stopped):
        found["cause"] = outcome.cause.value
    if not isinstance(outcome, Sent):
        failure = outcome.failure
        found |= {"class": failure.failure_class.value, "code": failure.code, "remedy": failure.remedy_id}
        found |= {"trace": failure.trace} if "trace" in entry else {}
        assert (failure.smtp_code, failure.enhanced or "") == (reply.code, reply.enhanced)
        assert failure.command == entry["command"]
        assert failure.server == "smtp.office365.com:587"
    expected = {key: value for key, value in entry.items() if key not in NOT_JUDGED}
    assert expected.pop("confidence") in {"A", "B", "C"}
    assert expected.pop("source")
    assert found == expected


def test_each_reply_has_its_own_name() -> None:
    names = [entry["id"] for entry in ENTRIES]
    assert len(set(names)) == len(names)


def test_each_rule_has_a_reply_that_shows_it() -> None:
    shown = {entry.get("code") for entry in ENTRIES}
    assert {rule.code for rule in RULES} - shown == set()


def test_each_rule_has_its_remedy() -> None:
    assert {rule.remedy_id for rule in RULES} - set(all_remedies()) == set()
