"""Ten desks watch a ring of reused names: what the origin sends, beside one copy. Figures lie in build/lab/ring-*.json.

The other properties of such rings are tests of `make test` (tests/field/test_reused_names.py), with three desks.
"""

import asyncio

import pytest

from tests.field.office import Office, desks
from tests.field.origin import body, ring
from tests.lab.results import record

pytestmark = [pytest.mark.lab, pytest.mark.asyncio, pytest.mark.timeout(300)]

DESKS, NAMES, TURNS, WINDOW = 10, 5, 4, 3
SIZE_BYTES = 500_000
OF_THE_BOUND = 0.99
"""The bound is one copy an office: 1 - 1/10 of all bytes come from colleagues."""


async def _play(office: Office, desk: int, manifest: str, path: str, turn: int) -> None:
    await asyncio.sleep(0.05 * desk)  # players are not in step
    await office.learn(desk, manifest)
    got = await office.get(desk, path)
    assert (got.status, got.body == body(path, turn, SIZE_BYTES)) == (200, True), (desk, path, turn)


@pytest.mark.parametrize("cache", ["no-cache", "max-age=2", None])
async def test_ten_desks_take_one_copy_of_each_turn(cache: str | None) -> None:
    folder = "/ring"
    async with desks(DESKS, settings={"cache_disk_mb": 64}) as office:
        origin, manifest = office.origin, f"{folder}/index.m3u8"
        origin.put(manifest, ring(0, 0, NAMES, folder, probes=folder))
        await office.meet(manifest)
        paths = [f"{folder}/seg{name}.ts" for name in range(NAMES)]
        for number in range(NAMES * TURNS):
            path, turn = paths[number % NAMES], number // NAMES + 1
            origin.put(path, body(path, turn, SIZE_BYTES), cache=cache, etag=True)
            origin.put(manifest, ring(max(0, number - WINDOW + 1), min(WINDOW, number + 1), NAMES, folder))
            await asyncio.gather(*(_play(office, desk, manifest, path, turn) for desk in range(DESKS)))
            await asyncio.sleep(0.5)
        bodies = sum(origin.bodies(path, turn) for path in paths for turn in range(1, TURNS + 1))
        confirmed = sum(origin.validations(path) for path in paths)
    played = DESKS * NAMES * TURNS
    offload, bound = 1 - bodies / played, 1 - 1 / DESKS
    name = (cache or "no-word").replace("=", "-")
    record(
        f"ring-{name}", {"played": played, "bodies": bodies, "confirmed": confirmed, "of_the_bound": offload / bound}
    )
    assert offload >= OF_THE_BOUND * bound, (bodies, played)
