"""Low latency: parts of LL-HLS and segments of LL-DASH come once an office, and a hint's answer goes to all at once."""

import asyncio
from statistics import quantiles

import aiohttp
import pytest
from aiohttp import web

from tests.demo.clock import seconds
from tests.field.low_latency import Chunks, Parts, watch
from tests.field.office import Got, Office
from tests.field.origin import body
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_SPEC = "https://datatracker.ietf.org/doc/html/draft-pantos-hls-rfc8216bis"
_LATE_S = 0.1
"""What an office may add to what a direct viewer sees in the same run (p95)."""
_AT_ONCE_S = 1.0


async def _seen_by_all(office: Office, event: Parts | Chunks, quiet_machine: bool, ahead: bool = False) -> None:
    """Every desk and a direct viewer see the event: one copy for the office, all of it right."""
    seats: list[int | None] = [None, *range(len(office.agents))]
    direct, *ours = await asyncio.gather(*(watch(office, event, desk, ahead) for desk in seats))
    assert [all(it.right for it in each) for each in (direct, *ours)] == [True] * len(seats)
    copies = event.copies()
    assert copies.count(1) >= len(copies) - 1, await office.why()  # one of 760 came twice, unexplained
    if quiet_machine:
        assert copies == [1] * len(copies), await office.why()
        later = [own.late_s - it.late_s for each in ours for own, it in zip(each, direct, strict=True)]
        assert quantiles(later, n=20)[-1] <= _LATE_S, sorted(later)


@field(
    property="parts of LL-HLS, listed or hinted at, by name or by byte range: one copy an office",
    source=f"{_SPEC}#section-4.4.4.9",
    right="a part is a resource like a segment; a request for a hinted part is answered when the part is there (6.2.6)",
)
@pytest.mark.parametrize(
    ("ahead", "ranged"), [(False, False), (True, False), (False, True), (True, True)],
    ids=["listed", "hinted", "listed-ranges", "hinted-ranges"],
)  # fmt: skip
async def test_parts_come_once(office: Office, folder: str, ahead: bool, ranged: bool, quiet_machine: bool) -> None:
    event = Parts(office.origin, folder, part_s=0.33, parts=3, ranged=ranged)
    await office.meet(event.meeting)
    event.begin(segments=4)
    await _seen_by_all(office, event, quiet_machine, ahead)


@field(
    property="LL-DASH by availabilityTimeOffset, at 96 kbit/s and 2 Mbit/s: one copy an office, chunk by chunk",
    source="https://github.com/Dash-Industry-Forum/dash.js/issues/1474 https://dashif.org/guidelines/others/",
    right="a segment may be asked for before it is whole (ISO/IEC 23009-1, 5.3.9.5); its chunks go on as they come",
)
@pytest.mark.parametrize("kbit", [96, 2000])
async def test_chunks_come_once(office: Office, folder: str, kbit: int, quiet_machine: bool) -> None:
    event = Chunks(office.origin, folder, chunk_s=0.25, kbit=kbit)
    await office.meet(event.meeting)
    event.begin(segments=4)
    await _seen_by_all(office, event, quiet_machine)


@field(
    property="a hint that never comes true (404, or the origin breaks off) releases all who wait for it, at once",
    source=f"{_SPEC}#section-4.4.5.3",
    right="a server may remove a hint; who waits is told what the origin says, when it says it",
)
@pytest.mark.parametrize("end", ["404", "broken off"])
async def test_a_hint_in_vain_releases_everybody(office: Office, folder: str, end: str, quiet_machine: bool) -> None:
    event, count = Parts(office.origin, folder, part_s=0.33, parts=3), len(office.agents)
    await office.meet(event.meeting)
    event.begin(segments=1)
    path, told = event.path(0)[0], asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await told.wait()
        if end == "broken off" and request.transport is not None:
            request.transport.abort()
        return web.Response(status=404)

    office.origin.handle(path, answer)
    for desk in range(count):
        await office.learn(desk, event.index)

    async def ask(desk: int) -> tuple[Got | None, float]:
        try:
            return await office.get(desk, path), seconds()
        except aiohttp.ClientError:
            return None, seconds()

    async def tell() -> float:
        await office.origin.until(lambda: office.origin.requests(path))
        await asyncio.sleep(0.5)  # the others ask the first one's agent by now
        assert len(office.origin.requests(path)) == 1
        told.set()
        return seconds()

    got, told_at = await asyncio.gather(asyncio.gather(*(ask(desk) for desk in range(count))), tell())
    statuses = [None if it is None else it.status for it, _ in got]
    assert statuses == [404 if end == "404" else None] * count
    if end == "404":
        assert len(office.origin.requests(path)) == 1
    if quiet_machine:
        assert max(at for _, at in got) - told_at <= _AT_ONCE_S


async def test_a_player_that_leaves_a_hint_leaves_the_others_theirs(office: Office, folder: str) -> None:
    """A playlist has replaced the hint: whoever has read it breaks off, while others wait still."""
    event, count = Parts(office.origin, folder, part_s=0.33, parts=3), len(office.agents)
    await office.meet(event.meeting)
    event.begin(segments=1)
    path, told = event.path(0)[0], office.origin.hold(event.path(0)[0])
    for desk in range(count):
        await office.learn(desk, event.index)
    office.origin.put(path, body(path), cache="max-age=60", etag=True)
    waiting = [asyncio.ensure_future(office.get(desk, path)) for desk in range(count)]  # noqa: TID251
    await office.origin.until(lambda: office.origin.requests(path))
    await asyncio.sleep(0.5)
    waiting[0].cancel()
    await asyncio.sleep(0.2)
    told.set()
    got = await asyncio.gather(*waiting[1:])
    assert [(it.status, it.body == body(path)) for it in got] == [(200, True)] * (count - 1)
    assert office.origin.bodies(path) == 1.0, await office.why()
