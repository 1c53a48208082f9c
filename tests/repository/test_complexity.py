"""The files where it is decided who fetches stay easy to follow: no function of more than twelve ways.

Counted as radon does: one, and one more for each branch, loop, `case`, `except`, comprehension and its conditions, and
for each further part of an `and` or `or`. The linter, which counts no `and` and no `or`, holds 14 everywhere.
"""

import ast
from pathlib import Path

import pytest

from tests.repository.files import ROOT

WAYS_MAX = 12
HELD = (
    "ecdn_proxy/core/swarm/ledger.py",
    "ecdn_proxy/core/swarm/lease_case.py",
    "ecdn_proxy/core/swarm/leases.py",
    "ecdn_proxy/core/download/lease_request.py",
    "ecdn_proxy/core/lease_server.py",
)


def ways_through(function: ast.FunctionDef) -> int:
    """How many ways lead through a function."""
    ways = 1
    for node in ast.walk(function):
        match node:
            case ast.BoolOp(values=values):
                ways += len(values) - 1
            case ast.comprehension(ifs=conditions):
                ways += 1 + len(conditions)
            case ast.If() | ast.IfExp() | ast.For() | ast.While() | ast.ExceptHandler() | ast.match_case():
                ways += 1
    return ways


def test_ways_are_counted() -> None:
    (function,) = ast.parse("def f(a):\n    if a and a or a:\n        return [b for b in a if b]\n    return 0\n").body
    assert isinstance(function, ast.FunctionDef)
    assert ways_through(function) == 6


@pytest.mark.parametrize("name", HELD)
def test_no_function_has_too_many_ways(name: str) -> None:
    found = [
        node for node in ast.walk(ast.parse(Path(ROOT, name).read_text("utf-8"))) if isinstance(node, ast.FunctionDef)
    ]
    assert {one.name: ways for one in found if (ways := ways_through(one)) > WAYS_MAX} == {}
