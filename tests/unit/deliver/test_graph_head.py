"""What Graph makes of a head: who would get the message, Bcc from the envelope, and what it changes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.deliver.graph_head import GraphFitError, make_graph_head

MAILBOX = ("scanner@contoso.com", "scan@contoso.com")


def head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def test_recipients_that_no_field_names_become_bcc() -> None:
    content = head("From: scanner@contoso.com", "To: Ops <OPS@fabrikam.example>", "Subject: x")
    made = make_graph_head(content, ("ops@fabrikam.example", "b@x.example", "jörg@x.example"), MAILBOX)
    assert made.content == content[:-2] + "Bcc: b@x.example,\r\n jörg@x.example\r\n\r\n".encode()


def test_a_head_that_names_everybody_is_handed_over_as_it_is() -> None:
    content = head("From: scanner@contoso.com", "To: a@x.example,", " b@x.example", "Cc: c@x.example")
    assert make_graph_head(content, ("c@x.example", "b@x.example", "a@x.example"), MAILBOX).content == content


@pytest.mark.parametrize(
    "line",
    [
        "To: sent@x.example, open@x.example",
        "Cc: Sent <sent@x.example>",
        "To: team: sent@x.example, open@x.example;",
        'To: "Sent, of x" <sent@x.example>',
        "TO: (a comment) sent@x.example",
    ],
)
def test_nobody_gets_it_who_is_not_among_the_open_recipients(line: str) -> None:
    with pytest.raises(GraphFitError, match=r"also to sent@x\.example, who stands in its header"):
        make_graph_head(head("From: scanner@contoso.com", line), ("open@x.example",), MAILBOX)


@pytest.mark.parametrize("line", ['To: "open@x.example', "To: <a@x.example> <b@x.example>", "no field at all"])
def test_what_cannot_be_read_with_certainty_does_not_go(line: str) -> None:
    with pytest.raises(GraphFitError, match="cannot be read"):
        make_graph_head(head("From: scanner@contoso.com", line), ("open@x.example",), MAILBOX)


def test_what_graph_changes_is_known_before() -> None:
    content = head(
        "Date: Fri, 27 Nov 2026 06:00:00 +0000",
        "From: The scanner <scan@contoso.com>",
        "To: a@x.example",
        "X-Job: 7",
        "List-Id: <x>",
    )
    assert make_graph_head(content, ("a@x.example",), MAILBOX).changes == (
        "Graph puts the time of sending in place of Date.",
        "Graph may drop these fields: list-id, x-job.",
        "Graph puts the mailbox's own name in place of the one in From.",
        "Graph puts scanner@contoso.com in place of its alias scan@contoso.com in From.",
    )


@given(
    st.lists(st.sampled_from([b"To: ", b"a@x.example", b", ", b"\r\n ", b"<", b">", b'"', b"(", b";", b":", b"\xff"]))
)
def test_no_head_makes_us_fall(pieces: list[bytes]) -> None:
    with contextlib.suppress(GraphFitError):
        make_graph_head(b"To: " + b"".join(pieces) + b"\r\n\r\n", ("a@x.example",), MAILBOX)
