"""No test of `make test` asserts by the clock, where a busy machine would decide; `tests/conftest.py` says what to do.

    upper_bounds   assertions that something took no longer, stalled no more often, or played no slower
    guards         waits that give up early: they shall only keep a run from hanging
    clocks         where tests under virtual time read a real one

Lower bounds may stand: a busy machine makes nothing quicker. What runs only in `make lab` or `make bench` may assert
what it likes, and so may whatever stands under `if quiet_machine:`.
"""

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.repository.files import text, tracked

VIRTUAL = ("tests/core/", "tests/sim/", "tests/sansio/")
"""Time is an argument there."""
GUARD_SECONDS = 20.0
"""On an idle machine nothing that is waited for takes a quarter of it."""

DURATIONS = {"took", "elapsed", "seconds", "monotonic", "startup", "latency", "late", "stall", "stalls", "stalled"}
DURATIONS |= {"perf", "rtt"}
"""Words in names."""
RATES = {"progress", "trouble", "played"}
"""What the player page says of media and frames a second."""
CLOCKS = {"perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time", "thread_time"}

_BUFFER, _HANDSHAKE = "tests/demo/test_viewer.py", "tests/io/test_handshake.py"
_NAMED = "virtual: the test names every time, and the code under test reads no clock"
_LISTED = "the length of a segment, as its manifest says it"
_MEASURED = "a measurement of ours, held against the test's own of the same time"
_PACE = "the time between two looks; nothing fails when it is over"
BOUNDS_EXCUSED: dict[tuple[str, str], str] = {
    (
        "tests/agent/test_disk_cache.py",
        "test_what_was_erased_or_never_there_is_nothing",
    ): "trouble is what the disk said",
    ("tests/coordinator/test_web.py", "test_certificates_last_a_day"): "a certificate's life, as it is written in it",
    ("tests/demo/test_stage.py", "test_a_run_without_any_figures_adds_up_to_nothing"): _NAMED,
    (_BUFFER, "test_it_starts_with_the_second_segment"): _NAMED,
    (_BUFFER, "test_until_its_buffer_is_empty_it_does_not_stall_and_then_it_does"): _NAMED,
    (_BUFFER, "test_a_segment_in_time_prevents_the_stall"): _NAMED,
    (_BUFFER, "test_nothing_is_a_stall_before_the_start"): _NAMED,
    (_BUFFER, "test_hls_with_keys_and_relative_names"): _LISTED,
    (_BUFFER, "test_dash_by_timeline_is_what_is_listed"): _LISTED,
    ("tests/io/test_clock.py", "test_monotonic_never_goes_back"): "two looks at one clock, in their order",
    (_HANDSHAKE, "test_the_first_round_trip_counts_whole_and_each_further_one_a_quarter"): _NAMED,
    (_HANDSHAKE, "test_an_answer_to_no_ping_or_an_old_one_measures_nothing_but_shows_life"): _NAMED,
    ("tests/io/webrtc/test_channel.py", "test_the_round_trip_is_measured"): _MEASURED,
    ("tests/io/webrtc/test_hub.py", "test_pieces_both_ways_with_back_pressure"): _MEASURED,
}
"""File and test -> why this is no assertion by the clock."""
GUARDS_EXCUSED: dict[tuple[str, str], str] = {
    ("tests/demo/viewer.py", "_report"): _PACE,
    ("tests/lab/__main__.py", "_stand"): _PACE,
    ("tests/lab/audience.py", "watch"): _PACE,
    ("tests/lab/test_origin.py", "Visitor"): "it leaves in the middle: what has not come by then it does not want",
}
"""File and function or class -> why this wait may be short."""


def _words(node: ast.expr) -> set[str]:
    """All words in the names that an expression is made of; keys of a dictionary are names too."""
    found: set[str] = set()
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Attribute(attr="time")):
                found.add("seconds")
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
                found |= set(name.split("_"))
    return found


def _fields(node: ast.expr) -> set[str]:
    """The attributes and keys that an expression reads."""
    found: set[str] = set()
    for part in ast.walk(node):
        match part:
            case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
                found.add(name)
    return found


def _bounded_above(compare: ast.Compare) -> Iterator[ast.expr]:
    """What a comparison wants to be small, or exactly so much."""
    sides = [compare.left, *compare.comparators]
    for operator, (left, right) in zip(compare.ops, pairwise(sides), strict=True):
        if isinstance(operator, ast.Lt | ast.LtE | ast.Eq):
            yield left
        if isinstance(operator, ast.Gt | ast.GtE | ast.Eq):
            yield right


def is_by_the_clock(condition: ast.expr) -> bool:
    """Whether a busy machine could make this untrue."""
    if _fields(condition) & RATES:
        return True
    compares = [part for part in ast.walk(condition) if isinstance(part, ast.Compare)]
    return any(_words(side) & DURATIONS for compare in compares for side in _bounded_above(compare))


def is_impatient(call: ast.Call) -> bool:
    """Whether this waits for less than `GUARD_SECONDS`, as far as the number stands there."""
    given: list[ast.expr] = [word.value for word in call.keywords if word.arg in {"timeout", "within", "within_s"}]
    match call.func:
        case ast.Attribute(attr="timeout" | "wait" | "settimeout" | "wait_procs") if call.args:
            given.append(call.args[-1])
        case ast.Attribute(attr="wait_for") if len(call.args) > 1:
            given.append(call.args[1])
    numbers = [it.value for it in given if isinstance(it, ast.Constant) and isinstance(it.value, int | float)]
    return any(0 < number < GUARD_SECONDS for number in numbers)


