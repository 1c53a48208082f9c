"""Enrols many machines in one process: thirty `ecdn-proxy enrol` commands would cost a minute of a core.

python -m tests.lab.enrolling --coordinator URL --tenant-root-sha256 X --token T STATE_DIR ...
"""

import argparse
import contextlib

from ecdn_proxy.front.cli import main as command


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
