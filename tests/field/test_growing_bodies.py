"""Bodies that are made while they are sent (LL-DASH, chunked CMAF): no length, no ETag, pauses between small chunks."""

import asyncio
from statistics import quantiles

import pytest

from tests.field.office import Got, Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_SOURCES = (
    "https://github.com/Dash-Industry-Forum/dash.js/issues/1474 "
    "https://github.com/Dash-Industry-Forum/dash.js/issues/3259 "
    "https://github.com/Dash-Industry-Forum/dash.js/issues/3334 https://github.com/google/ExoPlayer/issues/10027"
)
CHUNKS, EVERY_S = 8, 0.5
_LATE_S = 0.15


def _behind(got: Got, size: int) -> list[float]:
    """How long after the origin had sent it each chunk had come whole, counted from the first chunk's coming."""
    came = [next(at for at, total in got.arrivals if total >= size * (number + 1)) for number in range(CHUNKS)]
    return [at - came[0] - number * EVERY_S for number, at in enumerate(came)]


@field(
    property="a body that grows by small chunks with pauses: one copy an office, whole at every desk",
    source=_SOURCES,
    right="what has come goes on at once however small; silence is judged by the stream's own cadence",
)
@pytest.mark.parametrize("kbit", [96, 2000])
async def test_a_growing_body_is_sent_once(office: Office, folder: str, kbit: int, quiet_machine: bool) -> None:
    path, manifest, count = f"{folder}/1.m4s", f"{folder}/index.m3u8", len(office.agents)
    size = round(kbit * 1000 / 8 * EVERY_S)
    whole = body(path, size=CHUNKS * size)
    pace = [(EVERY_S * number, size) for number in range(CHUNKS)]
    office.origin.put(path, whole, length=False, ranges=False, pace=pace)
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)
    got = await asyncio.gather(*(office.get(desk, path) for desk in range(count)))
    assert [(it.status, it.body == whole) for it in got] == [(200, True)] * count
    assert office.origin.bodies(path) == 1.0, await office.why()
    if quiet_machine:
        behind = sorted(late for it in got for late in _behind(it, size))
        assert quantiles(behind, n=20)[-1] <= _LATE_S, behind


@field(
    property="a viewer that comes in the middle of a growing body gets all of it, from the copy that is arriving",
    source=_SOURCES,
    right="a body that is still arriving is the newest there is: who asks meanwhile is given it",
)
async def test_a_latecomer_joins_a_growing_body(office: Office, folder: str) -> None:
    path, manifest, size = f"{folder}/1.m4s", f"{folder}/index.m3u8", 60_000
    whole = body(path, size=CHUNKS * size)
    office.origin.put(
        path, whole, length=False, ranges=False, pace=[(EVERY_S * number, size) for number in range(CHUNKS)]
    )
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)

    async def come(desk: int) -> Got:
        sent = size * 2 * desk
        await office.origin.until(lambda: desk == 0 or ((it := office.origin.requests(path)) and it[0].sent >= sent))
        return await office.get(desk, path)

    got = await asyncio.gather(*(come(desk) for desk in range(len(office.agents))))
    assert [it.body == whole for it in got] == [True] * len(got)
    assert office.origin.bodies(path) == 1.0, await office.why()
