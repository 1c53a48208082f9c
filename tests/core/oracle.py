"""Runs `parse_manifest.mjs`: the URL Standard's parser and the players' manifest parsers, as independent judges."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def ask(jobs: list[dict[str, Any]]) -> list[Any]:
    """One answer for each job; skips the test, saying why, where Node.js or its packages are missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no `node` on the PATH: install Node.js 20 to hold our parsers against the players'")
    if not (HERE.parent / "npm" / "node_modules" / "mpd-parser").is_dir():
        pytest.skip("tests/npm/node_modules is missing: run `npm ci` in tests/npm")
    text = "\n".join(json.dumps(job) for job in jobs)
    done = subprocess.run(
        [node, str(HERE / "parse_manifest.mjs")], input=text, capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
