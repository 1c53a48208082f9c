"""What is generated in docs/ is what the declarations say today; the generator itself, on small things."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from tests.repository import words as w
from tests.repository.files import ROOT
from tests.repository.generate import pages, settings_table, with_blocks

Short = Annotated[str, Meta(max_length=3)]
"""Three letters."""


class Part(Struct):
    """A part."""

    one: Short
    """Its only field."""


@pytest.mark.parametrize("name", list(pages()))
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == pages()[name], f"{name} is out of date: run `make docs`"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Short, "`Short`"),
        (Annotated[str, Meta(min_length=4, max_length=4)], "text, length 4"),
        (Annotated[str, Meta(min_length=4)], "text, length at least 4"),
        (Annotated[str, Meta(pattern="^a$")], "text, matches `^a$`"),
        (Annotated[int, Meta(ge=0, lt=2**32)], "integer, 0 … below 4,294,967,296"),
        (Annotated[float, Meta(gt=0, le=2.5)], "number, above 0 … 2.5"),
        (Annotated[int, Meta(ge=1)], "integer, at least 1"),
        (Annotated[int, Meta(lt=7)], "integer, below 7"),
        (Annotated[str, Meta(pattern="^a*$", max_length=2)], "text, matches `^a*$`, length 0 … 2"),
        (Annotated[int, Meta(description="said")], "integer"),
        (tuple[Short, ...], "list of `Short`"),
        (tuple[str, int], "(text; integer)"),
        (dict[str, bool], "table of yes or no by name"),
        (Literal["a", "b"], "`a` · `b`"),
        (Part | None, "[Part](#part) or nothing"),
    ],
)
def test_types_in_words(kind: object, said: str) -> None:
    assert w.words(kind, {"Short": Short}) == said


def test_docstrings_below_assignments_are_found() -> None:
    assert w.attribute_docs(Part) == {"one": "Its only field."}


def test_blocks_are_replaced_and_the_rest_stays() -> None:
    begin, other, end = "<!-- generated: one -->\n", "<!-- generated: two -->\n", "<!-- end -->\n"
    page = f"before\n{begin}old\nold\n{end}between\n{other}{end}after\n"
    filled = with_blocks(page, {"one": "1\n", "two": "2\n"})
    assert filled == f"before\n{begin}\n1\n\n{end}between\n{other}\n2\n\n{end}after\n"
    assert with_blocks(filled, {"one": "1\n", "two": "2\n"}) == filled


def test_every_setting_says_what_it_means() -> None:
    for row in settings_table().splitlines()[2:]:
        assert row.count(" | ") == 3
        assert not row.endswith("|  |")
