"""A node that fails is replaced with its driver and performer, and nobody's viewing ends with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from ecdn_proxy.agent.api import FromMemory, OwnHead, SharedHead
from ecdn_proxy.agent.system import System
from ecdn_proxy.core import events
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Bye, Cancel, Get
from tests.agent.origins import BODY
from tests.agent.systems import Agent, started, whole
from tests.core.makers import contact
from tests.core.world import STREAM

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


def link(agent: Agent) -> None:
    """A link to ann stands."""
    agent.system._runner.link_opened(contact("ann"), "lan", (STREAM,), True, 1.0)


def fail(agent: Agent) -> None:
    """Tell the node what it cannot be told."""
    agent.system._runner.link_received("ann", Bye("this never reaches a node"))


def told(system: System) -> list[object]:
    """The node's last events."""
    return [what for _, what in system._runner._driver.story.told if what != "wake"]


async def test_a_fault_of_ours_sends_viewers_to_the_origin_and_is_mended(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:

        async def late(request: web.Request) -> web.StreamResponse:
            await agent.origin.go_on.wait()
            return agent.origin.segment(request)

        agent.origin.answers |= {"/live/2.ts": agent.origin.slowly, "/live/3.ts": late}
        await agent.watch()
        begun, waiting = agent.open("2.ts"), agent.open("3.ts")
        await begun.head()
        link(agent)
        fail(agent)
        assert "restarted-within" in agent.codes()
        with pytest.raises(Unavailable):
            await whole(begun)
        agent.origin.go_on.set()
        assert isinstance(await waiting.head(), OwnHead)
        assert await whole(waiting) == BODY
        for response in (begun, waiting):
            await response.release()
        head, body = await agent.play("1.ts")
        assert isinstance(head, SharedHead)
        assert body == BODY
        assert isinstance(agent.system.router.route(agent.get("1.ts")), FromMemory)


async def test_what_was_given_to_others_before_a_fault_is_still_counted_after_it(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        runner = agent.system._runner
        await agent.watch()
        await agent.play("1.ts")
        (played,) = agent.system.status().recent
        runner.feed(events.PolicyChanged(sharing=True, uploads=True, why="so"))
        link(agent)
        runner.link_received("ann", Get(1, played.key, played.stream, 0, None))
        assert agent.system.status().bytes.uploaded == len(BODY)
        fail(agent)
        assert "restarted-within" in agent.codes()
        assert agent.system.status().bytes.uploaded == len(BODY)
        assert agent.system._meter.usage(runner.uploads()).reported().bytes_up == len(BODY)


async def test_a_fault_of_ours_is_logged_with_what_had_happened_before_it(tmp_path: Path) -> None:
    """64 events at most, and none of a viewer's secrets."""
    async with started(tmp_path) as agent:
        await agent.watch()
        await agent.play("1.ts")
        link(agent)
        with capture_logs() as lines:
            fail(agent)
    (fault,) = [line for line in lines if line["log_level"] == "error"]
    assert isinstance(fault["exc_info"], Exception)
    story = fault["story"].splitlines()
    assert "Received device=ann" in story[-1], "the event that it failed at is the last"
    assert "LinkOpened" in story[-2]
    assert sum("OriginSent" in line for line in story) >= 1
    assert any("Wanted viewer=1" in line for line in story)
    assert len(story) <= 64
    for secret in ("origin.test", "/live/", "session=ann", "http"):
        assert secret not in fault["story"], secret


async def test_what_happens_to_links_is_told_to_the_node(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        runner = agent.system._runner
        before = len(told(agent.system))
        runner.link_opened(contact("ann"), "webrtc", (STREAM,), True, 1.0)
        runner.link_opened(contact("bob"), "lan", (), False, 2.0)
        runner.link_received("ann", Cancel(3))
        runner.link_passed_over("ann", "9.0", 250)
        runner.link_ready("ann")
        runner.link_closed("ann", "x" * 500, True)
        runner.link_closed("bob", "gone", False)
        opened, second, received, ready, closed, gone = told(agent.system)[before:]
    assert opened == events.LinkOpened(contact("ann"), "webrtc", (STREAM,), True, 1.0)
    assert isinstance(second, events.LinkOpened)
    assert second.kind == "lan"
    assert received == events.Received("ann", Cancel(3))
    assert ready == events.LinkReady("ann")
    assert isinstance(closed, events.LinkClosed)
    assert (closed.misbehaved, len(closed.why) <= 300) == (True, True)
    assert gone == events.LinkClosed("bob", "gone", misbehaved=False)


async def test_a_link_that_is_full_again_is_told_again(tmp_path: Path) -> None:
    """Between the two LinkFull stands a LinkReady or a LinkClosed."""
    async with started(tmp_path) as agent:
        runner = agent.system._runner
        full = runner._performer._full_links
        ways: tuple[Callable[[], None], ...] = (
            lambda: runner.link_ready("ann"),
            lambda: runner.link_closed("ann", "gone", False),
        )
        for has_room in ways:
            full.add("ann")
            has_room()
            assert not full


async def test_a_new_node_is_told_again_what_nobody_will_repeat(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        runner = agent.system._runner
        denied, seen = events.DevicesDenied(frozenset({"eve"})), events.LanSeen(contact("ann"), (STREAM[:8],))
        policy = events.PolicyChanged(sharing=True, uploads=False, why="the site")
        for event in (seen, events.LanSeen(contact("bob"), ()), events.LanLost("bob"), denied, policy):
            runner.feed(event)
        runner.feed(events.Moved(contact("not-enrolled", "wifi")))
        runner.node.context.membership.bans["mallory"] = runner.now() + 600
        former = runner.node
        link(agent)
        fail(agent)
        assert runner.node is not former
        assert set(map(repr, told(agent.system))) == {repr(policy), repr(seen), repr(denied)}
        assert runner.node.context.me.link == "wifi"
        assert runner.node.context.membership.bans == former.context.membership.bans
