"""The origin that tests write: it validates, cuts and delays as RFC 9110 says, and its books are right."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.demo import pki
from tests.field.origin import HOST, Origin, body, playlist, ring
from tests.product.outside import through


@pytest_asyncio.fixture
async def origin(tmp_path: Path) -> AsyncIterator[Origin]:
    async with Origin.open(pki.make(tmp_path)) as origin:
        yield origin


@pytest_asyncio.fixture
async def client(origin: Origin, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with through(None, tmp_path / "origin-ca.pem", base_url=origin.https) as client:
        yield client


async def _get(client: aiohttp.ClientSession, path: str, **fields: str) -> tuple[int, bytes, dict[str, str]]:
    async with client.get(path, headers={name.replace("_", "-"): value for name, value in fields.items()}) as answer:
        return answer.status, await answer.read(), {name.lower(): value for name, value in answer.headers.items()}


@pytest.mark.asyncio
async def test_bodies_are_counted_by_generation_and_304_beside_them(
    origin: Origin, client: aiohttp.ClientSession
) -> None:
    origin.put("/a.ts", body("a"), cache="no-cache", etag=True)
    status, got, fields = await _get(client, "/a.ts")
    assert (status, got, fields["cache-control"], fields["content-type"]) == (200, body("a"), "no-cache", "video/mp2t")
    assert (await _get(client, "/a.ts", If_None_Match=fields["etag"]))[:2] == (304, b"")
    assert origin.put("/a.ts", body("a"), etag=True).generation == 1
    assert origin.put("/a.ts", body("a", 2), etag=True).generation == 2
    assert (await _get(client, "/a.ts", If_None_Match=fields["etag"]))[:2] == (200, body("a", 2))
    assert [origin.bodies("/a.ts", generation) for generation in (1, 2, None)] == [1.0, 1.0, 2.0]
    assert [origin.validations("/a.ts", generation) for generation in (1, 2)] == [1, 0]
    assert {asked.connection for asked in origin.requests("/a.ts")} == {1}


@pytest.mark.asyncio
async def test_last_modified_alone_validates(origin: Origin, client: aiohttp.ClientSession) -> None:
    origin.put("/a.ts", body("a"), last_modified=1_700_000_000.0)
    fields = (await _get(client, "/a.ts"))[2]
    assert fields["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert "etag" not in fields
    assert (await _get(client, "/a.ts", If_Modified_Since=fields["last-modified"]))[0] == 304
    assert (await _get(client, "/a.ts", If_Modified_Since="Tue, 14 Nov 2023 22:13:19 GMT"))[0] == 200
    origin.put("/a.ts", body("a"))
    assert (await _get(client, "/a.ts", If_Modified_Since=fields["last-modified"]))[0] == 200


@pytest.mark.asyncio
async def test_ranges(origin: Origin, client: aiohttp.ClientSession) -> None:
    whole = body("a", size=1000)
    origin.put("/a.ts", whole, etag=True)
    status, got, fields = await _get(client, "/a.ts", Range="bytes=0-")
    assert (status, got, fields["content-range"]) == (206, whole, "bytes 0-999/1000")
    assert (await _get(client, "/a.ts", Range="bytes=-10"))[1] == whole[-10:]
    assert (await _get(client, "/a.ts", Range="bytes=5-9"))[1] == whole[5:10]
    assert (await _get(client, "/a.ts", Range="bytes=1000-"))[0] == 416
    assert (await _get(client, "/a.ts", Range="bytes=5-9", If_Range='"other"'))[:2] == (200, whole)
    assert (await _get(client, "/a.ts", Range="bytes=5-9,20-"))[0] == 200


@pytest.mark.asyncio
async def test_a_held_answer_waits_and_a_paced_one_grows(origin: Origin, client: aiohttp.ClientSession) -> None:
    whole = body("a", size=1000)
    origin.put("/a.ts", whole, length=False, pace=[(0.0, 10), (0.2, 90)])
    gate = origin.hold("/a.ts")
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(_get(client, "/a.ts"))
        await origin.until(lambda: origin.requests("/a.ts"))
        assert not asking.done()
        gate.set()
    status, got, fields = asking.result()
    assert (status, got) == (200, whole)
    assert fields["transfer-encoding"] == "chunked"
    async with client.get("/a.ts") as answer:
        assert await answer.content.readany() == whole[:10]


@pytest.mark.asyncio
async def test_fields_may_depend_on_the_request(origin: Origin, client: aiohttp.ClientSession) -> None:
    origin.put("/a.ts", b"x", fields=lambda asked: {"Access-Control-Allow-Origin": asked.headers.get("Origin", "none")})
    assert (await _get(client, "/a.ts", Origin="https://a.example"))[2]["access-control-allow-origin"] == (
        "https://a.example"
    )


@pytest.mark.asyncio
async def test_plain_http_is_the_same_origin(origin: Origin, tmp_path: Path) -> None:
    origin.put("/a.ts", b"x")
    async with through(None, tmp_path / "origin-ca.pem") as client, client.get(f"{origin.http}/a.ts") as answer:
        assert await answer.read() == b"x"
    assert f"//{HOST}:" in origin.http


def test_a_ring_names_its_segments_again() -> None:
    lines = ring(8, 3, 10, "/r").decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["/r/seg8.ts", "/r/seg9.ts", "/r/seg0.ts"]
    assert "#EXT-X-MEDIA-SEQUENCE:8" in lines
    assert "#EXT-X-ENDLIST" not in lines
    assert playlist("a.ts", probes="/r").count(b"/r/probe-") == 12
