"""Several real agents and an origin that is slow: by sockets what tests/core/test_node_slow.py has as timetables."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from coordinator.io.ca import Authority
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
