"""Decisions are one page each, open with a title, and stand in the index."""

import pytest

from tests.repository.files import text, tracked

INDEX = "docs/adr/README.md"
PAGES = [name for name in tracked() if name.startswith("docs/adr/") and name.endswith(".md") and name != INDEX]


@pytest.mark.parametrize("name", PAGES)
def test_a_decision_is_one_page_and_in_the_index(name: str) -> None:
    content, index = text(name), text(INDEX)
    assert content is not None
    assert index is not None
    assert content.startswith("# ")
    assert content.count("\n") <= 60
    assert f"({name.removeprefix('docs/adr/')})" in index, f"list {name} in {INDEX}"
