"""Every reply of replies.toml and providers.toml means for us what stands beside it."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postroom.deliver.replies import known_rule, outcome_of
from postroom.deliver.reply_rule import Verdict
from postroom.deliver.reply_rules import RULES
from postroom.outcome import Sent, Stopped
from postroom.remedies import all_remedies
from postroom.wire.replies import parse_reply

ENTRIES: list[dict[str, Any]] = [
    entry
    for name in ("replies.toml", "providers.toml")
    for entry in tomllib.loads(Path(__file__).with_name(name).read_text())["reply"]
]

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


def test_each_rule_decides_over_a_reply_of_the_reference() -> None:
    deciding = [known_rule(parse_reply(entry["reply"]), entry["command"]) for entry in ENTRIES]
    assert [rule for rule in RULES if rule not in deciding] == []


def test_each_rule_and_each_reply_has_its_remedy() -> None:
    named = {rule.remedy_id for rule in RULES} | {entry["remedy"] for entry in ENTRIES if "remedy" in entry}
    assert named - set(all_remedies()) == set()


def test_a_stop_has_a_cause_and_nothing_else_has_one() -> None:
    assert [rule for rule in RULES if (rule.verdict is Verdict.STOPPED) != (rule.cause is not None)] == []


def test_each_word_of_a_rule_stands_in_a_reply_of_the_reference() -> None:
    said = "\n".join(parse_reply(entry["reply"]).text.lower() for entry in ENTRIES)
    words = {fragment for rule in RULES for fragment in rule.fragments}
    assert sorted(word for word in words if word not in said) == []
