"""The remedies: complete, short, known by those who name them, and safe to copy."""

import ast
import re
from pathlib import Path

import pytest

from postroom.remedies import PLACEHOLDERS, Remedy, Step, all_remedies, fill, remedy
from postroom.remedies.book import UNCLEAR

SOURCE = Path(__file__).parents[3] / "src" / "postroom"
# `remedy_id="x"`, `remedy_id or "x"`, `remedy_id: str = "x"`, and conditional ones over one line.
NAMED = re.compile(r"""remedy_id(?:: str(?: \| None)?)?\s*(?:=|or)\s*(?:\(\s*)?f?"([a-z0-9_]+)\"""")
# `Failure(FailureClass.X, "code", text, "remedy")` and deliver's `Rule("code", verdict, class, "remedy", …)`.
BY_PLACE = (
    re.compile(r'Failure\(\s*[A-Za-z.]+,\s*f?"[a-z_]+",\s*[^"()]*?(?:f?"[^"]*",\s*)?"([a-z0-9_]+)"'),
    re.compile(r'Rule\(\s*"[a-z_0-9]+",\s*[A-Za-z_.]+,\s*[A-Za-z_.]+,\s*"([a-z0-9_]+)"'),
)


REFUSALS = SOURCE / "accept" / "refusals.py"


