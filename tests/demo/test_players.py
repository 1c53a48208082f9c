"""Real players in a real browser, straight from the origin: so that trouble through an agent is the agent's."""

from pathlib import Path

import pytest

from tests.demo import browser
from tests.demo.conftest import Served
from tests.demo.origin import NODE_MODULES

_PLAYERS_MISSING = not (NODE_MODULES / "hls.js").is_dir() or not (NODE_MODULES / "dashjs").is_dir()


@pytest.mark.asyncio
@pytest.mark.browser
@pytest.mark.skipif(browser.available() is not None, reason=str(browser.available()))
@pytest.mark.skipif(_PLAYERS_MISSING, reason="no players: run npm ci in tests/npm")
@pytest.mark.parametrize("stream", ["hls", "aes", "dash", "timeline"])
async def test_players_play_across_the_seam_of_the_loop(served: Served, stream: str, tmp_path: Path) -> None:
    report = await browser.play(
        f"{served.url}/player.html?stream={stream}",
        seconds=32,
        ca_files=[served.ca],
        resolve={"origin.demo.test": "127.0.0.1"},
        screenshot=tmp_path / f"{stream}.png",
    )
    assert report.played, report
    assert report.stalls == 0, report
    assert report.segments >= 12
    assert (tmp_path / f"{stream}.png").stat().st_size > 10_000
