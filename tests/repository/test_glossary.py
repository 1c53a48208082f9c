"""The glossary holds one sentence for each word, in the order of the alphabet."""

import re

import pytest

from tests.repository.files import text
from tests.repository.references import anchors

PAGE = text("docs/glossary.md") or ""
ENTRIES = {term: said.strip() for term, said in re.findall(r"^### (.+)\n\n((?:.+\n)+)", PAGE, re.MULTILINE)}


def test_terms_stand_in_the_order_of_the_alphabet_and_once() -> None:
    terms = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    assert terms == sorted(set(terms), key=str.casefold)
    assert terms == list(ENTRIES)


@pytest.mark.parametrize("term", ENTRIES)
def test_each_has_one_sentence(term: str) -> None:
    said = re.sub(r"\]\([^)]*\)", "]", ENTRIES[term])
    assert said.endswith(".")
    assert not re.search(r"[.!?]\s", said), "one sentence is enough"
    assert said[0].isupper()


def test_words_that_everybody_meets_are_there_and_linked_from_the_tour() -> None:
    met = {"home", "ledger", "committee", "lease", "hedge", "parent", "child", "elder", "shadow", "piece", "slack"}
    assert met <= set(ENTRIES)
    assert met <= set(re.findall(r"glossary\.md#([\w-]+)", text("docs/tour.md") or ""))
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= set(anchors(PAGE))
