"""Words that must not stand in the repository: machine paths, addresses in locks, words of hurry; dead links."""

import re

import pytest

from tests.repository.files import ROOT, text, tracked

MACHINE_PATHS = re.compile(r"(?<![\w.$}~-])/(?:root|home|Users|work)/[\w.]")
LOCKED_ADDRESSES = re.compile(r'"resolved"|--(?:extra-)?index-url|--find-links|--trusted-host|\bfile:|@ *https?:')
LEFT_BEHIND = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|^(?:<<<<<<<|>>>>>>>) ", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LOCKS = ("requirements.lock", "tests/npm/package-lock.json")


def found(pattern: re.Pattern[str], names: tuple[str, ...]) -> list[str]:
    return [
        f"{name}: {match[0]}"
        for name in names
        if (content := text(name))
        for match in [pattern.search(content)]
        if match
    ]


def test_no_path_of_anybodys_machine() -> None:
    assert found(MACHINE_PATHS, tracked()) == []


def test_locks_name_no_place_to_fetch_from() -> None:
    """Where packages come from is the business of whoever installs; the hashes decide what is accepted."""
    assert found(LOCKED_ADDRESSES, LOCKS) == []


def test_nothing_is_left_for_later_in_a_comment() -> None:
    assert found(LEFT_BEHIND, tuple(name for name in tracked() if name not in LOCKS)) == []


@pytest.mark.parametrize("name", [name for name in tracked() if name.endswith(".md")])
def test_links_inside_the_documentation_lead_somewhere(name: str) -> None:
    content = text(name)
    assert content is not None
    for target in LINK.findall(content):
        path = target.partition("#")[0]
        if path and "://" not in path and not path.startswith("mailto:"):
            assert ((ROOT / name).parent / path).exists(), f"{name} links to {target}"
