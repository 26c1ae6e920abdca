"""What holds for every reply, known or not; the known ones are in tests/reference/."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.deliver.replies import MAX_TEXT, find_trace, outcome_of
from postroom.deliver.reply_rules import RULES
from postroom.outcome import Refused, Sent, Stopped, TryLater
from postroom.wire.replies import Reply, make_reply

FRAGMENTS = sorted({fragment for rule in RULES for fragment in rule.fragments})
ENHANCED = sorted({code for rule in RULES for code in rule.enhanced})
COMMANDS = ("CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET")


@st.composite
def replies(draw: st.DrawFn, first: int, last: int) -> Reply:
    """Replies of any code with words and enhanced codes of all rules thrown together."""
    words = draw(st.lists(st.sampled_from(FRAGMENTS), max_size=2))
    return Reply(draw(st.integers(first, last)), tuple(words), draw(st.sampled_from(ENHANCED)))


@given(replies(300, 499), st.sampled_from(COMMANDS))
def test_a_temporary_answer_never_fails_mail(reply: Reply, command: str) -> None:
    assert isinstance(outcome_of(reply, command=command), TryLater | Stopped)


@given(st.integers(400, 599), st.text(max_size=20), st.sampled_from(("CONNECT", "EHLO", "STARTTLS", "AUTH")))
def test_no_mail_fails_for_what_is_said_before_a_message(code: int, text: str, command: str) -> None:
    assert not isinstance(outcome_of(Reply(code, (text,)), command=command), Refused | Sent)


@given(replies(400, 599), st.sampled_from(COMMANDS))
def test_a_refusal_is_never_taken_for_an_acceptance(reply: Reply, command: str) -> None:
    assert not isinstance(outcome_of(reply, command=command), Sent)


@pytest.mark.parametrize("code", [530, 534, 535])
@pytest.mark.parametrize("command", COMMANDS)
def test_trouble_with_signing_in_stops_the_mailbox_whatever_was_asked(code: int, command: str) -> None:
    assert isinstance(outcome_of(make_reply(code, ["No"]), command=command), Stopped)


def test_a_failure_has_the_servers_words_and_what_support_asks_for() -> None:
    reply = make_reply(554, ["5.7.1 Message rejected [AB1.prod.outlook.com 2026-01-01T00:00:00.000Z 08DE]"])
    outcome = outcome_of(reply, command="DATA", server="smtp.office365.com:587")
    assert isinstance(outcome, Refused)
    assert outcome.failure.text == "5.7.1 Message rejected [AB1.prod.outlook.com 2026-01-01T00:00:00.000Z 08DE]"
    assert outcome.failure.trace == "AB1.prod.outlook.com 2026-01-01T00:00:00.000Z 08DE"
    assert outcome.failure.smtp_code == 554


def test_a_long_reply_is_kept_up_to_a_bound() -> None:
    outcome = outcome_of(make_reply(550, ["x" * 60_000]), command="DATA")
    assert isinstance(outcome, Refused)
    assert len(outcome.failure.text) == MAX_TEXT


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        ("no tag", None),
        ("try again later from [203.0.113.7]. (AS761)", None),
        ("[BeginDiagnosticData]Cannot submit", None),
        ("dropped [due to SocketError]", None),
        ("OK [Hostname=CH2PR14MB4005.namprd14.prod.outlook.com]", "CH2PR14MB4005.namprd14.prod.outlook.com"),
        ("[first.example.com] and [last.example.com]", "last.example.com"),
    ],
)
def test_the_tag_is_found_among_other_brackets(text: str, trace: str | None) -> None:
    assert find_trace(text) == trace
