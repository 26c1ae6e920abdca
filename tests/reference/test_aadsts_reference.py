"""Every AADSTS number that the console explains: what becomes of the mailbox, and what a person reads."""

import tomllib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from postroom.identity.token_answers import TokenFailure, read_token_answer
from postroom.identity.token_trouble import explain_token_failure
from postroom.outcome import Stopped
from postroom.remedies import remedy
from tests.unit.identity.pretend_entra import entra_error

TABLE = tomllib.loads((Path(__file__).parent / "aadsts.toml").read_text(encoding="utf-8"))["answer"]
ANSWERS = [pytest.param(answer, code, id=f"AADSTS{code}") for answer in TABLE for code in answer["codes"]]


def read(response: httpx2.Response) -> TokenFailure:
    answer = read_token_answer(response.status_code, response.headers, response.content, 0)
    assert isinstance(answer, TokenFailure)
    return answer


@pytest.mark.parametrize(("answer", "code"), ANSWERS)
def test_class_and_sentence(answer: dict[str, Any], code: int) -> None:
    status = 401 if answer["error"] == "invalid_client" else 400
    failure = read(entra_error(answer["error"], code, status))
    explained = explain_token_failure(failure, 0)
    outcome = explained.cause.value if isinstance(explained, Stopped) else "later"
    assert (outcome, explained.failure.remedy_id) == (answer["outcome"], answer["remedy"])
    told = remedy(explained.failure.remedy_id)
    text = " ".join((told.title, told.meaning, *(step.text for step in told.steps)))
    assert answer["says"] in text
    assert explained.failure.text.startswith(f"AADSTS{code}: "), "Microsoft's own words are kept"
    assert "0d1c-trace" in (explained.failure.trace or "")


def test_no_number_stands_twice() -> None:
    codes = [code for answer in TABLE for code in answer["codes"]]
    assert len(codes) == len(set(codes)) > 80
