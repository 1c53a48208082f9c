"""What holds for all tests: `make test` asserts nothing by the clock, which on a busy machine says what that one does.

    quiet_machine   a fixture: whether this run may assert by the clock. `make lab` may, and runs every test that asks.

What can be counted is asserted always: bytes, requests, attempts, the order of events. A test that also knows how soon
it must be done asks for `quiet_machine`, which marks it `clock`, and writes `if quiet_machine:` before that assertion.
`tests/repository/test_clock.py` finds those that forgot.
"""

import re

import pytest
from hypothesis import settings

settings.register_profile("ecdn", deadline=None)
settings.load_profile("ecdn")

CLOCK = "clock"


def chosen(config: pytest.Config, mark: str) -> bool:
    """Whether the run was told of this marker (-m)."""
    return re.search(rf"\b{mark}\b", config.option.markexpr) is not None


@pytest.fixture(scope="session")
def quiet_machine(pytestconfig: pytest.Config) -> bool:
    """Whether this machine does nothing else, so that seconds, stalls and frames a second may be asserted."""
    return chosen(pytestconfig, CLOCK)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "quiet_machine" in getattr(item, "fixturenames", ()):
            item.add_marker(CLOCK)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if chosen(config, CLOCK):
        return
    ran = {report.nodeid for report in terminalreporter.getreports("passed") if CLOCK in report.keywords}
    if ran:
        terminalreporter.write_line(f"{len(ran)} tests left what they assert by the clock to `make lab`.")
