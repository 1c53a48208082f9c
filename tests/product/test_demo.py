"""The demonstration itself: one copy enters the office, every player gets every byte; on a quiet machine nobody waits.

Its figures are the origin's own counts, the viewers' own buffers and the viewers' own hashes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.demo.processes import REPOSITORY

pytestmark = pytest.mark.processes

FIELDS = {
    "viewers": int,
    "seconds": float,
    "segments": int,
    "bytes_delivered": int,
    "bytes_origin": int,
    "bytes_peers": int,
    "bytes_cache": int,
    "offload": float,
    "bound": float,
    "copies_per_segment": float,
    "stalls": int,
    "stall_seconds": float,
    "startup_ms_p50": float,
    "startup_ms_max": int,
    "sha256_mismatches": int,
    "manifests_from_origin": int,
    "manifests_total": int,
}
"""What whoever reads the JSON relies on, in this order."""


def _demo(tmp_path: Path, *options: str) -> dict[str, Any]:
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "tests.demo", *options, "--json", str(file)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert list(tmp_path.glob("ecdn-demo-*")) == [], "the demo left its directory behind"
    result: dict[str, Any] = json.loads(file.read_text())
    return result


@pytest.mark.parametrize(
    ("stream", "viewers", "duration", "offload"), [("hls", 4, 20, 0.70), ("dash", 4, 20, 0.70), ("hls", 8, 25, 0.83)]
)
def test_one_copy_enters_the_office(
    stream: str, viewers: int, duration: int, offload: float, tmp_path: Path, quiet_machine: bool
) -> None:
    result = _demo(tmp_path, "--stream", stream, "--viewers", str(viewers), "--seconds", str(duration))
    assert [(name, type(value)) for name, value in result.items()] == list(FIELDS.items())
    assert result["viewers"] == viewers
    assert result["segments"] >= viewers
    assert result["sha256_mismatches"] == 0
    assert result["copies_per_segment"] <= 1.1
    assert result["offload"] >= offload
    assert result["bound"] == (viewers - 1) / viewers
    # Each viewer's manifest is the origin's own answer to it; one more may be under way when a viewer ends.
    assert 0 <= result["manifests_from_origin"] - result["manifests_total"] <= viewers
    assert result["manifests_total"] >= viewers
    if quiet_machine:
        assert result["segments"] >= viewers * (duration / 2 - 3)
        assert (result["stalls"], result["stall_seconds"]) == (0, 0.0)
        assert result["manifests_total"] > viewers * (2 if stream == "dash" else duration / 4)
