"""Lines of old devices put right, the same for every division into chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.line_fixer import LineFixer
from postroom.wire.lines import LineError, LineScanner

HEAD = b"Subject: x\r\n\r\n"
MARK = b"-----BEGIN PGP SIGNED MESSAGE-----"


def fix(*chunks: bytes, fixer: LineFixer | None = None) -> bytes:
    fixer = fixer or LineFixer()
    return b"".join(piece for chunk in chunks for piece in fixer.feed(chunk)) + fixer.finish()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"Subject: x\n\none\ntwo\r\n", HEAD + b"one\r\ntwo\r\n"),
        (b"Subject: x\r\rone\rtwo", HEAD + b"one\r\ntwo"),
        (HEAD + b"a\0b\r\0\n", HEAD + b"ab\r\n"),
        (HEAD + b"one\r", HEAD + b"one\r\n"),
        (HEAD + b"one\r\r\n", HEAD + b"one\r\n\r\n"),
        (b"", b""),
        (b"\n", b"\r\n"),
        (HEAD + b"a " * 499 + b"bcd\r\n", HEAD + b"a " * 499 + b"\r\nbcd\r\n"),
        (HEAD + b"x" * 1000 + b"\r\n", HEAD + b"x" * 998 + b"\r\nxx\r\n"),
        (HEAD + b"x" * 997 + "ä".encode() + b"\r\n", HEAD + b"x" * 997 + b"\r\n" + "ä".encode() + b"\r\n"),
        (
            b"X: " + b"a" * 500 + b" " + b"b" * 500 + b"\r\n\r\n",
            b"X: " + b"a" * 500 + b"\r\n " + b"b" * 500 + b"\r\n\r\n",
        ),
        (b"X:" + b"a" * 1000 + b"\r\n\r\n", b"X:" + b"a" * 996 + b"\r\n aaaa\r\n\r\n"),
    ],
)
def test_lines_are_put_right(content: bytes, wanted: bytes) -> None:
    assert fix(content) == wanted


def test_what_was_done_is_told() -> None:
    fixer = LineFixer()
    fix(b"Subject: x\n\none\ntwo\rthree\0\r\n" + b"x" * 3000 + b"\r\n", fixer=fixer)
    assert fixer.describe_fixes() == (
        "Ended 3 lines with CR LF that had only LF.",
        "Ended one line with CR LF that had only CR.",
        "Removed one NUL character.",
        "Broke one line that was longer than 998 bytes.",
    )


def test_a_message_without_faults_passes_as_it_is() -> None:
    fixer = LineFixer()
    content = HEAD + b"one\r\n\r\n" + b"x" * 998 + b"\r\nlast"
    assert fix(content, fixer=fixer) == content
    assert fixer.describe_fixes() == ()


def test_the_head_is_a_piece_of_its_own_and_the_rest_can_be_forbidden() -> None:
    fixer = LineFixer()
    pieces = fixer.feed(b"Subject: x\n\none\r\ntwo\nthree\r\n")
    assert next(pieces) + next(pieces) == HEAD
    fixer.forbid("it is signed")
    with pytest.raises(LineError) as caught:
        next(pieces)
    assert (caught.value.kind, caught.value.line) == ("bare_lf", 4)
    assert fixer.why_not == "it is signed"


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_text_signed_in_clear_is_not_touched_behind_its_first_line(size: int) -> None:
    content = HEAD + b"one\n" + MARK + b"\r\ntwo\nthree\r\n"
    fixer = LineFixer()
    with pytest.raises(LineError) as caught:
        fix(*(content[at : at + size] for at in range(0, len(content), size)), fixer=fixer)
    assert (caught.value.kind, fixer.why_not) == ("bare_lf", "it holds a text signed with PGP")
    assert fix(content.replace(MARK, b"> " + MARK)).endswith(b"two\r\nthree\r\n")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_nul_in_what_is_signed_is_refused_and_one_before_it_removed(size: int) -> None:
    content = b"Sub\0ject: x\r\n\r\none\0\r\n" + MARK
    assert fix(*(content[at : at + size] for at in range(0, len(content), size))) == HEAD + b"one\r\n" + MARK
    content += b"\r\ntwo\0\r\n"
    with pytest.raises(LineError) as caught:
        fix(*(content[at : at + size] for at in range(0, len(content), size)))
    assert (caught.value.kind, caught.value.line) == ("nul", 5)


def test_a_nul_in_the_same_chunk_as_the_head_that_forbids_changes_is_refused() -> None:
    fixer = LineFixer()

    def forbid_behind_the_head() -> None:
        for piece in fixer.feed(HEAD + b"one\r\ntwo\r\nthr\0ee\r\n"):
            if piece == b"\r\n":
                fixer.forbid("it is signed")

    with pytest.raises(LineError, match="nul in line 5"):
        forbid_behind_the_head()


@pytest.mark.parametrize(("ends", "kind"), [(b"\rx\n", "bare_cr"), (b"\nx\ry", "bare_lf")])
def test_of_several_wrong_ends_the_first_is_told(ends: bytes, kind: str) -> None:
    for cut in range(len(ends) + 1):
        fixer = LineFixer()
        fixer.forbid("it is signed")
        with pytest.raises(LineError) as caught:
            fix(HEAD + ends[:cut], ends[cut:], fixer=fixer)
        assert caught.value.kind == kind


PARTS = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\0", b" ", b"a", b"\xc3\xa4", b"b" * 400, b"c" * 998, b"d " * 300, MARK]
)


def outcome(chunks: list[bytes]) -> object:
    fixer = LineFixer()
    try:
        return fix(*chunks, fixer=fixer), fixer.describe_fixes()
    except LineError:
        return "refused"  # for which of several wrongs may depend on the chunks


@given(st.lists(PARTS, max_size=25), st.lists(st.integers(0, 4000), max_size=8))
def test_chunks_do_not_matter_and_what_comes_out_passes(parts: list[bytes], cuts: list[int]) -> None:
    content = b"".join(parts)
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    whole = outcome([content])
    assert outcome([content[a:b] for a, b in pairwise(places)]) == whole
    if isinstance(whole, tuple):
        scanner = LineScanner()
        scanner.scan(whole[0])
        scanner.finish()
        assert fix(whole[0]) == whole[0]
