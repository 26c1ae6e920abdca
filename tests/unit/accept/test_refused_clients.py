"""Who was turned away is written down, once for each address, and never lost by a trouble of the disk."""

from collections.abc import Sequence

import pytest

from postroom.accept.refused_clients import ADDRESSES_COLLECTED, RefusedClientBook
from postroom.errors import StoreFullError
from postroom.store.records import RefusedAttempt

pytestmark = pytest.mark.anyio


def attempt(address: str, at_us: int, code: str = "unknown_device") -> RefusedAttempt:
    return RefusedAttempt(address, "device", "printer", "", code, "why", at_us)


class Paper:
    def __init__(self) -> None:
        self.written: list[RefusedAttempt] = []
        self.is_full = False

    async def write(self, attempts: Sequence[RefusedAttempt]) -> None:
        if self.is_full:
            raise StoreFullError("no space")
        self.written += attempts


async def test_attempts_of_one_address_are_one_entry_with_the_last_reason() -> None:
    paper = Paper()
    book = RefusedClientBook(paper.write)
    book.note(attempt("10.2.3.77", 1))
    book.note(attempt("10.2.3.78", 2))
    book.note(attempt("10.2.3.77", 3, "tls_needed"))
    await book.flush()
    assert [(it.address, it.attempts, it.at_us, it.code) for it in paper.written] == [
        ("10.2.3.78", 1, 2, "unknown_device"),
        ("10.2.3.77", 2, 3, "tls_needed"),
    ]
    await book.flush()
    assert len(paper.written) == 2


async def test_a_full_disk_loses_nothing() -> None:
    paper = Paper()
    book = RefusedClientBook(paper.write)
    paper.is_full = True
    book.note(attempt("10.2.3.77", 1))
    await book.flush()
    book.note(attempt("10.2.3.77", 2))
    paper.is_full = False
    await book.flush()
    assert [(it.attempts, it.at_us) for it in paper.written] == [(2, 2)]


async def test_only_so_many_addresses_are_collected_and_long_names_are_cut() -> None:
    paper = Paper()
    book = RefusedClientBook(paper.write)
    for number in range(ADDRESSES_COLLECTED + 5):
        book.note(attempt(str(number), number))
    book.note(RefusedAttempt("0", "device", "h" * 9000, "l" * 9000, "c", "t", 1))
    await book.flush()
    assert len(paper.written) == ADDRESSES_COLLECTED
    assert (len(paper.written[-1].helo), len(paper.written[-1].login)) == (254, 254)
