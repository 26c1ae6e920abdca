"""How the commands speak to a server: what they show, and how they fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from postroom.cli.running_server import Answers, CommandFailed, quoted, readable, table

PROBLEM = {"detail": "It is full.", "code": "storage_full", "remedy": "Send later.", "retryable": True}


@contextmanager
def answering(answer: httpx2.Response | Exception) -> Iterator[Answers]:
    def handle(request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with httpx2.Client(transport=httpx2.MockTransport(handle), base_url="http://postroom") as client:
        yield Answers(client, is_json=False, is_quiet=False)


@pytest.mark.parametrize(
    ("status", "body", "exit_code", "text"),
    [
        (507, PROBLEM, 75, "It is full. [storage_full] Send later."),
        (409, {**PROBLEM, "retryable": False}, 1, "[storage_full]"),
        (403, PROBLEM, 77, "[storage_full]"),
        (502, None, 1, "answered 502, and not as Postroom does"),
    ],
)
def test_an_error_is_one_sentence_with_code_and_next_step(status: int, body: Any, exit_code: int, text: str) -> None:
    answer = httpx2.Response(status, json=body) if body else httpx2.Response(status, text="<html>")
    with answering(answer) as answers:
        for ask in (lambda: answers.ask("GET", "/x"), lambda: list(answers.stream("/x"))):
            with pytest.raises(CommandFailed) as told:
                ask()
            assert told.value.exit_code == exit_code
            assert text in told.value.message


@pytest.mark.parametrize(
    ("trouble", "exit_code", "text"),
    [
        (httpx2.ConnectError("Connection refused"), 69, "postroom serve"),
        (httpx2.ReadTimeout("slow"), 75, "does not answer"),
    ],
)
def test_a_server_that_is_not_there_is_told(trouble: Exception, exit_code: int, text: str) -> None:
    with answering(trouble) as answers:
        for ask in (lambda: answers.ask("GET", "/x"), lambda: list(answers.stream("/x"))):
            with pytest.raises(CommandFailed) as told:
                ask()
            assert told.value.exit_code == exit_code
            assert text in told.value.message


def test_a_subject_cannot_move_the_terminals_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(httpx2.Response(200, json={})) as answers:
        answers.show({"subject": "a\x1b[2Jb\r\x9b"}, lambda it: f"1\n{it['subject']}ü")
    assert capsys.readouterr().out == "1\na�[2Jb��ü\n"


def test_a_name_is_one_part_of_a_path() -> None:
    assert quoted("HP 2/3 ?#..") == "HP%202%2F3%20%3F%23.."


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "bb"), ("ccc", "d")], ("X", "Y")) == "X    Y\na    bb\nccc  d"
    assert readable("a\tb") == "a�b"