class _Finder(ast.NodeVisitor):
    """Lines by the function at the top of the file in which they stand."""

    def __init__(self, assertion: Callable[[ast.expr], bool], call: Callable[[ast.Call], bool]) -> None:
        self.found: dict[str, list[int]] = {}
        self._assertion, self._call = assertion, call
        self._inside = ""

    def visit(self, node: ast.AST) -> None:
        outermost = not self._inside and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if outermost:
            self._inside = node.name  # type: ignore[attr-defined]  # it is one of the three
        if isinstance(node, ast.If) and "quiet" in _words(node.test):
            for other in node.orelse:
                self.visit(other)
            return
        if (isinstance(node, ast.Assert) and self._assertion(node.test)) or (
            isinstance(node, ast.Call) and self._call(node)
        ):
            self.found.setdefault(self._inside, []).append(node.lineno)
        super().generic_visit(node)
        if outermost:
            self._inside = ""


def upper_bounds(code: str) -> dict[str, list[int]]:
    finder = _Finder(is_by_the_clock, lambda _: False)
    finder.visit(ast.parse(code))
    return finder.found


def guards(code: str) -> dict[str, list[int]]:
    finder = _Finder(lambda _: False, is_impatient)
    finder.visit(ast.parse(code))
    return finder.found


def clocks(code: str) -> list[int]:
    """Lines that read a real clock."""
    named = (part for part in ast.walk(ast.parse(code)) if isinstance(part, ast.Name | ast.Attribute))
    return [it.lineno for it in named if (it.id if isinstance(it, ast.Name) else it.attr) in CLOCKS]


def _runs_in_the_lab_only(code: str) -> bool:
    """A file whose every test carries a marker that `make test` skips."""
    for node in ast.parse(code).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                return any(isinstance(it, ast.Attribute) and it.attr in {"lab", "lab_scale"} for it in ast.walk(value))
    return False


def files(*, virtual: bool) -> dict[str, str]:
    found = {}
    for name in tracked():
        if name.startswith("tests/") and name.endswith(".py") and name.startswith(VIRTUAL) == virtual:
            code = text(name)
            assert code is not None
            if not name.startswith("tests/bench/") and not _runs_in_the_lab_only(code):
                found[name] = code
    return found


def _left(find: Callable[[str], dict[str, list[int]]], excused: dict[tuple[str, str], str]) -> list[str]:
    left = []
    for name, code in files(virtual=False).items():
        for inside, lines in find(code).items():
            if (name, inside) not in excused:
                left += [f"{name}:{line} ({inside})" for line in lines]
    return left


def test_nothing_is_asserted_by_the_clock() -> None:
    left = _left(upper_bounds, BOUNDS_EXCUSED)
    assert not left, (
        "count it, or assert it under `if quiet_machine:`, or say in BOUNDS_EXCUSED why not:\n" + "\n".join(left)
    )


def test_waits_only_keep_a_run_from_hanging() -> None:
    left = _left(guards, GUARDS_EXCUSED)
    assert not left, f"wait {GUARD_SECONDS:.0f} s, or say in GUARDS_EXCUSED why not:\n" + "\n".join(left)


def test_virtual_time_reads_no_clock() -> None:
    assert {name: lines for name, code in files(virtual=True).items() if (lines := clocks(code))} == {}


def test_whoever_is_excused_still_needs_it() -> None:
    found = files(virtual=False)
    assert [it for it in BOUNDS_EXCUSED if it[1] not in upper_bounds(found.get(it[0], ""))] == []
    assert [it for it in GUARDS_EXCUSED if it[1] not in guards(found.get(it[0], ""))] == []


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("assert took < 3", True),
        ("assert 3 > took", True),
        ("assert 0.1 < took", False),
        ("assert took > 0.1", False),
        ("assert perf_counter() - begun <= 1", True),
        ("assert loop.time() - begun <= 1", True),
        ("assert done['startup_ms'] < 2000", True),
        ("assert done['startup_ms'] is not None", False),
        ("assert (report.stalls, report.errors) == (0, {})", True),
        ("assert report.stalls >= 1", False),
        ("assert report.played", True),
        ("assert report.progress > 0.9", True),
        ("if quiet_machine:\n    assert took < 3", False),
        ("if quiet_machine:\n    pass\nelse:\n    assert took < 3", True),
        ("assert bytes_total < 3", False),
    ],
)
def test_what_is_an_assertion_by_the_clock(code: str, is_found: bool) -> None:
    assert bool(upper_bounds(code)) == is_found


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("asyncio.timeout(2)", True),
        ("asyncio.timeout(20)", False),
        ("asyncio.timeout(PATIENCE_S)", False),
        ("asyncio.wait_for(it(), 0.5)", True),
        ("process.wait(5)", True),
        ("it.settimeout(0)", False),
        ("until(it, 'what', within=5)", True),
    ],
)
def test_what_is_an_impatient_wait(code: str, is_found: bool) -> None:
    assert bool(guards(code)) == is_found
