"""The suite of cache-tests.fyi, every URL of it listed as a segment: no verdict is worse than without us.

The suite asks the same of two desks in turn, of one desk, and of the origin itself. A cache need not keep anything, so
what counts is a verdict that is right without any cache and wrong with us. The summary is printed (`pytest -s`), beside
what the package knows of a browser's own cache and of two proxies, and written to build/field/cache-tests.txt.
"""

import asyncio
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.demo.origin import NODE_MODULES
from tests.demo.processes import REPOSITORY
from tests.field.office import Office
from tests.field.origin import HOST
from tests.field.report import field

pytestmark = [
    pytest.mark.processes,
    pytest.mark.node,
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is missing"),
    pytest.mark.skipif(not (NODE_MODULES / "http-cache-tests").is_dir(), reason="no cache tests: npm ci in tests/npm"),
]

KNOWN: dict[str, str] = dict.fromkeys(
    (f"heuristic-{status}-not_cached" for status in (502, 503, 504, 599)),
    "an answer 5xx is asked for once more, by another desk if there is one, before a viewer has it: one bad server "
    "behind a load balancer then stops nobody",
)
"""Tests that are right without us and wrong with us, and why that stays so."""


@dataclass(frozen=True)
class Verdicts:
    """What each test said: through two desks in turn, through one, and of the origin itself."""

    colleagues: dict[str, Any]
    alone: dict[str, Any]
    direct: dict[str, Any]

    def worse(self) -> dict[str, str]:
        """Tests that are right without us and wrong with us, and what they said."""
        return {
            name: f"{how}: {said[name]['result'][1]}"
            for how, said in (("one desk", self.alone), ("two desks", self.colleagues))
            for name, it in self.direct.items()
            if it["kind"] != "check" and it["result"] is True and said[name]["result"] is not True
        }

    def summary(self) -> str:
        """For each suite, how many tests are right; tests that only look are not counted."""
        elsewhere = ("chrome", "squid", "varnish")
        columns = ("tests", "direct", "one", "two", *elsewhere)
        counted: Counter[tuple[str, str]] = Counter()
        for name, it in self.direct.items():
            if it["kind"] == "check":
                continue
            for way, said in (("direct", self.direct), ("one", self.alone), ("two", self.colleagues)):
                counted[it["suite"], way] += said[name]["result"] is True
            counted[it["suite"], "tests"] += 1
            for way in elsewhere:
                counted[it["suite"], way] += it["elsewhere"][way] is True
        rows = [f"{'suite':<18}" + "".join(f"{way:>9}" for way in columns)]
        suites = sorted({suite for suite, _ in counted})
        return "\n".join(rows + [f"{it:<18}" + "".join(f"{counted[it, way]:>9}" for way in columns) for it in suites])


async def _run(*proxies: str) -> dict[str, Any]:
    command = ["node", "--no-warnings", str(REPOSITORY / "tests/npm/cache-tests.mjs"), HOST, *proxies]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        out, trouble = await asyncio.wait_for(process.communicate(), 110)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, trouble.decode(errors="replace")[-2000:]
    told: dict[str, Any] = json.loads(out)
    return told


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def verdicts(office: Office) -> Verdicts:
    first, second = (agent.proxy_url for agent in office.agents[:2])
    return Verdicts(*await asyncio.gather(_run(first, second), _run(first), _run()))


@field(
    property="with everything taken for a segment, no verdict of cache-tests.fyi is worse than without us",
    source="https://cache-tests.fyi/",
    right="RFC 9111, as its editor's suite asks it: freshness, validation, invalidation, Vary, Authorization, private",
)
async def test_no_verdict_is_worse_than_without_us(verdicts: Verdicts) -> None:
    folder = REPOSITORY / "build" / "field"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cache-tests.txt").write_text(f"{verdicts.summary()}\n")
    print(f"\n{verdicts.summary()}")  # noqa: T201 - a table for a person
    worse = verdicts.worse()
    unknown = [f"{name}: {said}" for name, said in worse.items() if name not in KNOWN]
    assert not unknown, "\n".join(["worse than without us:", *unknown])


async def test_the_suite_finds_a_cache(verdicts: Verdicts) -> None:
    """Without this the comparison would say nothing: segments are kept, and a colleague's copy is used."""
    for said in (verdicts.alone, verdicts.colleagues):
        assert said["freshness-max-age"]["result"] is True
    assert verdicts.direct["freshness-max-age"]["result"] is not True
    assert len(verdicts.direct) > 300
