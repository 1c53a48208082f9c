"""Decisions are one page each and open with a title; their index is a generated page (`test_generated.py`)."""

import pytest

from tests.repository.files import text, tracked
from tests.repository.generate import DECISIONS

PAGES = [name for name in tracked() if name.startswith("docs/adr/") and name.endswith(".md") and name != DECISIONS]


@pytest.mark.parametrize("name", PAGES)
def test_a_decision_is_one_page(name: str) -> None:
    content = text(name)
    assert content is not None
    assert content.startswith("# ")
    assert content.count("\n") <= 60
