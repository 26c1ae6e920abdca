"""`postroom explain`: everything of the reference is explained, by the same remedy as on every other surface."""

import inspect
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from postroom.accept import refusals
from postroom.accept.refusal_words import find_own_remedy
from postroom.cli.explain import explain as command
from postroom.cli.explaining import explain
from postroom.errors import Refusal
from postroom.remedies import all_remedies, remedy
from postroom.simulator.scenarios import Scenario, read_scenarios

REFERENCE = Path(__file__).parents[2] / "reference"


def entries(name: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((REFERENCE / name).read_text(encoding="utf-8"))[key]
    return found


# A reply below 400 is no failure by itself: it came at the wrong moment, which the line alone does not show.
REPLIES = [
    it
    for it in entries("replies.toml", "reply") + entries("providers.toml", "reply")
    if "remedy" in it and it["reply"][0] in "45"
]
NUMBERS = [(it, code) for it in entries("aadsts.toml", "answer") for code in it["codes"]]
ERRORS = entries("graph.toml", "error")


@pytest.mark.parametrize("entry", REPLIES, ids=lambda it: str(it["id"]))
def test_a_reply_of_the_reference_has_the_remedy_of_its_row(entry: dict[str, Any]) -> None:
    found = explain(entry["reply"], entry["command"])
    # What no rule knows is judged by its class: it is said to be unknown.
    assert found.remedies in ((entry["remedy"],), ()), found
    if not found.remedies:
        assert found.meaning.startswith("Postroom does not know this reply. By its class")
        assert not found.is_known


def test_most_replies_are_known() -> None:
    known = [entry for entry in REPLIES if explain(entry["reply"], entry["command"]).is_known]
    assert len(known) > 0.8 * len(REPLIES)


@pytest.mark.parametrize(("entry", "code"), NUMBERS, ids=lambda it: f"AADSTS{it}" if isinstance(it, int) else "")
def test_a_number_of_the_reference_has_the_remedy_of_its_row(entry: dict[str, Any], code: int) -> None:
    found = explain(f"{entry['error']}: AADSTS{code}: Some sentence. Trace ID: 0d1c")
    assert found.remedies == (entry["remedy"],)
    assert found.link == f"https://login.microsoftonline.com/error?code={code}"


@pytest.mark.parametrize("entry", ERRORS, ids=lambda it: str(it["id"]))
def test_an_error_of_graph_has_the_remedy_of_its_row(entry: dict[str, Any]) -> None:
    body = json.dumps({"error": {"code": entry["code"], "message": entry["message"]}})
    found = explain(f"HTTP {entry['status']} {body}")
    assert found.remedies in ((entry["remedy"],), ()), found
    assert found.kind == "graph"


def sample(refusal: Any) -> Refusal:
    """The refusal with something in place of each argument."""
    values: dict[str, Any] = {"str": "x", "int": 7, "int | None": 7, "tuple[str, ...]": ("a@contoso.com",)}
    arguments = {
        name: "bare_lf" if name == "kind" else values[inspect.formatannotation(it.annotation)]
        for name, it in inspect.signature(refusal).parameters.items()
    }
    made = refusal(**arguments)
    assert isinstance(made, Refusal)
    return made


OWN = [it for _, it in inspect.getmembers(refusals, inspect.isfunction) if it.__name__[0] != "_"]


@pytest.mark.parametrize("refusal", [it for it in OWN if it.__name__ != "readable_size"], ids=lambda it: it.__name__)
def test_the_line_that_a_printer_shows_is_recognised_as_ours(refusal: Any) -> None:
    reply = sample(refusal).reply
    assert find_own_remedy(reply.text) == reply.remedy_id
    assert explain(reply.smtp_reply).remedies == (reply.remedy_id,)


SCENARIOS = read_scenarios()
SHARED = {name: it for name, it in SCENARIOS.items() if it.looks_alike}


@pytest.mark.parametrize(("name", "scenario"), SHARED.items(), ids=SHARED)
def test_what_looks_alike_is_named_as_a_whole(name: str, scenario: Scenario) -> None:
    """Whatever a scenario cannot be told from stands among the causes of its remedy, and so does the scenario."""
    (remedy_id,) = explain(scenario.reply).remedies
    way = scenario.way if scenario.way != "graph" else None
    named = {cause.cause_id for cause in remedy(remedy_id).causes_of(way)}
    alike = {other.replace("-", "_") for other in (name, *scenario.looks_alike)}
    assert alike <= named
    # Each cause names what tells it: no fewer than the free ones of the scenario's file.
    assert len(named) >= len(alike) + len(scenario.also)


@pytest.mark.parametrize("it", [it for it in all_remedies().values() if it.causes], ids=lambda it: it.remedy_id)
def test_each_cause_is_told_from_the_others(it: Any) -> None:
    assert len(it.causes) > 1
    assert len({cause.cause_id for cause in it.causes}) == len(it.causes)
    assert all(cause.tell.endswith(".") and not cause.title.endswith(".") for cause in it.causes)
    assert len({cause.tell for cause in it.causes}) == len(it.causes)


@pytest.mark.parametrize(
    ("text", "remedies"),
    [
        ("smtplib.SMTPAuthenticationError: (535, b'5.7.3 Authentication unsuccessful')", ("token_not_accepted",)),
        ("status=deferred (host said: 432 4.3.2 sender thread limit exceeded)", ("too_many_connections",)),
        ("5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
         ("security_defaults",)),
        ("SmtpClientAuthentication is disabled for the Tenant.", ("smtp_auth_off_tenant",)),
        ("ErrorSendAsDenied", ("send_as_denied",)),
        ("invalid_client", ("secret_wrong",)),
        ('{"error":"invalid_client","error_description":"AADSTS7000222: expired","error_codes":[7000222]}',
         ("secret_expired",)),
        ("send_on_behalf_denied", ("send_as_denied",)),
        ("AADSTS9999999: News.", ()),
        ("299 what", ()),
        ("hello", ()),
    ],
)  # fmt: skip
def test_words_as_people_find_them(text: str, remedies: tuple[str, ...]) -> None:
    assert explain(text).remedies == remedies


def test_a_code_of_the_api_alone_has_its_meaning() -> None:
    found = explain("insufficient_scope")
    assert (found.kind, found.is_known) == ("postroom", True)
    assert "HTTP 403" in found.meaning


def test_the_command_fills_in_what_it_is_told_and_prints_the_same_text() -> None:
    text = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."
    ran = CliRunner().invoke(command, [text, "--with", "mailbox=o'brien@contoso.com"])
    assert ran.exit_code == 0
    assert "SMTP sign-in is switched off for o'brien@contoso.com  [smtp_auth_off_mailbox]" in ran.output
    assert "Set-CASMailbox -Identity 'o''brien@contoso.com' -SmtpClientAuthenticationDisabled $false" in ran.output


def test_several_causes_are_printed_with_what_tells_them() -> None:
    ran = CliRunner().invoke(command, ["535 5.7.3 Authentication unsuccessful"])
    assert "The answer does not tell which of these it is" in ran.output
    assert (
        "The app is not registered in Exchange (sign-in: application). What tells: Get-ServicePrincipal" in ran.output
    )


def test_what_nobody_knows_is_said_to_be_unknown_with_an_exit_code() -> None:
    ran = CliRunner().invoke(command, ["--json"], input="451 4.9.9 the moon is full\n")
    assert ran.exit_code == 1
    answer = json.loads(ran.output)
    assert (answer["known"], answer["kind"], answer["remedies"]) == (False, "smtp_reply", [])
    assert "tried again" in answer["meaning"]


def test_a_wrong_name_for_a_value_is_refused() -> None:
    ran = CliRunner().invoke(command, ["invalid_client", "--with", "password=x"])
    assert ran.exit_code == 2
    assert "one of these names" in ran.output
