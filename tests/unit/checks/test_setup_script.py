"""The set-up plan asks for what a way to send needs and no more, and its script holds hostile names in quotes."""

import base64
import json
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from postroom.checks.setup_block import MARK, SetupBlock, read_setup_block
from postroom.checks.setup_plan import ChangeKind, SetupPlan, plan_setup
from postroom.checks.setup_script import powershell_script
from postroom.store.records import EmailType, MailServerDraft, SendRight

GOLDEN = Path(__file__).with_name("setup_script.ps1")
ENTRA = [ChangeKind.REGISTER_APP, ChangeKind.CONSENT, ChangeKind.MAKE_SECRET]
HOSTILE = "o'brien\u2019; Remove-Mailbox *\r\n$(x)`\"{0}"


def plan_for(draft: MailServerDraft, permissions: tuple[str, ...] = ("SMTP.Send", "User.Read")) -> SetupPlan:
    return plan_setup(draft, app_name="Postroom", redirect_url="https://mail.example.com/cb", permissions=permissions)


def kinds(**settings: Any) -> list[ChangeKind]:
    draft = replace(MailServerDraft(username="scanner@contoso.com", sender="scanner@contoso.com"), **settings)
    return [change.kind for change in plan_for(draft).changes]


def test_one_mailbox_by_smtp_needs_its_switch_and_no_right() -> None:
    assert kinds() == [*ENTRA, ChangeKind.SWITCH_ON_SMTP_AUTH]


def test_graph_needs_no_switch_in_exchange() -> None:
    assert kinds(email_type=EmailType.GRAPH) == ENTRA


@pytest.mark.parametrize(
    ("right", "kind"),
    [
        (SendRight.SEND_AS, ChangeKind.GRANT_SEND_AS),
        (SendRight.SEND_ON_BEHALF, ChangeKind.GRANT_SEND_ON_BEHALF),
    ],
)
def test_another_sender_needs_the_right_that_was_chosen(right: SendRight, kind: ChangeKind) -> None:
    assert kinds(sender="noreply@contoso.com", send_right=right)[-1] is kind


def test_a_shared_mailbox_needs_full_access() -> None:
    assert ChangeKind.GRANT_FULL_ACCESS in kinds(mailbox_address="shared@contoso.com")


def whole_plan(value: str = "") -> SetupPlan:
    draft = MailServerDraft(
        tenant=value or "contoso.com",
        username=value or "scanner@contoso.com",
        mailbox_address=f"{value}shared@contoso.com",
        sender=f"{value}noreply@contoso.com",
        send_right=SendRight.SEND_AS,
    )
    return plan_for(draft, ("SMTP.Send", "offline_access", "User.Read"))


def test_the_script_is_the_one_that_was_read() -> None:
    assert powershell_script(whole_plan()) == GOLDEN.read_text(encoding="utf-8")


def test_each_change_of_a_plan_has_its_lines() -> None:
    script = powershell_script(whole_plan())
    for change in whole_plan().changes:
        assert f"# {change.kind.value} (least role: {change.role}). Undo: {change.undo}\n" in script


def test_hostile_names_stay_words() -> None:
    """Beyond the quoted values at its top the script is the same, whatever they are."""
    literal = "'(?:[^'\u2018\u2019\u201a\u201b]|(?:['\u2018\u2019\u201a\u201b]){2})*'"
    hostile, plain = powershell_script(whole_plan(HOSTILE)), powershell_script(whole_plan())
    assert "Remove-Mailbox *" in hostile
    assert re.sub(literal, "", hostile) == re.sub(literal, "", plain)


@pytest.mark.skipif(shutil.which("pwsh") is None, reason="PowerShell is not installed here")
def test_powershell_can_parse_it(tmp_path: Path) -> None:
    script = tmp_path / "setup.ps1"
    script.write_text(powershell_script(whole_plan(HOSTILE)), encoding="utf-8-sig")
    asked = f"$e = $null; [void][Management.Automation.Language.Parser]::ParseFile('{script}', [ref]$null, [ref]$e); $e"
    ran = subprocess.run(["pwsh", "-NoProfile", "-Command", asked], capture_output=True, text=True, check=True)
    assert ran.stdout == ""


VALUES = {"tenant": "contoso.com", "client_id": "c", "client_secret": "a~b'c", "secret_ends_on": "2028-11-26"}
BLOCK = MARK + base64.b64encode(json.dumps(VALUES).encode()).decode()


@pytest.mark.parametrize("text", [BLOCK, f"PS C:\\> ./setup.ps1\n{BLOCK[:60]}\r\n{BLOCK[60:]}\r\n"])
def test_the_block_is_read_as_a_terminal_shows_it(text: str) -> None:
    assert read_setup_block(text) == SetupBlock("contoso.com", "c", "a~b'c", date(2028, 11, 26))


@pytest.mark.parametrize("text", ["", "a~secret", BLOCK[:-7], f"{MARK}bm8=", f"{MARK}é"])
def test_what_is_no_whole_block_is_not_taken(text: str) -> None:
    assert read_setup_block(text) is None


def test_a_block_does_not_show_its_secret() -> None:
    assert "a~b" not in repr(read_setup_block(BLOCK))
