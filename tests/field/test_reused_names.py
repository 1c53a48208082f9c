"""Live servers that reuse their segments' names: every byte is the origin's of that moment, one body an office."""

import asyncio

import pytest

from tests.field.office import Office
from tests.field.origin import body, playlist, ring
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_RING = (
    "https://github.com/shaka-project/shaka-packager/issues/766 https://github.com/arut/nginx-rtmp-module/issues/738 "
    "https://github.com/ant-media/Ant-Media-Server/issues/362"
)
_VALIDATE = (
    "RFC 9111 sections 4 and 4.3: a copy that is not fresh is validated at the origin by whoever wants it; 304 lets "
    "the body come from the office, 200 is a new generation"
)
NAMES, WINDOW, TURNS = 4, 3, 3
"""So many names in the ring, so many of them listed at once, and each name is used so often."""


async def _watch_a_ring(
    office: Office, folder: str, pause_s: float, cache: str | None, etag: bool, last_modified: bool
) -> list[str]:
    """Every desk watches a ring for all its turns; between two segments the encoder takes `pause_s`. Its paths."""
    origin, manifest = office.origin, f"{folder}/index.m3u8"
    origin.put(manifest, ring(0, 0, NAMES, folder, probes=folder))
    await office.meet(manifest)
    paths = [f"{folder}/seg{name}.ts" for name in range(NAMES)]
    for number in range(NAMES * TURNS):
        path, turn = paths[number % NAMES], number // NAMES + 1
        await asyncio.sleep(pause_s)
        origin.put(path, body(path, turn), cache=cache, etag=etag, last_modified=last_modified)
        origin.put(manifest, ring(max(0, number - WINDOW + 1), min(WINDOW, number + 1), NAMES, folder))
        for desk in range(len(office.agents)):
            await office.learn(desk, manifest)
            got = await office.get(desk, path)
            assert got.status == 200, (number, desk, got.status)
            assert got.body == body(path, turn), f"desk {desk} got another body of {path} in turn {turn}"
    return paths


def _one_body_each(office: Office, paths: list[str]) -> None:
    copies = {(path, turn): office.origin.bodies(path, turn) for path in paths for turn in range(1, TURNS + 1)}
    assert set(copies.values()) == {1.0}, copies


@field(
    property="a ring of names with `no-cache`: the bytes are of this turn, one body an office, 304 for the others",
    source=_RING,
    right=_VALIDATE,
)
async def test_a_ring_with_no_cache_costs_one_body_and_a_304_for_each_other_desk(office: Office, folder: str) -> None:
    paths = await _watch_a_ring(office, folder, 0.0, "no-cache", etag=True, last_modified=False)
    _one_body_each(office, paths)
    others = len(office.agents) - 1
    assert [office.origin.validations(path) for path in paths] == [others * TURNS] * NAMES


@field(
    property="a ring of names with `max-age=2`: after two seconds nobody gets the old turn, one body an office",
    source=f"{_RING} https://github.com/arut/nginx-rtmp-module/issues/1207",
    right=_VALIDATE,
)
async def test_a_ring_with_max_age_2_is_never_stale(office: Office, folder: str) -> None:
    paths = await _watch_a_ring(office, folder, 0.6, "max-age=2", etag=True, last_modified=False)
    _one_body_each(office, paths)


@field(
    property="a ring of names with Last-Modified and no Cache-Control: the bytes are of this turn, one body an office",
    source=_RING,
    right="RFC 9111 section 4.2.2: a tenth of Date less Last-Modified, here nothing; validated by If-Modified-Since",
)
async def test_a_ring_with_last_modified_only(office: Office, folder: str) -> None:
    """Last-Modified counts seconds, so a name comes again after more than one."""
    paths = await _watch_a_ring(office, folder, 0.4, None, etag=False, last_modified=True)
    _one_body_each(office, paths)


@field(
    property="a ring of names without a word of caching: every byte is the origin's of this moment",
    source=_RING,
    right="RFC 9111 section 4.2.2: nothing says how long it is fresh, and without a validator it is asked for again",
)
async def test_a_ring_without_a_word_is_right(office: Office, folder: str) -> None:
    await _watch_a_ring(office, folder, 0.0, None, etag=False, last_modified=False)


@field(
    property="a segment without a word of caching is still shared while it arrives",
    source="https://docs.varnish-software.com/book/varnish-configuration/#grace-and-request-coalescing",
    right="a body that is still arriving was asked of the origin while the others asked: one fetch is for all of them",
)
async def test_without_a_word_those_who_ask_at_once_share_one_body(office: Office, folder: str) -> None:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), pace=[(0.1 * part, 5_000) for part in range(15)])
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)
    got = await asyncio.gather(*(office.get(desk, path) for desk in range(len(office.agents))))
    assert [it.body == body(path) for it in got] == [True] * len(office.agents)
    assert office.origin.bodies(path) == 1.0, await office.why()


@field(
    property="an encoder that restarts: the same name under another media sequence number is another segment",
    source="https://github.com/arut/nginx-rtmp-module/issues/1207",
    right="RFC 8216 section 6.2.1: a segment's number never changes, so another number is another segment",
)
async def test_after_an_encoder_restarts_its_names_are_new_segments(office: Office, folder: str) -> None:
    origin, manifest, path = office.origin, f"{folder}/index.m3u8", f"{folder}/seg0.ts"
    for turn, first in ((1, 0), (2, 40)):
        origin.put(path, body(path, turn), cache="max-age=3600", etag=True)
        probes = folder if turn == 1 else ""
        origin.put(manifest, playlist(path, sequence=first, end=False, probes=probes))
        if turn == 1:
            await office.meet(manifest)
        for desk in range(len(office.agents)):
            await office.learn(desk, manifest)
            assert (await office.get(desk, path)).body == body(path, turn), (desk, turn)
        assert origin.bodies(path, turn) == 1.0


@field(
    property="what is on disk after a restart is validated before it is used",
    source=_RING,
    right=_VALIDATE,
)
async def test_a_copy_on_disk_is_validated_after_a_restart(office: Office, folder: str) -> None:
    origin, manifest = office.origin, f"{folder}/index.m3u8"
    paths = [f"{folder}/seg{number}.ts" for number in range(2)]
    for path in paths:
        origin.put(path, body(path), cache="no-cache", etag=True)
    origin.put(manifest, playlist(*paths, probes=folder))
    await office.meet(manifest)
    for path in paths:
        assert (await office.get(1, path)).body == body(path)
    await office.restart(1)
    await office.learn(1, manifest)
    assert (await office.get(1, paths[0])).body == body(paths[0])
    origin.put(paths[1], body(paths[1], 2), cache="no-cache", etag=True)
    assert (await office.get(1, paths[1])).body == body(paths[1], 2)
    assert origin.bodies(paths[0]) == 1.0
    assert origin.validations(paths[0]) == 1
