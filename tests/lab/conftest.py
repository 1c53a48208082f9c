"""Offices for tests. Where none can be built their tests are skipped, and the run says why and how many."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import chosen
from tests.lab import shell
from tests.lab.net import MADE, standing

_HERE = Path(__file__).parent
_LONG = ("lab", "lab_scale")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "office: builds an office of network namespaces; needs root")
    config.addinivalue_line("markers", "lab: an office in trouble; some minutes (make lab)")
    config.addinivalue_line("markers", "lab_scale: up to thirty agents and overloaded lines; some minutes (make lab)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in (item for item in items if _HERE in item.path.parents):
        names = {mark.name for mark in item.iter_markers()}
        long = names.intersection(_LONG)
        if (long or "office" in names) and (reason := shell.why_not()) is not None:
            item.add_marker(pytest.mark.skip(reason=f"no office here: {reason}"))
        elif long and not any(chosen(config, name) for name in long):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make lab"))


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left() -> Iterator[None]:
    """What this run made it takes away again; another run's offices may stand beside it."""
    yield
    if shell.why_not() is None:
        assert standing(MADE) == []
