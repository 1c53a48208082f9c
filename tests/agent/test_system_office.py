"""Real agents and an origin that is slow, or makes a segment while it sends it, by sockets.

The timetables are in tests/core/test_node_slow.py and test_node_growing.py; tests/bench/growing.py measures.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from coordinator.io.ca import Authority
from ecdn_proxy.sansio.tasks import Tasks
from tests.agent.offices import real_office
from tests.agent.origins import BODY, Origin

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


def thinking(first_byte_s: float) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """An origin that begins to answer after so long."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(first_byte_s)
        return Origin.segment(request)

    return answer


@pytest.mark.parametrize("count", [1, 2])
async def test_an_origin_that_thinks_is_asked_once(tenant: Authority, count: int, *, quiet_machine: bool) -> None:
    """Longer than a first byte was ever waited for before another machine asked too."""
    first_byte_s = 13.0 if quiet_machine else 3.0
    async with real_office(tenant, count) as office:
        office.origin.answers["/slow.ts"] = thinking(first_byte_s)
        got = await office.all_watch("/slow.ts")
        assert [it.body == BODY for it in got] == [True] * count, [it.fault for it in got]
        assert office.origin.paths() == ["/slow.ts"]
        if quiet_machine:
            assert max(it.took_s for it in got) <= first_byte_s + 0.3


async def test_a_viewer_that_asks_while_another_waits_waits_for_the_same_answer(tenant: Authority) -> None:
    async with real_office(tenant, 2) as office:
        office.origin.answers["/slow.ts"] = thinking(3.0)
        got = await office.all_watch("/slow.ts", apart_s=2.0)
        assert [it.body == BODY for it in got] == [True, True], [it.fault for it in got]
        assert office.origin.paths() == ["/slow.ts"]


@pytest.mark.parametrize(("chunk_bytes", "chunks"), [(6_000, 5), (125_000, 3)], ids=["96 kbit/s", "2 Mbit/s"])
async def test_a_segment_that_is_made_while_it_is_sent_comes_once_and_chunk_by_chunk(
    tenant: Authority, chunk_bytes: int, chunks: int
) -> None:
    body = (BODY * 8)[: chunk_bytes * chunks]
    async with real_office(tenant, 3) as office:
        office.origin.answers["/1.m4s"] = Origin.growing(body, chunk_bytes, 0.5)
        got = await office.all_watch("/1.m4s")
        assert [it.body == body for it in got] == [True] * 3, [it.fault for it in got]
        assert office.origin.paths() == ["/1.m4s"]
        for it in got:
            last_but_one = it.at(chunk_bytes * (chunks - 1))
            assert last_but_one < it.at(len(body)), "no chunk waits for the next"


async def test_a_fetcher_that_ends_in_mid_body_is_replaced_without_a_cut(tenant: Authority) -> None:
    """Nothing but equal bytes says that the second fetch brings the same segment."""
    body = BODY[:60_000]
    async with real_office(tenant, 3) as office:
        office.origin.answers["/1.m4s"] = Origin.growing(body, 6_000, 0.3)
        tasks = Tasks(lambda _name, _error: None)
        watching = [tasks.start(agent.watch("/1.m4s"), agent.device) for agent in office.agents]
        await asyncio.sleep(1.0)
        (first,) = office.origin.asked
        at = next(at for at, agent in enumerate(office.agents) if agent.device in first.headers["cookie"])
        await office.agents[at].close()
        watching.pop(at).cancel()
        got = await asyncio.gather(*watching)
        assert [it.body == body for it in got] == [True] * 2, [it.fault for it in got]
        assert len(office.origin.asked) == 2
