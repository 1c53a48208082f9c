"""Whatever dies, the picture goes on: an agent that hangs, an agent killed, the coordinator killed, nothing but mDNS.

One office of four desks lives through all of it; the tests read its story chapter by chapter.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.demo.parts import Plan
from tests.demo.stage import Stage
from tests.product.outside import Copies, missed, per_segment, settled, stalls, until, wrong

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

HANG_SECONDS = 5.0


@dataclass
class Story:
    """What was seen in each chapter."""

    others_stalled_by_hang: list[int] = field(default_factory=list)
    others_missed_by_hang: list[dict[str, int]] = field(default_factory=list)
    stalls_after_kill: list[int] = field(default_factory=list)
    missed_after_kill: list[dict[str, int]] = field(default_factory=list)
    """Of the two whose agents live on."""
    went_direct: int = 0
    noticed_coordinator: bool = False
    copies_without_coordinator: dict[str, float] = field(default_factory=dict)
    whys_without_coordinator: list[str] = field(default_factory=list)
    copies_by_mdns: dict[str, float] = field(default_factory=dict)
    peers_by_mdns: list[str] = field(default_factory=list)
    bytes_by_mdns: int = 0
    stalls_by_mdns: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


async def _hang(stage: Stage, story: Story) -> None:
    hanging, others = stage.agents[3].child, stage.viewers[:3]
    assert hanging is not None
    before = stalls(others)
    hanging.signal(signal.SIGSTOP)
    await asyncio.sleep(HANG_SECONDS)  # the trouble itself, not a wait for anything
    hanging.signal(signal.SIGCONT)
    await settled(others, 2)
    story.others_missed_by_hang = missed(others)
    story.others_stalled_by_hang = [after - was for after, was in zip(stalls(others), before, strict=True)]
    await stage.processes.end([stage.viewers[3].child])
    story.wrong += wrong(stage.viewers[3:])


async def _kill(stage: Stage, story: Story) -> None:
    playing = stage.viewers[:3]
    before = stalls(playing)
    await stage.kill_agent(2)
    await settled(playing, 4)
    story.missed_after_kill = missed(playing[:2])
    story.stalls_after_kill = [after - was for after, was in zip(stalls(playing), before, strict=True)]
    story.went_direct = playing[2].latest["direct"]
    await stage.processes.end([playing[2].child])


async def _without_coordinator(stage: Stage, story: Story) -> None:
    left = stage.viewers[:2]
    await stage.kill_coordinator()

    async def noticed() -> bool:
        await stage.refresh()
        return all(not agent.status["coordinator"]["connected"] for agent in stage.agents[:2])

    story.noticed_coordinator = bool(await until(noticed, "agents notice that the coordinator is gone"))
    copies = await Copies.from_now(stage)
    await settled(left, 4)
    story.copies_without_coordinator = await copies.by_path()
    await stage.refresh()
    story.whys_without_coordinator = [
        f"{agent.name} {one['number']} {one['why']}"
        for agent in stage.agents[:2]
        for one in agent.status["recent"][:6]
        if one["source"] == "origin"
    ]
    story.wrong += wrong(stage.viewers)
    await stage.processes.end([viewer.child for viewer in left])


async def _by_mdns_alone(stage: Stage, story: Story) -> None:
    """Both agents are started anew, so that they know nobody; and the stream is one that nobody has opened yet."""
    for index in (0, 1):
        await stage.kill_agent(index)
    await asyncio.gather(stage.start_agent(0), stage.start_agent(1))
    stage.plan.stream = "dash"
    copies = await Copies.from_now(stage)
    viewers = [await stage.start_viewer(stage.agents[0])]
    await settled(viewers, 2)
    viewers.append(await stage.start_viewer(stage.agents[1]))
    await settled(viewers, 10)
    story.copies_by_mdns = await copies.by_path("/dash/")
    await stage.refresh()
    story.peers_by_mdns = [peer["why"] for agent in stage.agents[:2] for peer in agent.status["peers"]]
    story.bytes_by_mdns = stage.agents[1].bytes_from("lan")
    story.stalls_by_mdns = stalls(viewers)
    story.wrong += wrong(viewers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story() -> AsyncIterator[Story]:
    told = Story()
    async with Stage(Plan(viewers=4, else_direct=True)) as stage:
        await stage.start_viewers()
        await settled(stage.viewers, 4)
        for chapter in (_hang, _kill, _without_coordinator, _by_mdns_alone):
            await chapter(stage, told)
        for agent in stage.agents:
            log = (stage.directory / f"{agent.name}.log").read_text()
            told.faults += [line for line in log.splitlines() if "level=error" in line or "Traceback" in line]
        yield told


async def test_an_agent_that_hangs_disturbs_nobody_else(story: Story, quiet_machine: bool) -> None:
    assert story.others_missed_by_hang == [{}, {}, {}]
    if quiet_machine:
        assert story.others_stalled_by_hang == [0, 0, 0]


async def test_an_agent_killed_disturbs_nobody_and_its_own_viewer_goes_direct(
    story: Story, quiet_machine: bool
) -> None:
    assert story.missed_after_kill == [{}, {}]
    assert story.went_direct > 0
    if quiet_machine:
        assert story.stalls_after_kill == [0, 0, 0]


async def test_sharing_goes_on_without_the_coordinator(story: Story) -> None:
    assert story.noticed_coordinator
    assert per_segment(story.copies_without_coordinator) <= 1.1, (
        story.copies_without_coordinator,
        story.whys_without_coordinator,
    )


async def test_agents_find_each_other_by_mdns_alone(story: Story, quiet_machine: bool) -> None:
    assert story.peers_by_mdns
    assert all("mDNS" in why or "connected to this machine" in why for why in story.peers_by_mdns), story.peers_by_mdns
    assert any("mDNS" in why for why in story.peers_by_mdns), story.peers_by_mdns
    assert story.bytes_by_mdns > 0
    assert per_segment(story.copies_by_mdns) <= 1.1, story.copies_by_mdns
    if quiet_machine:
        assert story.stalls_by_mdns == [0, 0]


async def test_nothing_wrong_was_shown_and_no_fault_of_ours_was_logged(story: Story) -> None:
    assert story.wrong == []
    assert story.faults == []
