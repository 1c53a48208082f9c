"""What a page of documentation refers to: files, what stands in them, rooms, tests, and places in other pages.

    references(page) -> Reference, …    `core/swarm/ledger.py: Ledger.ask` in code spans and blocks
    is_there(reference)                 the file is there, and the class, function, method or constant in it
    anchors(page)                       where a link into a page may lead: its headings, as GitHub names them

A path begins below the repository or below `ecdn_proxy`. A single name is not a reference: it may be anybody's.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from tests.repository.files import ROOT

BELOW_AGENT = frozenset({"agent", "core", "front", "io", "sansio", "sim", "wire"})
TOP = frozenset({"coordinator", "docs", "ecdn_proxy", "tests"})
_SPAN = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_REFERENCE = re.compile(r"(?<![\w./-])(?P<path>[a-z_]+(?:/[\w.-]*\w)+)/?(?::[ ](?P<name>[A-Za-z_][\w.]*\w))?")
_FILE = re.compile(r"(?<![\w./-])(?P<path>[a-z_]+(?:/[\w-]+)+\.py)(?::[ ](?P<name>[A-Za-z_][\w.]*\w))?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A path below the repository, and what is meant in it; "" for the file itself."""

    path: str
    name: str = ""


def references(page: str) -> list[Reference]:
    """All that a page names; whole spans, and inside blocks whatever ends in .py."""
    spans = [_REFERENCE.fullmatch(span) for span in _SPAN.findall(_FENCE.sub("", page))]
    blocks = [found for block in _FENCE.findall(page) for found in _FILE.finditer(block)]
    found = [(it["path"], it["name"] or "") for it in [*spans, *blocks] if it is not None]
    return [Reference(_whole(path), name) for path, name in found if _top(path) in BELOW_AGENT | TOP]


def _top(path: str) -> str:
    return PurePosixPath(path).parts[0]


def _whole(path: str) -> str:
    """`core/x` may stand for `ecdn_proxy/core/x`, and a module for its file."""
    below = f"ecdn_proxy/{path}" if _top(path) in BELOW_AGENT else path
    return f"{below}.py" if not (ROOT / below).exists() and (ROOT / f"{below}.py").is_file() else below


def is_there(reference: Reference) -> bool:
    """Whether it exists."""
    path = ROOT / reference.path
    if not reference.name:
        return path.exists()
    return path.suffix == ".py" and path.is_file() and reference.name in names_in(reference.path)


@cache
def names_in(path: str) -> frozenset[str]:
    """Classes, functions and constants of a Python file; what stands in a class by `Class.name`."""
    return frozenset(_names(ast.parse((ROOT / path).read_text("utf-8")).body, ""))


def _names(body: list[ast.stmt], before: str) -> list[str]:
    found: list[str] = []
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                found += [before + name, *_names(node.body, f"{before}{name}.")]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.append(before + name)
            case ast.Assign(targets=targets):
                found += [before + it.id for it in targets if isinstance(it, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.TypeAlias(name=ast.Name(id=name)):
                found.append(before + name)
    return found


def anchors(page: str) -> list[str]:
    """Headings of a page as GitHub makes links of them, in order."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
