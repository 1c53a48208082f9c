"""docs/decided.md: each question has a function that is there and a test that is there.

A test without a path stands in the mirror of one of its row's files (`test_mirror.py`). That files and functions exist
is checked for all pages in `test_references.py`.
"""

import re

import pytest

from tests.repository.files import text
from tests.repository.references import Reference, is_there, names_in, references
from tests.repository.test_mirror import mirrors_of

PAGE = text("docs/decided.md") or ""
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| question |")
]
RECIPES = {
    "A new counter",
    "A new setting",
    "A new condition",
    "A new message between agents",
    "A change of what is signed",
    "A new feature of manifests",
    "A new provider",
}


def named_tests(decided: str, held: str) -> list[Reference]:
    """The tests that a row names, each with its file."""
    mirrors = [mirror for code in references(decided) for mirror in mirrors_of(code.path)]
    found = references(held)
    for name in re.findall(r"`(test_\w+)`", held):
        found += [Reference(mirror, name) for mirror in mirrors if name in names_in(mirror)][:1] or [
            Reference("", name)
        ]
    return found


def test_questions_are_many_and_each_is_asked_once() -> None:
    asked = [row[0] for row in ROWS]
    assert len(asked) >= 40
    assert len(set(asked)) == len(asked)
    assert all(question.endswith("?") for question in asked)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_question_has_a_function_and_a_test(row: tuple[str, str, str]) -> None:
    _, decided, held = row
    functions = references(decided)
    assert functions
    assert all(it.name and it.path.startswith(("ecdn_proxy/", "coordinator/")) for it in functions), "name the function"
    tests = named_tests(decided, held)
    assert tests
    for it in tests:
        assert it.path, f"{it.name} is in no test file of this row's code: write its path"
        assert it.path.startswith("tests/")
        assert it.name.startswith("test_")
        assert is_there(it), f"{it.path}: {it.name}"


def test_the_recipes_are_there() -> None:
    there = set(re.findall(r"^### (.+)$", PAGE.partition("## Recipes")[2], re.MULTILINE))
    assert there >= RECIPES


def test_the_ways_of_an_answer_name_what_forks_them() -> None:
    ways = PAGE.partition("## The ways of a segment's answer")[2].partition("\n## ")[0]
    assert len(references(ways)) >= 12
    assert [way for way in "1234567" if f"► {way} " not in ways and f"  {way} " not in ways] == []


def test_a_test_without_path_is_found_in_the_mirror_of_its_row() -> None:
    decided = "`core/swarm/ledger.py: Ledger.ask`"
    name = "test_the_first_fetches_and_the_others_follow"
    assert named_tests(decided, f"`{name}`") == [Reference("tests/core/swarm/test_ledger.py", name)]
    assert named_tests(decided, "`test_nobody_wrote_this`") == [Reference("", "test_nobody_wrote_this")]
