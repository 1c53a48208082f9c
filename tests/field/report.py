"""What a test of this folder says of itself, for the table in docs/field.md.

    @field(
        property="a name that is used again is validated, not given stale",
        source="https://github.com/…/issues/766",
        right="RFC 9111 section 4: …",
    )
    async def test_…(office): …

A report whose cure is not there yet says `open="…"`: its test is expected to fail, and fails the run once it passes, so
that this word is taken away.

Map: `Report` · `field` (the decorator) · `reports` (all of this folder, in the order of files and lines)
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

_FAILURES = (AssertionError, aiohttp.ClientError, TimeoutError)
"""How a property fails: it does not hold, the answer breaks off, it does not come. All else is a fault of the test."""


@dataclass(frozen=True)
class Report:
    """One row of the table."""

    property: str
    source: str
    """Addresses of the public threads or documents, separated by spaces."""
    right: str
    """What is right, and by which document."""
    open: str
    """Why it does not hold yet; "" when it does."""
    file: str
    test: str


def field[T: Callable[..., object]](*, property: str, source: str, right: str, open: str = "") -> Callable[[T], T]:  # noqa: A002
    """Says what a test shows, of whose trouble; see `Report`."""

    def mark(test: T) -> T:
        file = f"tests/field/{Path(inspect.getfile(test)).name}"
        test.field_report = Report(property, source, right, open, file, test.__name__)  # type: ignore[attr-defined]
        if not open:
            return test
        expected: T = pytest.mark.xfail(strict=True, reason=f"{property}: {open}", raises=_FAILURES)(test)
        return expected

    return mark


def reports() -> Iterator[Report]:
    """Every report that has a test."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.field.{file.stem}")
        yield from (test.field_report for test in vars(module).values() if hasattr(test, "field_report"))