def named_by_refusals() -> set[str]:
    """What we ourselves do not take: the sixth argument of `_refuse`, and the code where there is none."""
    calls = [node for node in ast.walk(ast.parse(REFUSALS.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    refusals = [call.args for call in calls if getattr(call.func, "id", "") == "_refuse"]
    chosen = [arguments[5] if len(arguments) > 5 else arguments[2] for arguments in refusals]
    return {str(it.value) for it in chosen if isinstance(it, ast.Constant)}


def named_in_source() -> dict[str, str]:
    """Each remedy id that the code names, with one file that does."""
    named: dict[str, str] = {}
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for pattern in (NAMED, *BY_PLACE):
            named.update(dict.fromkeys(pattern.findall(text), path.name))
    named.update(dict.fromkeys(named_by_refusals(), REFUSALS.name))
    return named


def test_every_remedy_that_the_code_names_exists() -> None:
    missing = {it: where for it, where in named_in_source().items() if it not in all_remedies()}
    assert missing == {}


def test_the_search_of_the_code_finds_something_of_each_kind() -> None:
    assert {"clock_off", "licence_missing", "smtp_auth_off_tenant", "sender_not_allowed"} <= set(named_in_source())


@pytest.mark.parametrize("it", all_remedies().values(), ids=lambda it: it.remedy_id)
def test_a_remedy_is_complete_and_short(it: Remedy) -> None:
    assert it.title
    assert not it.title.endswith(".")
    assert it.meaning.endswith(".")
    assert it.who
    assert 1 <= len(it.steps) <= 4
    assert all(step.text for step in it.steps)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", it.remedy_id)
    links = [it.link, *(step.link for step in it.steps)]
    assert all(link.startswith("https://") for link in links if link)


@pytest.mark.parametrize("it", all_remedies().values(), ids=lambda it: it.remedy_id)
def test_every_placeholder_is_known(it: Remedy) -> None:
    parts = [it.title, it.meaning, it.who, it.link or ""]
    parts += [text for cause in it.causes for text in (cause.title, cause.tell)]
    parts += [text for step in it.steps for text in (step.text, step.command, step.link) if text]
    found = {name for part in parts for name in re.findall(r"\{([^{}\"=]+)\}", part)}
    assert found <= PLACEHOLDERS


def test_the_real_values_are_filled_in() -> None:
    values = {"username": "scanner@contoso.com", "sender": "noreply@contoso.com"}
    filled = fill(remedy("send_as_denied"), values)
    assert filled.title == "scanner@contoso.com may not send as noreply@contoso.com"
    assert filled.steps[0].command == (
        'Set-Mailbox -Identity noreply@contoso.com -GrantSendOnBehalfTo @{Add="scanner@contoso.com"}'
    )
    assert filled.steps[1].command == (
        "Add-RecipientPermission noreply@contoso.com -Trustee scanner@contoso.com -AccessRights SendAs"
    )


HOSTILE = "o'brien\u2019; Remove-Mailbox $(x)`\r\n@{a}\"@contoso.com"
COMMANDS = [
    pytest.param(step, id=f"{it.remedy_id}-{number}")
    for it in all_remedies().values()
    for number, step in enumerate(it.steps, start=1)
    if step.command
]


def without_quoted(command: str) -> str:
    """What PowerShell reads as its language: all but '…' with doubled quotes (about_Quoting_Rules)."""
    return re.sub("'(?:[^'\u2018\u2019\u201a\u201b]|(?:['\u2018\u2019\u201a\u201b]){2})*'", "", command)


@pytest.mark.parametrize("step", COMMANDS)
def test_each_command_keeps_hostile_values_in_quotes(step: Step) -> None:
    command = fill(step, dict.fromkeys(PLACEHOLDERS, HOSTILE)).command
    assert command is not None
    assert "\n" not in command
    assert without_quoted(command) == without_quoted(re.sub(r'"?\{[a-z_]+\}"?', "", step.command or ""))


@pytest.mark.parametrize("it", all_remedies().values(), ids=lambda it: it.remedy_id)
def test_each_remedy_is_filled_in_everywhere(it: Remedy) -> None:
    filled = fill(it, {name: name.upper() for name in PLACEHOLDERS})
    parts = [filled.title, filled.meaning, filled.who, filled.link or ""]
    parts += [text for step in filled.steps for text in (step.text, step.command, step.link) if text]
    parts += [text for cause in filled.causes for text in (cause.title, cause.tell)]
    left = [part for part in parts if re.search("|".join(f"{{{name}}}" for name in PLACEHOLDERS), part)]
    assert left == []


def test_causes_of_another_way_to_sign_in_are_left_out() -> None:
    it = remedy("token_not_accepted")
    assert {cause.way for cause in fill(it, {"way": "application"}).causes} == {"application"}
    assert len(fill(it, {}).causes) == len(it.causes)


def test_a_missing_value_can_be_seen() -> None:
    filled = fill(remedy("smtp_auth_off_mailbox"), {})
    assert filled.steps[0].command == "Set-CASMailbox -Identity '<mailbox>' -SmtpClientAuthenticationDisabled $false"
    assert filled.title == "SMTP sign-in is switched off for <mailbox>"


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("o'brien@contoso.com", "'o''brien@contoso.com'"),
        ("a@b.c; Remove-Mailbox *", "'a@b.c; Remove-Mailbox *'"),
        ("$(Get-Date)@b.c", "'$(Get-Date)@b.c'"),
        ("a\u2019; x\u2018", "'a\u2019\u2019; x\u2018\u2018'"),
        ("a\r\nRemove-Mailbox b", "'aRemove-Mailbox b'"),
        ("-Confirm:x", "'-Confirm:x'"),
        ("@args", "'@args'"),
        ("`$x@b.c", "'`$x@b.c'"),
        ("jürgen@contoso.com", "jürgen@contoso.com"),
        ("{sender}", "'{sender}'"),
    ],
)
def test_what_comes_from_strangers_stays_one_word_of_a_command(value: str, quoted: str) -> None:
    step = Step("x", command='Get-Mailbox {sender} @{Add="{sender}"}')
    expected = quoted if quoted.startswith("'") else f'"{quoted}"'
    assert fill(step, {"sender": value}).command == f"Get-Mailbox {quoted} @{{Add={expected}}}"


def test_values_are_encoded_in_links() -> None:
    step = Step("x", link="https://login.microsoftonline.com/{tenant}/adminconsent?client_id={client_id}")
    filled = fill(step, {"tenant": "a/b?c", "client_id": "1&2"})
    assert filled.link == "https://login.microsoftonline.com/a%2Fb%3Fc/adminconsent?client_id=1%262"


def test_an_unknown_remedy_is_the_general_one() -> None:
    assert remedy("of_a_newer_version").remedy_id == UNCLEAR
