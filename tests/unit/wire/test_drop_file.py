"""Files of the drop folder: what one end writes, the other reads, and nothing that was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.drop_file import DropFileError, format_envelope, parse_envelope

commands = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=40)


@given(commands, st.lists(commands, max_size=4), st.binary(max_size=60))
def test_what_was_written_is_read_back(mail: str, recipients: list[str], content: bytes) -> None:
    if "DATA" in (mail, *recipients):
        return
    file = format_envelope(mail, recipients, len(content)) + content
    found, start = parse_envelope(file, len(file))
    assert found == [mail, *recipients]
    assert file[start:] == content


@given(st.integers(min_value=0, max_value=60))
def test_what_was_cut_is_not_read(size_bytes: int) -> None:
    file = format_envelope("MAIL FROM:<a@b>", ["RCPT TO:<c@d>"], 10) + b"0123456789"
    with pytest.raises(DropFileError):
        parse_envelope(file[:size_bytes], min(size_bytes, len(file) - 1))
