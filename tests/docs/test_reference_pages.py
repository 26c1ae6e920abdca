import pytest

from scripts import reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (reference.DOCS / name).read_text() == reference.PAGES[name](), "run scripts/reference.py"
