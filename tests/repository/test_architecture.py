"""docs/architecture.md has its paragraph for every room and for none that is gone; how its pictures are drawn."""

import re
from itertools import pairwise

import pytest

from tests.repository import architecture
from tests.repository.architecture import CORE, core_picture, core_table, floors, floors_picture, imports, rooms
from tests.repository.files import text
from tests.repository.references import Reference, is_there, references

PAGE = text("docs/architecture.md") or ""
PARAGRAPHS: dict[str, str] = dict(re.findall(r"^\*\*`([\w/]+)`\*\* ((?:.+\n)+)", PAGE, re.MULTILINE))


def test_every_room_has_its_paragraph_and_no_other_is_named() -> None:
    assert sorted(PARAGRAPHS) == rooms()
    assert len(re.findall(r"^\*\*`", PAGE, re.MULTILINE)) == len(PARAGRAPHS), "a room has two paragraphs"


@pytest.mark.parametrize("room", PARAGRAPHS)
def test_a_paragraph_names_what_is_there_and_stays_short(room: str) -> None:
    assert [it for it in references(PARAGRAPHS[room]) if not is_there(it)] == []
    assert len(PARAGRAPHS[room].split()) <= 90


@pytest.mark.parametrize(
    "asked",
    [
        Reference("ecdn_proxy/core/catalog/providers.py", "Profiles.canonical"),
        Reference("ecdn_proxy/core/swarm/ledger.py", "Ledger.decide_lease"),
        Reference("ecdn_proxy/core/http/freshness.py", "objection"),
        Reference("ecdn_proxy/io/webrtc/signed_sdp.py", "SignedDescriptions.sign"),
        Reference("ecdn_proxy/core/settings.py", "Settings"),
        Reference("ecdn_proxy/core/report/conditions.py", "REGISTER"),
    ],
)
def test_what_people_look_for_first_stands_on_the_page(asked: Reference) -> None:
    assert asked in references(PAGE.partition("## Floors")[0])


def test_rooms_are_packages_and_the_files_that_the_contract_of_core_names() -> None:
    assert {"core/swarm", "core/node", "front/intercept", "coordinator/web", "wire"} <= set(rooms())
    assert not {"core/swarm/ledger", "agent/router", "coordinator/io/migrations"} & set(rooms())


def test_every_import_leads_downstairs() -> None:
    """The same that import-linter holds, read out of the page's own data."""
    height = {room: -at for at, floor in enumerate(floors(CORE)) for room in floor}
    assert set(imports()) == set(height)
    for room, imported in imports().items():
        assert all(height[it] < height[room] for it in imported)
    assert "upload" in imports()["download"]


def test_the_picture_draws_imports_that_exist_and_only_those_that_no_longer_way_says() -> None:
    drawn = re.findall(r"^ +(\w+) --> (\w+)$", core_picture(), re.MULTILINE)
    assert all(to in imports()[room] for room, to in drawn)
    assert ("node", "serving") in drawn
    assert ("node", "swarm") not in drawn, "node → serving → … → swarm says so"
    assert {room for _, room, _, _ in core_table()} == {f"`{it}`" for it in imports()}


def test_ways_are_found_through_any_number_of_rooms() -> None:
    arrows = {"a": {"b", "d"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}
    assert architecture._is_implied("a", "d", arrows)
    assert not architecture._is_implied("a", "b", arrows)


def test_boxes_have_their_joints_where_walls_meet() -> None:
    lines = floors_picture().splitlines()
    assert len({len(line) for line in lines if line.startswith(("┌", "│", "├", "└"))}) == 1
    assert all(
        f" {room}" in floors_picture() for room in ("front", "agent", "sim", "io", "core", "sansio", "wire", "web")
    )
    for above, below in pairwise(lines):
        for at, mark in enumerate(above):
            if mark in "┬┼":
                assert below[at] == "│", f"{above}\n{below}"
