"""A node that fails is replaced with its driver and performer, and nobody's viewing ends with it."""

from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from ecdn_proxy.agent.api import Begun, FromMemory, OwnAnswer
from ecdn_proxy.core import events
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Bye, Get
from tests.agent.origins import BODY
from tests.agent.systems import started, whole
from tests.core.makers import contact
from tests.core.world import STREAM

OPENED = events.LinkOpened(contact("ann"), "lan", (STREAM,), serves=True, rtt_ms=1.0)
FAULT = events.Received("ann", Bye("this never reaches a node"))

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


async def test_a_fault_of_ours_sends_viewers_to_the_origin_and_is_mended(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:

        async def late(request: web.Request) -> web.StreamResponse:
            await agent.origin.go_on.wait()
            return agent.origin.segment(request)

        agent.origin.answers |= {"/live/2.ts": agent.origin.slowly, "/live/3.ts": late}
        await agent.watch()
        begun, waiting = agent.open("2.ts"), agent.open("3.ts")
        await begun.begin()
        agent.system.feed(OPENED)
        agent.system.feed(FAULT)
        assert "restarted-within" in agent.codes()
        with pytest.raises(Unavailable):
            await whole(begun)
        agent.origin.go_on.set()
        assert isinstance(await waiting.begin(), OwnAnswer)
        assert await whole(waiting) == BODY
        for delivery in (begun, waiting):
            await delivery.close()
        head, body = await agent.play("1.ts")
        assert isinstance(head, Begun)
        assert body == BODY
        assert isinstance(agent.system.sort(agent.get("1.ts")), FromMemory)


async def test_what_was_given_to_others_before_a_fault_is_still_counted_after_it(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        await agent.play("1.ts")
        (played,) = agent.system.status().recent
        agent.system.feed(events.PolicyChanged(sharing=True, uploads=True, why="so"))
        agent.system.feed(OPENED)
        agent.system.feed(events.Received("ann", Get(1, played.key, played.stream, 0, None)))
        assert agent.system.status().bytes.uploaded == len(BODY)
        agent.system.feed(FAULT)
        assert "restarted-within" in agent.codes()
        assert agent.system.status().bytes.uploaded == len(BODY)
        assert agent.system.usage().reported().bytes_up == len(BODY)


async def test_a_fault_of_ours_is_logged_with_what_had_happened_before_it(tmp_path: Path) -> None:
    """64 events at most, and none of a viewer's secrets."""
    async with started(tmp_path) as agent:
        await agent.watch()
        await agent.play("1.ts")
        agent.system.feed(events.LinkOpened(contact("ann"), "lan", (STREAM,), serves=True, rtt_ms=1.0))
        with capture_logs() as lines:
            agent.system.feed(events.Received("ann", Bye("this never reaches a node")))
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
