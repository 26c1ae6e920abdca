"""Every query of the hot path is served by an index: the planner is asked."""

import re
from pathlib import Path

import pytest

from postroom.store.database import Connection
from postroom.store.messages import _compose_page
from postroom.store.search_words import parse_search
from postroom.store.statements import load_statements
from tests.unit.store.open_connection import migrated

# Tables with one row, one row a mailbox, one a state, at most two an app, or a bound of their own.
FEW_ROWS = {
    *(
        "mailboxes",
        "grants",
        "renewals",
        "mail_servers",
        "instance",
        "recipient_counts",
        "setup_links",
        "sign_in_links",
        "mail_server_drafts",
    ),
    *("apps", "credentials", "refused_clients", "sending_settings", "canaries", "routing_rules"),
    "finished_totals",  # states by classes of failure
}
# What the planner calls the rows of a JSON parameter, of a subquery, or of the leased deliveries only.
BOUNDED = {"given", "move", "ended", "staged", "claimed", "name", "json_each", "truth", "leased", "moved", "CONSTANT"}
ONE_PAGE = {"recent_audit", "anybody", "notices_due", "any_refused_senders"}  # end at their LIMIT
PRUNED_SOON = {
    "delete_refused_senders",  # an hour of them
    "delete_recipient_minutes",
    "delete_external_minutes",
    "delete_app_turns",
}  # two days of minutes; the apps that are ahead
LIVE_ONLY = {"waiting_by_way", "due_by_way", "open_messages", "delete_mailbox"}  # the live deliveries


def plan_of(connection: Connection, text: str) -> list[str]:
    names = set(re.findall(r":([a-z0-9_]+)", text))
    values = dict.fromkeys(names, "[]" if "json_each" in text else None)
    return [row["detail"] for row in connection.raw.execute(f"EXPLAIN QUERY PLAN {text}", values)]


def scans(plan: list[str]) -> list[str]:
    found = []
    for step in plan:
        match = re.match(r"SCAN (\S+)", step)
        if match and match[1] not in FEW_ROWS | BOUNDED and not match[1].startswith("("):
            found.append(step)
    return found


@pytest.mark.parametrize(
    "name", [name for name, text in load_statements().items() if not text.endswith("VALUES") and name != "search_page"]
)
def test_no_statement_reads_a_whole_table(tmp_path: Path, name: str) -> None:
    if name in ONE_PAGE | PRUNED_SOON | LIVE_ONLY:
        return
    with migrated(tmp_path) as connection:
        plan = plan_of(connection, connection.statement(name))
    # The inner SELECT of due_deliveries carries the name of its table; it ends at its LIMIT.
    assert [step for step in scans(plan) if (name, step) != ("due_deliveries", "SCAN deliveries")] == []


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("due_deliveries", "SEARCH deliveries USING INDEX deliveries_due (mail_server_id=?)"),
        ("any_due_delivery", "SEARCH deliveries USING INDEX deliveries_due (mail_server_id=?)"),
        ("waiting_that_are_due", "SEARCH deliveries USING INDEX deliveries_waiting (mailbox_id=? AND due_at_us<?)"),
        (
            "due_before",
            "SEARCH deliveries USING INDEX deliveries_due (mail_server_id=? AND (lane,turn)<(?,?))",
        ),
        ("rest_pace_slots", "SEARCH pace_slots USING PRIMARY KEY (mailbox_id=? AND slot=?)"),
        ("last_turns", "SEARCH app_turns USING PRIMARY KEY (mailbox_id=? AND lane=? AND app_id=?) LEFT-JOIN"),
        ("change_turns", "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"),
        ("pace_slot_use", "SEARCH pace_slots USING COVERING INDEX pace_slots_by_use (mailbox_id=? AND used_at_us>?)"),
        ("external_since", "SEARCH external_minutes USING PRIMARY KEY (tenant=? AND minute>?)"),
        ("recipients_since", "SEARCH recipient_minutes USING PRIMARY KEY (mailbox_id=? AND minute>?)"),
        ("expired_leases", "SEARCH leased USING INDEX deliveries_leased (mailbox_id=? AND expires_at_us<?)"),
        ("move_recipients", "SEARCH recipients USING INTEGER PRIMARY KEY (rowid=?)"),
        ("lease_recipients", "SEARCH recipients USING INTEGER PRIMARY KEY (rowid=?)"),
        ("lease_deliveries", "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"),
        ("end_attempts", "SEARCH attempts USING INTEGER PRIMARY KEY (rowid=?)"),
        ("summarise_messages", "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"),
        ("free_pace_slots", "SEARCH pace_slots USING COVERING INDEX pace_slots_by_use (mailbox_id=? AND used_at_us<?)"),
        ("app_to_sign_in", "SEARCH apps USING INDEX sqlite_autoindex_apps_1 (login=?)"),
        ("api_key_to_sign_in", "SEARCH api_keys USING INDEX sqlite_autoindex_api_keys_1 (key_hash=?)"),
        ("suspects", "SEARCH deliveries USING INDEX deliveries_suspected (crashes>?)"),
        ("app_use_by_minute", "SEARCH messages USING COVERING INDEX messages_by_app (app_id=? AND message_id>?)"),
        ("used_idempotency_keys", "SEARCH idempotency_keys USING PRIMARY KEY (app_id=? AND key=? AND item=?)"),
        ("scheduled_that_are_due", "SEARCH recipients USING INDEX recipients_scheduled (next_attempt_at_us<?)"),
        ("next_scheduled", "SEARCH recipients USING INDEX recipients_scheduled"),
        ("session", "SEARCH sessions USING INDEX sqlite_autoindex_sessions_1 (token_hash=?)"),
        ("open_messages_by_state", "SEARCH messages USING COVERING INDEX messages_by_state (state=?)"),
        ("last_sent", "SEARCH messages USING INDEX messages_by_state (state=?)"),
        ("waiting_by_way", "SCAN deliveries USING COVERING INDEX deliveries_waits"),
        (
            "prune_content",
            "SEARCH messages USING INDEX messages_to_prune (finished_at_us>? AND finished_at_us<?)",
        ),
    ],
)
def test_the_hot_path_uses_the_index_made_for_it(tmp_path: Path, name: str, index: str) -> None:
    with migrated(tmp_path) as connection:
        assert index in plan_of(connection, connection.statement(name))


@pytest.mark.parametrize("name", ["due_deliveries", "any_due_delivery", "free_pace_slots", "waiting_that_are_due"])
def test_order_comes_from_the_index(tmp_path: Path, name: str) -> None:
    with migrated(tmp_path) as connection:
        plan = plan_of(connection, connection.statement(name))
    sorts = [step for step in plan if "TEMP B-TREE" in step]
    # due_deliveries sorts the handful of rows that it has chosen once more, after joining.
    assert len(sorts) == (1 if name == "due_deliveries" else 0)


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("", "SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (
            "status:failed",
            "SEARCH messages USING COVERING INDEX messages_by_state",
        ),
        ("from:anna", "SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("id:0A03ZKR00000K", "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_a_page_of_the_list_walks_an_index(tmp_path: Path, words: str, step: str) -> None:
    with migrated(tmp_path) as connection:
        text, values = _compose_page(connection.statement("search_page"), parse_search(words), 0, 1 << 62, 50)
        plan = [row["detail"] for row in connection.query(f"EXPLAIN QUERY PLAN {text}", values)]
    assert any(line.startswith(step) for line in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan)
