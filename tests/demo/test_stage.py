"""The stage itself, without the product: what it adds up, the trouble it makes, and that it leaves nothing behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.demo import screen
from tests.demo.clock import seconds
from tests.demo.conftest import REPOSITORY
from tests.demo.parts import Agent, Plan, free_addresses, toml
from tests.demo.processes import CouldNotStart, Processes
from tests.demo.stage import Stage
from tests.demo.summary import Result, summarise
from tests.demo.viewer import Checker, Figures

pytestmark = pytest.mark.processes

PATIENCE_SECONDS = 40.0
"""A guard only: on a quiet machine nothing takes longer than 10 s."""


def _agent(**bytes_from: int) -> Agent:
    return Agent("a", "127.0.1.1", Path(), Path(), Path(), status={"bytes": bytes_from})


def _result() -> Result:
    lines = [
        {"bytes": 600, "segments": 6, "startup_ms": 400, "stalls": 0, "stall_seconds": 0.0, "manifests": 5},
        {"bytes": 400, "segments": 4, "startup_ms": 600, "stalls": 1, "stall_seconds": 0.5, "manifests": 4},
    ]
    agents = [_agent(cache=10, lan=500, webrtc=20, origin=600), _agent(lan=1)]
    kinds = {"segment": {"bytes": 600, "distinct_bytes": 500, "requests": 7}, "manifest": {"requests": 9}}
    return summarise(10.04, lines, agents, kinds)


def test_the_sums_are_those_of_both_ends() -> None:
    assert _result().json() == {
        "viewers": 2,
        "seconds": 10.0,
        "segments": 10,
        "bytes_delivered": 1000,
        "bytes_origin": 600,
        "bytes_peers": 521,
        "bytes_cache": 10,
        "offload": 0.4,
        "bound": 0.5,
        "copies_per_segment": 1.2,
        "stalls": 1,
        "stall_seconds": 0.5,
        "startup_ms_p50": 500.0,
        "startup_ms_max": 600,
        "sha256_mismatches": 0,
        "manifests_from_origin": 9,
        "manifests_total": 9,
    }


def test_a_run_without_any_figures_adds_up_to_nothing() -> None:
    result = summarise(0.0, [{}], [], {})
    assert (result.offload, result.copies_per_segment, result.startup_ms_max) == (0.0, 0.0, None)
    assert screen.trouble(result) == "No viewer ever started playing."
    assert screen.trouble(_result()) is None
    assert "Offload 40.0 %" in " ".join(screen.verdict(_result()))


def test_settings_are_toml() -> None:
    assert toml({"a.b": "c"}) == '{ "a.b" = "c" }'
    assert toml(["x"]) == '["x"]'
    assert toml(True) == "true"
    assert toml([{"a": ["b"]}, {"c": True}]) == '[{ "a" = ["b"] }, { "c" = true }]'


def test_desks_get_addresses_of_their_own() -> None:
    assert len(set(free_addresses(260))) == 260
    code = "from tests.demo.parts import free_addresses; print(*free_addresses(260))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(free_addresses(260)), "two runs side by side would take the same"


@pytest.mark.asyncio
async def test_a_process_that_fails_is_reported_with_its_last_words(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    try:
        child = await processes.start("teller", [sys.executable, "-c", "import sys; sys.exit('no room at the inn')"])
        with pytest.raises(
            CouldNotStart, match=r"teller ended with code 1 before it was ready(.|\n)*no room at the inn"
        ):
            await child.ready(tmp_path / "never", 10)
        with pytest.raises(CouldNotStart, match="could not be run"):
            await processes.start("ghost", ["/nonexistent/program"])
    finally:
        await processes.close()


@pytest.mark.asyncio
async def test_viewers_notice_a_wrong_byte_and_a_body_never_published() -> None:
    async with Stage(Plan(viewers=0, through="nothing")) as stage:
        figures = Figures()
        newest = int((await _info(stage))["newest"])
        path = f"/live/hls/360/{newest}.ts"
        async with stage.session.get(f"{stage.origin.url}{path}") as answer:
            data = await answer.read()
        checker = Checker(stage.session, stage.origin.url, figures)
        checker.add(f"{stage.origin.url}{path}", data)
        await checker.check()
        assert (figures.checked, figures.sha256_mismatches) == (1, 0)
        checker.add(f"{stage.origin.url}{path}", data[:-1] + bytes([data[-1] ^ 1]))
        checker.add(f"{stage.origin.url}/live/hls/360/{newest + 5000}.ts", data)
        await checker.check()
        assert (figures.checked, figures.sha256_mismatches) == (3, 2)


async def _info(stage: Stage) -> dict[str, float]:
    async with stage.session.get(f"{stage.origin.url}/_demo/info") as answer:
        info: dict[str, float] = await answer.json()
        return info


async def _until(holds: Callable[[], bool], what: str) -> None:
    limit = seconds() + PATIENCE_SECONDS
    while not holds():
        if seconds() > limit:
            pytest.fail(f"in vain for {PATIENCE_SECONDS:.0f} s: {what}")
        await asyncio.sleep(0.1)


async def _until_they_have(stage: Stage, segments: int) -> None:
    await _until(
        lambda: all(viewer.latest.get("segments", 0) >= segments for viewer in stage.viewers), f"{segments} segments"
    )


@pytest.mark.asyncio
async def test_without_the_product_every_viewer_costs_the_origin_a_copy(quiet_machine: bool) -> None:
    async with Stage(Plan(viewers=2, through="nothing", stagger_seconds=0)) as stage:
        await stage.start_viewers()
        await _until_they_have(stage, 4)
        result = await stage.finish()
    assert result.bytes_origin == result.bytes_delivered > 2_000_000
    assert result.copies_per_segment <= 2.0
    assert (result.sha256_mismatches, result.offload) == (0, 0.0)
    assert result.manifests_from_origin == result.manifests_total > 4
    if quiet_machine:
        assert result.copies_per_segment > 1.8, "they watch the same, at the same time"
        assert result.stalls == 0


@pytest.mark.asyncio
async def test_an_origin_in_trouble_shows_as_stalls_and_its_end_as_playing_on(quiet_machine: bool) -> None:
    async with Stage(Plan(viewers=1, through="nothing")) as stage:
        await stage.start_viewers()
        await _until_they_have(stage, 3)
        before = stage.viewers[0].latest["stalls"]
        await stage.origin.fault(match=r"/720/\d+\.ts", status=503)
        await _until(lambda: stage.viewers[0].latest["stall_seconds"] > 1, "it stalls")
        had = stage.viewers[0].latest["segments"]
        await stage.origin.fault(clear=1)
        await _until_they_have(stage, had + 2)
        await _until(lambda: stage.viewers[0].latest["buffer_seconds"] > 0, "it plays on")
        result = await stage.finish()
        done = stage.viewers[0].latest
    assert done["errors"]["503"] > 3
    assert result.stalls > before
    assert result.stall_seconds > 1
    if quiet_machine:
        assert (before, result.stalls) == (0, 1)
        assert result.stall_seconds < 8


@pytest.mark.asyncio
async def test_a_viewer_goes_past_a_proxy_that_was_killed(quiet_machine: bool) -> None:
    plan = Plan(viewers=1, through="mitmdump", stream="dash", else_direct=True)
    async with Stage(plan) as stage:
        await stage.start_viewers()
        await _until(lambda: stage.viewers[0].latest.get("startup_ms") is not None, "it plays")
        before = stage.viewers[0].latest
        await stage.kill_agent(0)
        await _until_they_have(stage, before["segments"] + 2)
        result = await stage.finish()
        after = stage.viewers[0].latest
    assert before["direct"] == 0
    assert after["direct"] > 0
    assert result.sha256_mismatches == 0
    if quiet_machine:
        assert result.stalls == 0


def _family(parent: int) -> list[psutil.Process]:
    return psutil.Process(parent).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_the_demo_ends(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.demo", "--seconds", "60", "--viewers", "2", "--through", "nothing"]
    command += ["--json", str(tmp_path / "result.json")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL) as demo:
        try:
            limit = seconds() + PATIENCE_SECONDS
            while len(_family(demo.pid)) < 4 and seconds() < limit:  # origin, two viewers, guard
                time.sleep(0.1)
            time.sleep(2)
            children = _family(demo.pid)
            assert len(children) == 4
            demo.send_signal(number)
            demo.wait(PATIENCE_SECONDS)
            _, alive = psutil.wait_procs(children, PATIENCE_SECONDS)
            assert alive == []
        finally:
            demo.kill()
    if number is signal.SIGTERM:
        assert demo.returncode == 0
        assert json.loads((tmp_path / "result.json").read_text())["viewers"] == 2
        assert list(tmp_path.glob("ecdn-demo-*")) == []


@pytest.mark.asyncio
async def test_an_unreachable_origin_is_an_error_not_a_crash() -> None:
    figures = Figures()
    async with aiohttp.ClientSession() as session:
        checker = Checker(session, "https://127.0.0.1:1", figures)
        checker.add("https://127.0.0.1:1/x", b"")
        await checker.check()
    assert figures.checked == 0
    assert sum(figures.errors.values()) == 1
