"""Real players in a real browser, straight from the origin: so that trouble through an agent is the agent's."""

from pathlib import Path

import pytest

from tests.demo import browser
from tests.demo.conftest import Served
from tests.demo.origin import NODE_MODULES
from tests.demo.parts import Plan
from tests.demo.stage import Stage

_PLAYERS_MISSING = not (NODE_MODULES / "hls.js").is_dir() or not (NODE_MODULES / "dashjs").is_dir()


pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.available() is not None, reason=str(browser.available())),
    pytest.mark.skipif(_PLAYERS_MISSING, reason="no players: run npm ci in tests/npm"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("stream", "seconds"), [("hls", 32), ("aes", 12), ("dash", 32), ("timeline", 12)])
async def test_players_play(served: Served, stream: str, seconds: float, tmp_path: Path, quiet_machine: bool) -> None:
    """The loop is 24 s: in 32 s its seam is passed for certain."""
    segments = seconds / 2 - 1
    report = await browser.play(
        f"{served.url}/player.html?stream={stream}",
        seconds=seconds,
        ca_files=[served.ca],
        resolve={"origin.demo.test": "127.0.0.1"},
        screenshot=tmp_path / f"{stream}.png",
        until=f"window.snap().segments >= {segments}",
    )
    assert report.shown, report
    assert report.segments >= segments
    if quiet_machine:
        assert report.trouble == []
        assert report.stalls == 0, report
    assert (tmp_path / f"{stream}.png").stat().st_size > 10_000


@pytest.mark.asyncio
async def test_the_browser_obeys_the_pac_and_trusts_the_proxy_alone(tmp_path: Path, quiet_machine: bool) -> None:
    async with Stage(Plan(viewers=1, through="mitmdump")) as stage:
        report = await stage.browse(0, 10, tmp_path / "proxied.png", until="window.snap().frames > 0")
        log = await stage.origin.log()
    assert report.shown, report
    if quiet_machine:
        assert report.trouble == []
        assert report.stalls == 0
    # The browser itself resolves no test name: that it played at all, it did through the proxy.
    assert sum(entry["bytes"] for entry in log if entry["kind"] == "segment") >= report.bytes > 0
