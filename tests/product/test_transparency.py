"""All other traffic goes as if the proxy were not there: on streaming hosts, and through tunnels to all others."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import psutil
import pytest
import pytest_asyncio
from aiohttp import ClientSession, WSMsgType, web

from tests.demo import pki
from tests.demo.origin import pattern
from tests.demo.parts import Plan
from tests.demo.stage import Stage
from tests.product.outside import WITHIN_SECONDS, leaf, through
from tests.product.strange import HOST, Strange

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

ELSEWHERE = "elsewhere.test"
"""A host that no setting names as a streaming domain."""
BYPASSED = f"private.{pki.DOMAIN}"
"""One below a streaming domain that is to be left alone."""
BIG_BYTES = 100_000_000
GROWTH_BYTES_MAX = 25_000_000
HERE = dict.fromkeys((pki.ORIGIN, HOST, ELSEWHERE, BYPASSED), "127.0.0.1")


@dataclass
class Office:
    """One agent, its user's client, and one beside it that passes no proxy."""

    stage: Stage
    strange: Strange
    client: ClientSession
    direct: ClientSession

    def urls(self, path: str) -> tuple[str, str]:
        """The same place on the demo's origin, intercepted and through a tunnel."""
        port = self.stage.origin_port
        return f"https://{pki.ORIGIN}:{port}{path}", f"https://{ELSEWHERE}:{port}{path}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office() -> AsyncIterator[Office]:
    plan = Plan(viewers=1, mbps=0, settings={"origin_hosts": HERE, "bypass_domains": [BYPASSED]})
    async with Stage(plan) as stage:
        files = pki.make(stage.directory / "pki")
        agent = stage.agents[0]
        async with (
            Strange.open(files) as strange,
            through(agent, agent.ca, files.ca, names=False) as client,
            through(None, files.ca, names=False) as direct,
        ):
            yield Office(stage, strange, client, direct)


async def test_only_streaming_hosts_show_another_certificate(office: Office) -> None:
    port, agent = office.stage.origin_port, office.stage.agents[0]
    own = await leaf(pki.ORIGIN, port, None)
    assert await leaf(ELSEWHERE, port, agent) == own
    assert await leaf(BYPASSED, port, agent) == own
    assert await leaf(pki.ORIGIN, port, agent) != own
    # One that trusts the agent's root alone, and compares names.
    async with through(agent) as strict, strict.get(office.urls("/head")[0]) as answer:
        assert answer.status == 200


