"""One word, one thing: no class, alias or union of a package has the name of another that means something else.

`ecdn_proxy` and `coordinator` are looked at each for itself.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.repository.files import ROOT, tracked

EXCUSED: dict[str, dict[str, str]] = {
    "ecdn_proxy": {
        "Bye": "the last word on a link between agents, and of an attempt to make one: messages whose frames are fixed",
        "Headers": "the same thing twice: io may not import core, so io.origin spells out what core.values declares",
        "Settings": "the agent's settings, and the coordinator's message that carries some of them: its frame is fixed",
    },
    "coordinator": {},
}
"""Package -> name -> why it may stand twice."""


def names_of(text: str) -> list[str]:
    """Classes at the top of a module, and what it gives a capitalised name to (aliases of types)."""
    found = []
    for node in ast.parse(text).body:
        match node:
            case ast.ClassDef(name=name):
                found.append(name)
            case ast.Assign(targets=[ast.Name(id=name)]) if name[0].isupper() and not name.isupper():
                found.append(name)
            case ast.TypeAlias(name=ast.Name(id=name)):
                found.append(name)
    return found


@pytest.fixture(params=EXCUSED)
def package(request: pytest.FixtureRequest) -> str:
    """The package that is looked at."""
    return str(request.param)


@pytest.fixture
def places(package: str) -> dict[str, list[str]]:
    """Name -> the files of the package that declare it."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in tracked():
        if name.startswith(f"{package}/") and name.endswith(".py"):
            for declared in names_of(Path(ROOT, name).read_text("utf-8")):
                found[declared].append(name)
    return found


def test_no_name_means_two_things(places: dict[str, list[str]], package: str) -> None:
    twice = {name: files for name, files in places.items() if len(files) > 1 and name not in EXCUSED[package]}
    assert not twice, f"qualify these names, or say in EXCUSED why they may stand twice: {twice}"


def test_whoever_is_excused_still_needs_it(places: dict[str, list[str]], package: str) -> None:
    assert [name for name in EXCUSED[package] if len(places[name]) < 2] == []
