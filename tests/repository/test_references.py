"""What the pages of documentation name is there: files, what stands in them, tests, places in other pages.

Decisions (docs/adr) and the changelog are history and may name what is gone.
"""

import re

import pytest

from tests.repository.adr import FOLDER
from tests.repository.files import ROOT, text, tracked
from tests.repository.references import Reference, anchors, is_there, names_in, references

PAGES = [
    name for name in tracked() if name.endswith(".md") and not name.startswith(f"{FOLDER}/") and name != "CHANGELOG.md"
]
WITH_ANCHOR = re.compile(r"\]\(([^)\s#:]*)#([^)\s]+)\)")


@pytest.mark.parametrize("name", PAGES)
def test_whatever_a_page_names_is_there(name: str) -> None:
    gone = [f"{it.path}: {it.name}".removesuffix(": ") for it in references(text(name) or "") if not is_there(it)]
    assert gone == []


@pytest.mark.parametrize("name", [name for name in tracked() if name.endswith(".md")])
def test_links_into_a_page_lead_to_one_of_its_headings(name: str) -> None:
    for path, anchor in WITH_ANCHOR.findall(text(name) or ""):
        page = (ROOT / name).parent / path if path else ROOT / name
        assert anchor in anchors(page.read_text("utf-8")), f"{name}: {path}#{anchor}"


def test_references_stand_in_code_with_a_path() -> None:
    page = (
        "A home (`core/swarm/ledger.py: Ledger.ask`) of `core/swarm/`, in `io/mdns`; `Ledger` alone, `a/b.py`, "
        "`tests/core/test_node.py: test_x`, core/node.py\n\n```\nask ─► core/node.py: Node.handle   /v1/root\n```\n"
    )
    assert references(page) == [
        Reference("ecdn_proxy/core/swarm/ledger.py", "Ledger.ask"),
        Reference("ecdn_proxy/core/swarm"),
        Reference("ecdn_proxy/io/mdns.py"),
        Reference("tests/core/test_node.py", "test_x"),
        Reference("ecdn_proxy/core/node.py", "Node.handle"),
    ]


def test_names_are_looked_for_where_they_are_said_to_be() -> None:
    here = "tests/repository/test_references.py"
    assert is_there(Reference(here))
    assert is_there(Reference(here, "WITH_ANCHOR"))
    assert is_there(Reference("ecdn_proxy/core/limits.py", "Limits.silence_s"))
    assert not is_there(Reference(here, "WITHOUT_ANCHOR"))
    assert not is_there(Reference("tests/repository", "PAGES"))
    assert not is_there(Reference("ecdn_proxy/core/nowhere.py"))
    assert "Reference.path" in names_in("tests/repository/references.py")


def test_headings_become_anchors_as_on_github() -> None:
    page = "# One & only\n\n```\n# not one\n```\n\n## How to add a setting: first\n"
    assert anchors(page) == ["one--only", "how-to-add-a-setting-first"]
