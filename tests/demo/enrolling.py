"""Enrols many machines in one process: thirty `ecdn-proxy enrol` commands would cost a minute of a core.

python -m tests.demo.enrolling --coordinator URL --tenant-root-sha256 X --token T STATE_DIR ...

Map:
    enrol     starts that, and waits for it
    main      the process
"""

import argparse
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from ecdn_proxy.front.cli import main as command
from tests.demo.processes import Child


async def enrol(
    start: Callable[..., Awaitable[Child]], join: Mapping[str, str], states: Iterable[Path], within: float
) -> None:
    """All of `states` with one invitation. `start` runs a Python module where the coordinator can be reached."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in join.items()]  # a token may begin with a hyphen
    child = await start("enrolling", "tests.demo.enrolling", *words, *map(str, states))
    await child.finished(within)


def main() -> None:
    parser = argparse.ArgumentParser(description="ecdn-proxy enrol, several times.")
    parser.add_argument("states", nargs="+")
    parser.add_argument("--coordinator", required=True)
    parser.add_argument("--tenant-root-sha256", required=True)
    parser.add_argument("--token", required=True)
    options = parser.parse_args()
    for state in options.states:
        arguments = ["enrol", "--state-dir", state, "--coordinator", options.coordinator]
        arguments += ["--tenant-root-sha256", options.tenant_root_sha256, "--token", options.token]
        with contextlib.redirect_stdout(None):
            command.main(arguments, prog_name="ecdn-proxy", standalone_mode=False)


if __name__ == "__main__":
    main()
