"""The list of what waits, as Postfix prints it."""

import time

import pytest

from postroom.cli.mailq import Waiting, format_queue


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)


RECEIVED_AT = 1_732_338_760  # Sat Nov 23 05:12:40 2024


def waiting(**changes: object) -> Waiting:
    message = {
        "id": "01JD8Z4G5H6J7",
        "state": "sending",
        "size_bytes": 2048,
        "received_at": RECEIVED_AT,
        "sender": "scanner@contoso.com",
        "recipients": [("ops@contoso.com", "432 4.3.2 thread limit", RECEIVED_AT + 60)],
    }
    return message | changes  # type: ignore[return-value]


def test_an_empty_queue_says_so() -> None:
    assert list(format_queue([])) == ["Mail queue is empty"]


def test_the_form_is_the_one_that_scripts_read() -> None:
    assert list(format_queue([waiting()])) == [
        "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------",
        "01JD8Z4G5H6J7*  2048 Sat Nov 23 05:12:40  scanner@contoso.com",
        "           (432 4.3.2 thread limit; next try Sat Nov 23 05:13:40)",
        "                                          ops@contoso.com",
        "",
        "-- 2 Kbytes in 1 Request.",
    ]


@pytest.mark.parametrize(("state", "sign"), [("sending", "*"), ("held", "!"), ("queued", " "), ("deferred", " ")])
def test_a_sign_tells_what_is_being_sent_and_what_is_held(state: str, sign: str) -> None:
    assert list(format_queue([waiting(state=state)]))[1][13] == sign


def test_a_try_of_today_is_told_by_its_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", lambda at=RECEIVED_AT: time.gmtime(at))
    assert "           (432 4.3.2 thread limit; next try 05:13:40)" in list(format_queue([waiting()]))


def test_a_reason_stands_once_above_all_whom_it_concerns() -> None:
    recipients = [("a@x.example", "busy", None), ("b@x.example", "busy", None), ("c@x.example", "", None)]
    lines = list(format_queue([waiting(recipients=recipients), waiting(sender="", size_bytes=10_000)]))
    assert lines[2:6] == ["           (busy)", *(f"{'':42}{name}@x.example" for name in "abc")]
    assert lines[-5].endswith("  MAILER-DAEMON")
    assert lines[-1] == "-- 12 Kbytes in 2 Requests."


def test_what_came_from_outside_cannot_act_in_a_terminal() -> None:
    lines = list(format_queue([waiting(sender="\x1b[2J@x.example", recipients=[("a", "\x1b]0;x\x07", None)])]))
    assert all(line.isprintable() for line in lines)