class _Weight:
    """How much heavier the agent becomes, at its heaviest."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._now()
        self.growth = 0

    def _now(self) -> int:
        family = [self._process, *self._process.children(recursive=True)]
        return sum(int(process.memory_info().rss) for process in family)

    async def watch(self) -> None:
        while True:
            self.growth = max(self.growth, self._now() - self._before)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("tunnelled", [False, True], ids=["intercepted", "tunnelled"])
@pytest.mark.parametrize("way", ["download", "upload"])
async def test_100_mb_stream_through_a_small_agent(
    office: Office, way: str, tunnelled: bool, record_property: Callable[[str, object], None]
) -> None:
    child = office.stage.agents[0].child
    assert child is not None
    data = await asyncio.to_thread(pattern, BIG_BYTES)
    wanted = hashlib.sha256(data).hexdigest()
    # the connection's own cost, and that of the first request of its kind, is not that of the 100 MB
    async with office.client.get(office.urls("/head")[tunnelled]) as answer:
        await answer.read()
    if way == "upload":
        async with office.client.put(office.urls("/upload")[tunnelled], data=_slices(data[:9])) as answer:
            await answer.read()
    async with asyncio.TaskGroup() as group:
        weight = _Weight(child.pid)
        watching = group.create_task(weight.watch())
        if way == "download":
            digest, size = hashlib.sha256(), 0
            async with office.client.get(office.urls(f"/files/big.bin?bytes={BIG_BYTES}")[tunnelled]) as answer:
                async for chunk in answer.content.iter_any():
                    digest.update(chunk)
                    size += len(chunk)
            assert (size, digest.hexdigest()) == (BIG_BYTES, wanted)
        else:
            async with office.client.put(office.urls("/upload")[tunnelled], data=_slices(data)) as answer:
                assert json.loads(await answer.read()) == {"method": "PUT", "bytes": BIG_BYTES, "sha256": wanted}
        watching.cancel()
    record_property("growth_mb", round(weight.growth / 1e6, 1))
    assert weight.growth <= GROWTH_BYTES_MAX


async def _slices(data: bytes) -> AsyncIterator[bytes]:
    """A body of unknown length: sent in chunks."""
    for at in range(0, len(data), 1 << 18):
        yield data[at : at + (1 << 18)]


@pytest.mark.parametrize("tunnelled", [False, True], ids=["intercepted", "tunnelled"])
async def test_a_websocket_echoes(office: Office, tunnelled: bool) -> None:
    url = office.urls("/ws")[tunnelled].replace("https", "wss", 1)
    async with office.client.ws_connect(url, max_msg_size=1 << 22) as socket:
        for size in (1, 70_000, 1_000_000):
            await socket.send_bytes(pattern(size))
            answer = await socket.receive(timeout=WITHIN_SECONDS)
            assert (answer.type, answer.data) == (WSMsgType.BINARY, pattern(size))
        await socket.send_str("grüezi")
        assert await socket.receive_str(timeout=WITHIN_SECONDS) == "grüezi"


CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "HEAD": ("HEAD", "/head", {}),
    "GET": ("GET", "/head", {}),
    "404": ("GET", "/nothing/there", {}),
    "405": ("DELETE", "/head", {}),
    "redirect": ("GET", "/redirect", {}),
    "range": ("GET", "/files/big.bin?bytes=100000", {"Range": "bytes=1000-1999"}),
    "suffix": ("GET", "/files/big.bin?bytes=100000", {"Range": "bytes=-10"}),
    "no such range": ("GET", "/files/big.bin?bytes=100000", {"Range": "bytes=200000-"}),
    "manifest": ("GET", "/live/dash/manifest.mpd", {}),
    "key": ("GET", "/live/aes/key/4.bin", {}),
    "HEAD of a manifest": ("HEAD", "/live/hls/master.m3u8", {}),
}
_OF_THE_CONNECTION = {"date", "connection", "keep-alive"}


@pytest.mark.parametrize("tunnelled", [False, True], ids=["intercepted", "tunnelled"])
@pytest.mark.parametrize("case", CASES)
async def test_answers_are_those_without_the_proxy(office: Office, case: str, tunnelled: bool) -> None:
    method, path, headers = CASES[case]
    seen = []
    for client in (office.direct, office.client):
        url = office.urls(path)[tunnelled and client is office.client]
        async with client.request(method, url, headers=headers, allow_redirects=False) as answer:
            fields = sorted((n.lower(), v) for n, v in answer.headers.items() if n.lower() not in _OF_THE_CONNECTION)
            seen.append((answer.status, answer.reason, fields, await answer.read()))
    assert seen[0] == seen[1]


async def test_a_redirect_is_followed_by_the_client_itself(office: Office) -> None:
    async with office.client.get(office.urls("/redirect")[0]) as answer:
        assert await answer.read() == pattern(1000)
        assert [step.status for step in answer.history] == [302]


async def test_a_chunked_post_arrives_whole(office: Office) -> None:
    data = pattern(3_000_000)
    async with office.client.post(office.urls("/upload")[0], data=_slices(data)) as answer:
        assert json.loads(await answer.read()) == {
            "method": "POST", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
        }  # fmt: skip


async def test_gzip_stays_gzip(office: Office) -> None:
    packed = gzip.compress(json.dumps({"grüezi": list(range(1000))}).encode(), mtime=0)
    office.strange.says("/data.json", packed, "application/json", Content_Encoding="gzip", ETag='"g"')
    async with office.client.get(f"{office.strange.url}/data.json", headers={"Accept-Encoding": "gzip"}) as answer:
        assert await answer.read() == packed
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Length"] == str(len(packed))
    assert office.strange.asked[-1].headers["accept-encoding"] == "gzip"


async def test_the_origin_sees_the_request_as_it_was_sent(office: Office) -> None:
    """No Via, no Forwarded, nothing taken away."""
    office.strange.says("/echo", b"x", "text/plain")
    sent = {"X-Odd": "a,b ; c", "Cookie": "a=1; b=2", "Authorization": "Bearer t", "Accept": "*/*", "User-Agent": "me"}
    async with office.client.get(f"{office.strange.url}/echo?a=%2F&b=%zz&&c", headers=sent) as answer:
        assert answer.status == 200
    got = office.strange.asked[-1].headers
    assert {name: got.get(name.lower()) for name in sent} == sent
    assert set(got) - {name.lower() for name in sent} <= {"host", "accept-encoding"}


@dataclass
class Segment:
    """One segment that the agent has kept."""

    url: str
    path: str
    etag: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def segment(office: Office) -> Segment:
    base = f"{office.stage.origin.url}/live/hls"
    async with office.client.get(f"{base}/720/index.m3u8") as answer:
        path = f"/live/hls/720/{(await answer.text()).split()[-1]}"
    url = f"{office.stage.origin.url}{path}"
    for _ in range(2):
        async with office.client.get(url) as answer:
            assert answer.status == 200
            await answer.read()
            etag = answer.headers["ETag"]
    counts = await office.stage.origin.counts()
    assert counts["paths"][path]["requests"] == 1, "the segment is not kept, so the rest shows nothing"
    return Segment(url, path, etag)


async def _requests(office: Office, path: str) -> int:
    return (await office.stage.origin.counts())["paths"][path]["requests"]


@pytest.mark.parametrize("field", ["Cache-Control: no-cache", "Cache-Control: no-store", "Pragma: no-cache"])
async def test_a_forced_reload_reaches_the_origin(office: Office, segment: Segment, field: str) -> None:
    name, value = field.split(": ")
    before = await _requests(office, segment.path)
    async with office.client.get(segment.url, headers={name: value}) as answer:
        assert answer.status == 200
        await answer.read()
    assert await _requests(office, segment.path) == before + 1


async def test_what_the_browser_has_already_is_304(office: Office, segment: Segment) -> None:
    before = await _requests(office, segment.path)
    async with office.client.get(segment.url, headers={"If-None-Match": segment.etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
        assert answer.headers["ETag"] == segment.etag
    assert await _requests(office, segment.path) == before


async def test_a_part_of_a_kept_segment_is_exact(office: Office, segment: Segment) -> None:
    async with office.direct.get(segment.url.replace(pki.ORIGIN, ELSEWHERE)) as answer:
        whole = await answer.read()
    before = await _requests(office, segment.path)
    size = len(whole)
    for header, start, end in (("bytes=100-299", 100, 300), ("bytes=-50", size - 50, size), ("bytes=5-", 5, size)):
        async with office.client.get(segment.url, headers={"Range": header}) as answer:
            assert (answer.status, await answer.read()) == (206, whole[start:end])
            assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    async with office.client.get(segment.url, headers={"Range": f"bytes={len(whole)}-"}) as answer:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"
    assert await _requests(office, segment.path) == before


async def test_a_browser_gets_the_cross_origin_fields_it_needs(office: Office, segment: Segment) -> None:
    async with office.client.get(segment.url, headers={"Origin": "https://player.example"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", "https://player.example"}
        assert "Age" in answer.headers


async def test_an_upgrade_of_nothing_is_the_origins_business(office: Office) -> None:
    async def refuses(request: web.Request) -> web.Response:
        return web.Response(status=426, headers={"Upgrade": "other/1"}, text=request.headers.get("Upgrade", ""))

    office.strange.handlers["/upgrade"] = refuses
    fields = {"Upgrade": "other/1", "Connection": "Upgrade"}
    async with office.client.get(f"{office.strange.url}/upgrade", headers=fields) as answer:
        assert answer.status == 426
        assert await answer.text() == "other/1"
