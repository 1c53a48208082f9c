"""The tour is three walks of at most ten sentences that name rooms and no files."""

import re

import pytest

from tests.repository.architecture import rooms
from tests.repository.files import text

PAGE = text("docs/tour.md") or ""
WALKS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]


def sentences(walk: str) -> list[str]:
    """What ends with a stop, a question mark or an exclamation mark; numbers of steps and targets of links apart."""
    plain = re.sub(r"\]\([^)]*\)", "]", walk.partition("\n")[2])
    plain = re.sub(r"^\d+\. ", "", plain, flags=re.MULTILINE)
    return [it for it in re.split(r"(?<=[.!?])\s+", plain.strip()) if it]


def test_there_are_three_walks() -> None:
    assert [walk[:2] for walk in WALKS] == ["1.", "2.", "3."]


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_has_at_most_ten_sentences(walk: str) -> None:
    assert len(sentences(walk)) <= 10


def test_it_names_no_file() -> None:
    assert ".py" not in PAGE
    assert set(re.findall(r"`([^`]+)`", "".join(WALKS))) <= set(rooms())


def test_it_meets_every_room_that_a_segment_crosses() -> None:
    crossed = {it for it in rooms() if it.startswith(("front/intercept", "core/")) and it.count("/") == 1}
    leaves = {"core/values", "core/seal", "core/limits", "core/settings", "core/events", "core/recording"}
    assert crossed - leaves <= set(re.findall(r"`([^`]+)`", PAGE))


def test_sentences_are_counted_without_numbers_and_links() -> None:
    assert sentences("1. Title\n\n1. One, at [home](a.md#home). Two?\n2. Three takes 0.15 s.\n") == [
        "One, at [home].",
        "Two?",
        "Three takes 0.15 s.",
    ]
