"""Decisions are one page each, with date and status; their index is a generated page (`test_generated.py`)."""

from datetime import date

import pytest

from tests.repository.adr import FOLDER, INDEX, Decision, decisions, read
from tests.repository.files import text, tracked

PAGES = [name for name in tracked() if name.startswith(f"{FOLDER}/") and name.endswith(".md") and name != INDEX]


@pytest.fixture(scope="module")
def by_name() -> dict[str, Decision]:
    return {it.name: it for it in decisions()}


@pytest.mark.parametrize("name", PAGES)
def test_a_decision_is_one_page_with_date_and_status(name: str) -> None:
    content = text(name)
    assert content is not None
    assert content.count("\n") <= 60
    date.fromisoformat(read(name, content).date)


def test_decisions_are_numbered_in_their_order(by_name: dict[str, Decision]) -> None:
    assert [int(it.number) for it in by_name.values()] == list(range(1, len(by_name) + 1))
    days = [it.date for it in by_name.values()]
    assert days == sorted(days)


def test_whoever_takes_a_decision_back_is_later_and_says_so(by_name: dict[str, Decision]) -> None:
    for one in by_name.values():
        for other in one.superseded_by + one.amended_by:
            assert by_name[other].number > one.number
            assert one.name in by_name[other].amends, f"{other} does not say that it amends {one.name}"
        for other in one.amends:
            said = by_name[other].amended_by + by_name[other].superseded_by
            assert one.name in said, f"{other} does not say that {one.name} takes a part of it back"


def test_a_status_is_read_with_its_links() -> None:
    page = (
        "# One copy\n\n**Date.** 2026-01-02 · **Status.** superseded by [0003](0003-c.md), "
        "amended by [0004](0004-d.md), [0005](0005-e.md), amends [0001](0001-a.md)\n\nText.\n"
    )
    one = read("0002-b.md", page)
    assert (one.number, one.title, one.date) == ("0002", "One copy", "2026-01-02")
    assert one.superseded_by == ("0003-c.md",)
    assert one.amended_by == ("0004-d.md", "0005-e.md")
    assert one.amends == ("0001-a.md",)
    assert one.status == "superseded by [0003](0003-c.md), amended by [0004](0004-d.md), [0005](0005-e.md)"


@pytest.mark.parametrize(
    "opening",
    [
        "",
        "# A\n",
        "# A\n\nText.\n",
        "A\n\n**Date.** 2026-01-02 · **Status.** accepted\n",
        "# A\n\n**Date.** 2026 · …\n",
    ],
)
def test_a_page_without_date_and_status_is_none(opening: str) -> None:
    with pytest.raises(ValueError, match=r"0007-x\.md: the page opens with"):
        read("0007-x.md", opening)
