"""Two real browsers in one office, each through its own agent's PAC: the second one's video comes from the first."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from tests.demo import browser
from tests.demo.origin import NODE_MODULES
from tests.demo.parts import Plan, Player, Stream
from tests.demo.processes import REPOSITORY
from tests.demo.stage import Stage
from tests.product.outside import Copies, per_segment

_PLAYERS_MISSING = not all((NODE_MODULES / name).is_dir() for name in ("hls.js", "dashjs", "shaka-player"))

pytestmark = [
    pytest.mark.processes,
    pytest.mark.browser,
    pytest.mark.node,
    pytest.mark.skipif(browser.available() is not None, reason=str(browser.available())),
    pytest.mark.skipif(_PLAYERS_MISSING, reason="no players: run npm ci in tests/npm"),
    pytest.mark.asyncio(loop_scope="module"),
]

PICTURES = REPOSITORY / "build" / "pictures"
WATCH_SECONDS = 14.0
BRIEFLY_SECONDS = 7.0
LATER_SECONDS = 3.0
"""The second user presses play this much after the first."""
ENOUGH = "window.snap().bytes >= 1_500_000"
"""Both watch until they have had this much; on a quiet machine they have had it by then."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    async with Stage(Plan(viewers=2)) as stage:
        yield stage


async def _origin_bytes(stage: Stage) -> int:
    return (await stage.origin.counts())["kinds"].get("segment", {}).get("bytes", 0)


async def _page(stage: Stage, index: int, picture: Path) -> str:
    """The status page as a person sees it."""
    async with async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=browser.CHROMIUM, args=["--no-sandbox"])
        page = await chromium.new_page(viewport={"width": 1280, "height": 1000})
        mistakes: list[str] = []
        page.on("console", lambda message: mistakes.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: mistakes.append(error.message))
        await page.goto(stage.agents[index].page_url)
        await page.wait_for_selector("text=Latest segments")
        await page.screenshot(path=picture, full_page=True)
        await page.set_viewport_size({"width": 390, "height": 800})
        await page.screenshot(path=picture.with_stem(f"{picture.stem}-narrow"), full_page=True)
        overflow = await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        text = await page.inner_text("body")
        await chromium.close()
    assert mistakes == []
    assert not overflow, "the page is wider than a telephone"
    return text


@pytest.mark.parametrize(("player", "stream"), [("hls", "hls"), ("dash", "dash"), ("shaka", "hls"), ("shaka", "dash")])
async def test_the_second_browser_gets_its_video_from_the_first_ones_agent(
    stage: Stage,
    player: Player,
    stream: Stream,
    record_property: Callable[[str, object], None],
    quiet_machine: bool,
) -> None:
    stage.plan.player, stage.plan.stream = player, stream
    # hls.js begins with its lowest rendition, which the first one has left by then; later either may be first to ask
    stage.plan.height = 720 if player == "hls" else None
    watch = BRIEFLY_SECONDS if player == "shaka" else WATCH_SECONDS
    await stage.refresh()
    before = [agent.bytes_from("lan") for agent in stage.agents]
    copies, origin_before = await Copies.from_now(stage), await _origin_bytes(stage)

    async def second() -> browser.PlayerReport:
        await asyncio.sleep(LATER_SECONDS)
        return await stage.browse(1, watch, PICTURES / f"{player}-{stream}-2.png", until=ENOUGH)

    picture = PICTURES / f"{player}-{stream}-1.png"
    async with asyncio.TaskGroup() as group:
        users = [
            group.create_task(stage.browse(0, watch + LATER_SECONDS, picture, until=ENOUGH)),
            group.create_task(second()),
        ]
    reports = [user.result() for user in users]
    await stage.refresh()
    for report in reports:
        assert report.shown, report
        if quiet_machine:
            assert report.trouble == []
            assert report.stalls == 0, report
    lan = [agent.bytes_from("lan") - was for agent, was in zip(stage.agents, before, strict=True)]
    counted = await copies.by_path(f"/{stream}/")
    record_property("figures", [[(one.progress, one.startup_ms, one.bytes) for one in reports], lan, counted])
    assert per_segment(counted) <= 1.1, counted
    # Whoever of the two asks first fetches, and the other has it from the neighbour; each may choose its own rendition.
    twice = sum(report.bytes for report in reports) - (await _origin_bytes(stage) - origin_before)
    assert twice > 1_000_000
    assert sum(lan) >= 0.9 * twice
    assert lan[1] > 0
    if player == "shaka":
        return
    text = await _page(stage, 1, PICTURES / f"status-{stream}.png")
    for words in ("Where video came from", "Playing now", "Colleagues' machines", "from colleagues' machines"):
        assert words.lower() in text.lower(), text
