"""Real players on hosts of an office: two through their agents, beside one that goes straight to the origin.

Figures lie in build/lab/players.json. They start one after the other on one line, when all pages are loaded.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pytest
import pytest_asyncio

from tests.demo import browser
from tests.demo.clock import wall
from tests.demo.content import SEGMENT_SECONDS
from tests.demo.origin import NODE_MODULES, SCRIPTS
from tests.demo.parts import PATHS, Player, Stream
from tests.lab import mpv
from tests.lab.findings import copies, fetches
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Office
from tests.lab.results import record

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SECONDS = 10
PREPARE_SECONDS = 8.0
"""Until three browsers stand: who starts while another one comes up starts late."""
STAGGER_SECONDS = float(SEGMENT_SECONDS)
"""All begin at the same place in a segment: players begin to play where one begins, up to its length further behind."""
RTT_MS = 20
_LIVE: dict[Player, tuple[Stream, ...]] = {
    "hls": ("hls", "cmaf", "aes"),
    "dash": ("dash", "timeline", "clearkey", "smooth"),
    "shaka": ("hls", "cmaf", "aes", "dash", "timeline", "clearkey"),
    "videojs": ("hls", "cmaf", "aes", "dash"),
}
_RECORDED: dict[Player, Stream] = {"hls": "vod-hls", "dash": "vod-dash", "shaka": "vod-dash", "videojs": "vod-hls"}
_LOW_LATENCY: dict[Player, tuple[Stream, dict[str, Any]]] = {
    "hls": ("ll", {"lowLatencyMode": True, "maxLiveSyncPlaybackRate": 1.2}),
    "dash": ("lldash", {"streaming": {"liveCatchup": {"enabled": True, "mode": "liveCatchupModeDefault"}}}),
}
"""What each plays, and its settings: it may play faster until it is as far behind live as the stream asks for."""
LOW_LATENCY_SECONDS = 20
CLOSE_SECONDS = 0.2
"""How much further behind live a player may be than one without an agent."""
FIGURES: dict[str, list[dict[str, Any]]] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office() -> AsyncIterator[Office]:
    async with Office(NetPlan((SitePlan("a", 3),), isp_mbps=50, rtt_ms=RTT_MS)) as office:
        yield office
    record("players", FIGURES)


@pytest.fixture
def players_here() -> None:
    if (reason := browser.available()) is not None:
        pytest.skip(reason)
    if not all((NODE_MODULES / script).exists() for script in SCRIPTS.values()):
        pytest.skip("the players are missing: npm ci in tests/npm")


async def _three(
    office: Office,
    player: Player,
    stream: Stream,
    acts: Sequence[browser.Act] = (),
    duration: float = SECONDS,
    page: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, Any]], float]:
    """What each saw, the last one without its agent; copies that the agents together took."""
    await office.refresh()
    since, lan, memory = len(await office.origin.log()), _given(office, "lan"), _given(office, "cache")
    at = (wall() + PREPARE_SECONDS) // SEGMENT_SECONDS * SEGMENT_SECONDS + SEGMENT_SECONDS / 2
    hosts = office.net.hosts_of()
    reports = await asyncio.gather(
        *(
            office.browse(
                host,
                duration,
                stream,
                page={"player": player, **(page or {})},
                at=at + place * STAGGER_SECONDS,
                acts=acts,
                through_agent=place < 2,
            )
            for place, host in enumerate(hosts)
        )
    )
    await office.refresh()
    asked = fetches(await office.origin.log(since))
    ours = [fetch for fetch in asked if fetch.client != hosts[2].address]
    names = "startup_ms stalls stall_ms stalled progress frames_a_second latency_seconds position height segments parts"
    names += " errors console"
    FIGURES[f"{player}-{stream}"] = [{name: report[name] for name in names.split()} for report in reports]
    # What the two were given and the origin did not send them; each chooses its own rendition. A player that comes back
    # to what it has had, because of a seek or a change, has it from its own machine.
    shared, again = _given(office, "lan") - lan, _given(office, "cache") - memory
    twice = sum(report["bytes"] for report in reports[:2]) - sum(fetch.bytes for fetch in ours) - again
    FIGURES[f"{player}-{stream}"].append({"copies": copies(ours), "lan": shared, "twice": twice, "again": again})
    assert shared >= 0.9 * twice > 0, FIGURES[f"{player}-{stream}"]
    return list(reports), copies(ours)


async def _empty(office: Office, name: str) -> None:
    """Start it anew: of a recording that another player has played, it would still have everything in memory."""
    await office.kill_agent(name)
    await office.start_agent(name)


def _given(office: Office, source: str) -> int:
    return sum(agent.bytes_from(source) for agent in office.agents.values())


@pytest.mark.usefixtures("players_here")
@pytest.mark.parametrize(("player", "stream"), [(player, stream) for player in _LIVE for stream in _LIVE[player]])
async def test_live_plays_as_it_does_without_an_agent(office: Office, player: Player, stream: Stream) -> None:
    reports, taken = await _three(office, player, stream)
    direct = reports.pop()
    figures = FIGURES[f"{player}-{stream}"]
    assert direct["played"], figures
    for report in reports:
        assert report["played"], figures
        assert report["stalls"] <= direct["stalls"], figures
        if direct["latency_seconds"] is not None:
            assert report["latency_seconds"] < direct["latency_seconds"] + 1.0, figures
    assert taken <= 1.1, figures


@pytest.mark.usefixtures("players_here")
@pytest.mark.parametrize("player", _LOW_LATENCY)
async def test_low_latency_is_as_close_to_live_as_without_an_agent(office: Office, player: Player) -> None:
    stream, settings = _LOW_LATENCY[player]
    page: dict[str, str] = {player: json.dumps(settings)}
    reports, taken = await _three(office, player, stream, duration=LOW_LATENCY_SECONDS, page=page)
    direct, figures = reports.pop(), FIGURES[f"{player}-{stream}"]
    assert direct["played"], figures
    for report in reports:
        assert report["played"], figures
        assert report["stalls"] <= direct["stalls"], figures
        assert report["latency_seconds"] <= direct["latency_seconds"] + CLOSE_SECONDS, figures
        assert stream != "ll" or report["parts"] > LOW_LATENCY_SECONDS, figures
    assert taken <= 1.1, figures


@pytest.mark.usefixtures("players_here")
@pytest.mark.parametrize(("player", "stream"), _RECORDED.items())
async def test_recordings_are_sought_in_paused_and_changed(office: Office, player: Player, stream: Stream) -> None:
    await asyncio.gather(*(_empty(office, name) for name in ("a1", "a2")))
    acts = (
        browser.Act(2.0, "document.querySelector('video').pause()"),
        browser.Act(1.0, "document.querySelector('video').play()"),
        browser.Act(1.5, "window.seek(30)"),
        browser.Act(1.5, "window.pick(360)"),
    )
    reports, taken = await _three(office, player, stream, acts)
    direct = reports.pop()
    for report in (*reports, direct):
        assert report["played"], FIGURES[f"{player}-{stream}"]
        assert report["height"] == 360, FIGURES[f"{player}-{stream}"]
        assert 30 + SECONDS - 4 < report["position"] < 60, FIGURES[f"{player}-{stream}"]
    for report in reports:
        assert report["stalls"] <= direct["stalls"], FIGURES[f"{player}-{stream}"]
    assert taken <= 1.2, FIGURES[f"{player}-{stream}"]  # a rendition left in the middle of a segment costs its rest


@pytest.mark.parametrize(("stream", "seek", "height"), [("cmaf", None, 720), ("vod-dash", 34.0, 360)])
async def test_mpv_plays_as_it_does_without_an_agent(
    office: Office, stream: Stream, seek: float | None, height: int
) -> None:
    if (reason := mpv.why_not()) is not None:
        pytest.skip(reason)

    async def user(place: int) -> mpv.Watched:
        await asyncio.sleep(place * STAGGER_SECONDS)
        change = None if seek is None else height
        return await mpv.watch(
            office, hosts[place], PATHS[stream], 4, through_agent=place < 2, seek=seek, height=change
        )

    hosts = office.net.hosts_of()
    one, two, direct = await asyncio.gather(*map(user, range(3)))
    FIGURES[f"mpv-{stream}"] = [asdict(each) for each in (one, two, direct)]
    for each in (one, two, direct):
        assert each.stalls <= direct.stalls, FIGURES[f"mpv-{stream}"]
        assert each.advanced > 0.9 * each.seconds, FIGURES[f"mpv-{stream}"]
        assert each.height == height, FIGURES[f"mpv-{stream}"]
        assert seek is None or seek < each.position < seek + 12, FIGURES[f"mpv-{stream}"]
