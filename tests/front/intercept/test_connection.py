"""The lean path by real sockets: what it answers itself, what it leaves to mitmproxy, and how it ends things."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from aiohttp import web

from ecdn_proxy.agent.api import FromMemory, SharedHead
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.front.intercept.connection import AHEAD_BYTES_MAX, RELAYED_BODY_MAX
from tests.front.rig import BIG, STREAM, Rig, ToldResponse, head, rig

BODY = bytes(range(256)) * 400


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


class Line:
    """One connection through the proxy, TLS inside."""

    def __init__(self, front: Rig, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.host = f"{STREAM}:{front.port}"
        self.reader, self.writer = reader, writer

    def ask(self, path: str, method: str = "GET", fields: str = "", body: bytes = b"") -> None:
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n".encode() + body)

    def read_on(self, wanted: bool) -> None:
        """Take what comes, or nothing of it."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        (transport.resume_reading if wanted else transport.pause_reading)()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body by Content-Length."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            (int(line.partition(":")[2]) for line in text.splitlines() if line.lower().startswith("content-length:")), 0
        )
        return int(text.split()[1]), await self.reader.readexactly(length)


@asynccontextmanager
async def line(front: Rig, sni: str = STREAM, offers: tuple[str, ...] = ("h2", "http/1.1")) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(*front.proxy.address)
    writer.write(f"CONNECT {STREAM}:{front.port} HTTP/1.1\r\nHost: {STREAM}:{front.port}\r\n\r\n".encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    context = front.trust(front.authority.ca_file)
    if offers:
        context.set_alpn_protocols(offers)
    try:
        await writer.start_tls(context, server_hostname=sni)
        yield Line(front, reader, writer)
    finally:
        writer.close()


def told(*chunks: bytes | BaseException | asyncio.Event, total: int | None = len(BODY)) -> ToldResponse:
    return ToldResponse(SharedHead(head(total), "lan", "a neighbour has it"), chunks)


async def without_gateway(front: Rig) -> None:
    """From now on only the lean path can answer a segment."""
    await front.gateway.close()
    front.gateway.ticket_for = None  # type: ignore[method-assign, assignment]


@pytest.mark.asyncio
async def test_a_segment_needs_no_gateway(front: Rig) -> None:
    await without_gateway(front)
    front.agent.shares("/1.m4s", told(BODY[:7], BODY[7:]))
    front.agent.shares("/2.m4s", told(BODY, total=None))
    stored = StoredSegment("k" * 64, "s", head(len(BODY)), BODY, (), 0.0)
    front.agent.routes["/3.m4s"] = FromMemory(stored, "in memory")
    for path in ("/1.m4s", "/2.m4s", "/3.m4s"):  # no ticket is made either
        async with front.session.get(front.url(path)) as answer:
            assert (answer.status, await answer.read()) == (200, BODY)
    assert front.origin.seen == []


@pytest.mark.asyncio
async def test_one_connection_carries_segments_and_all_else_in_their_order(front: Rig) -> None:
    """Asked all at once; the lean path is back after each request that went through mitmproxy."""
    await without_gateway(front)
    front.agent.shares("/1.m4s", told(BODY))
    front.agent.shares("/2.m4s", told(BODY[:300], BODY[300:]))
    small = b"x" * 1000
    async with line(front) as viewer:
        viewer.ask("/1.m4s")
        viewer.ask("/hello")
        viewer.ask("/upload", "POST", f"Content-Length: {len(small)}\r\n", small)
        viewer.ask("/2.m4s")
        viewer.ask("/nowhere", "HEAD")
        viewer.ask("/hello")
        got = [await viewer.answer() for _ in range(4)]
        assert got == [(200, BODY), (200, b"hello from the origin"), (200, b"1000"), (200, BODY)]
        assert b"404" in await viewer.reader.readuntil(b"\r\n\r\n")
        assert await viewer.answer() == (200, b"hello from the origin")
    assert len({request.transport for request in front.origin.seen}) == 1


@pytest.mark.asyncio
async def test_a_long_body_takes_its_connection_to_mitmproxy(front: Rig) -> None:
    long = b"y" * (RELAYED_BODY_MAX + 1)
    async with line(front) as viewer:
        viewer.ask("/hello")
        viewer.ask("/upload", "POST", f"Content-Length: {len(long)}\r\n", long)
        viewer.ask("/hello")
        assert await viewer.answer() == (200, b"hello from the origin")
        assert await viewer.answer() == (200, str(len(long)).encode())
        assert await viewer.answer() == (200, b"hello from the origin")
        front.agent.shares("/1.m4s", told(BODY))
        viewer.ask("/1.m4s")
        assert await viewer.answer() == (200, BODY)


@pytest.mark.asyncio
async def test_chunks_and_their_extensions_arrive_as_one_body(front: Rig) -> None:
    async with line(front) as viewer:
        viewer.ask("/upload", "POST", "Transfer-Encoding: chunked\r\n", b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert await viewer.answer() == (200, b"5")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "rest",
    [
        "GET /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: HOST\r\nContent-Length: \x0b5\r\n\r\nhello",
        "GET /hello HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "GET /hello HTTP/1.1\r\nHost: HOST\r\nX : y\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: HOST\r\nX: a\x00b\r\n\r\n",
        "GET /he llo HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "GET /hello\r\n\r\n",
        "\x16\x03\x01nonsense\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: HOST\r\nX: " + "a" * 100_000 + "\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_before_mitmproxy_sees_it(front: Rig, rest: str) -> None:
    async with line(front) as viewer:
        viewer.writer.write(rest.replace("HOST", viewer.host).encode("latin-1"))
        answer = await viewer.reader.read()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")), answer
    assert front.origin.seen == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "fields",
    ["Host: elsewhere.test\r\n", "Host: HOST\r\nX: a\x01b\r\n"],
)
async def test_what_the_addon_refuses_it_still_refuses(front: Rig, fields: str) -> None:
    async with line(front) as viewer:
        viewer.writer.write(f"GET /hello HTTP/1.1\r\n{fields.replace('HOST', viewer.host)}\r\n".encode())
        assert (await viewer.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400")
    assert front.origin.seen == []
    assert front.agent.routed == []


@pytest.mark.asyncio
async def test_http_1_0_and_a_client_that_closes(front: Rig) -> None:
    async with line(front) as viewer:
        viewer.writer.write(f"GET /hello HTTP/1.0\r\nHost: {viewer.host}\r\n\r\n".encode())
        assert (await viewer.reader.read()).endswith(b"hello from the origin")
    for path in ("/1.m4s", "/hello"):
        front.agent.shares("/1.m4s", told(BODY))
        async with line(front) as viewer:
            viewer.ask(path, fields="Connection: close\r\n")
            assert (await viewer.reader.read()).endswith((BODY, b"hello from the origin"))


@pytest.mark.asyncio
@pytest.mark.parametrize("total", [len(BODY), None])
async def test_an_answer_that_breaks_off_never_looks_whole(front: Rig, total: int | None) -> None:
    front.agent.shares("/1.m4s", told(BODY[:5000], total=total))
    async with line(front) as viewer:
        viewer.ask("/1.m4s")
        if total is not None:
            got = await viewer.reader.read()
            assert got.endswith(BODY[:5000])
    async with line(front) as viewer:
        viewer.ask("/endless")
        await viewer.reader.readuntil(b"first")
        assert not viewer.reader.at_eof()


@pytest.mark.asyncio
async def test_an_origin_that_breaks_off_breaks_its_viewer_too(front: Rig) -> None:
    async def short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b"only this")
        assert request.transport is not None
        request.transport.close()
        return response

    front.origin.extra["short"] = short
    async with line(front) as viewer:
        viewer.ask("/extra/short")
        answer = await viewer.reader.read()
    assert b"100" in answer
    assert answer.endswith(b"only this")


@pytest.mark.asyncio
async def test_a_viewer_that_reads_nothing_holds_its_origin_back(front: Rig) -> None:
    process = psutil.Process()
    async with front.session.get(front.url("/hello")) as answer:
        await answer.read()
    before = process.memory_info().rss
    async with line(front) as viewer:
        viewer.read_on(False)
        viewer.ask("/big")
        for _ in range(200):
            await asyncio.sleep(0.005)
            assert process.memory_info().rss - before < BIG // 4
        viewer.read_on(True)
        assert len(await viewer.reader.readexactly(BIG)) == BIG


@pytest.mark.asyncio
async def test_a_viewer_that_asks_and_asks_is_read_no_further(front: Rig) -> None:
    """Requests beyond the one being answered wait in the socket, not in memory."""
    more = asyncio.Event()
    response = told(BODY[:10], more, BODY[10:])
    front.agent.shares("/1.m4s", response)
    async with line(front) as viewer:
        viewer.ask("/1.m4s")
        count = AHEAD_BYTES_MAX // 20
        for _ in range(count):
            viewer.ask("/hello")
        await viewer.reader.readuntil(BODY[:10])
        more.set()
        assert await viewer.reader.readexactly(len(BODY) - 10) == BODY[10:]
        for _ in range(3):
            assert await viewer.answer() == (200, b"hello from the origin")


@pytest.mark.asyncio
async def test_leaving_cancels_whatever_was_begun(front: Rig) -> None:
    response = told(BODY[:100], asyncio.Event())
    front.agent.shares("/1.m4s", response)
    async with line(front) as viewer:
        viewer.ask("/1.m4s")
        await viewer.reader.readuntil(BODY[:100])
    await response.released.wait()
    async with line(front) as viewer:
        viewer.ask("/endless")
        await front.origin.entered.wait()
    await front.origin.left.wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("offers", [("h2",), (), ("http/1.1",)])
async def test_whatever_protocols_a_client_offers_it_gets_http_1_1(front: Rig, offers: tuple[str, ...]) -> None:
    """Who offers only others is mitmproxy's, behind a CONNECT that has been answered already."""
    async with line(front, offers=offers) as viewer:
        viewer.ask("/hello")
        assert await viewer.answer() == (200, b"hello from the origin")


@pytest.mark.asyncio
async def test_a_hello_in_pieces_and_one_that_comes_with_its_connect(front: Rig) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = front.trust(front.authority.ca_file).wrap_bio(incoming, outgoing, server_hostname=STREAM)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    asked = f"CONNECT {STREAM}:{front.port} HTTP/1.1\r\nHost: {STREAM}:{front.port}\r\n\r\n".encode()
    for pieces in ([asked + hello], [bytes([byte]) for byte in asked + hello]):
        reader, writer = await asyncio.open_connection(*front.proxy.address)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readexactly(3))[0] == 0x16  # a handshake record: the ServerHello
        writer.close()


@pytest.mark.asyncio
async def test_a_segments_answer_is_held_back_by_a_slow_viewer(front: Rig) -> None:
    taken = 0
    piece = bytes(65_536)

    class Endless(ToldResponse):
        async def body(self) -> AsyncIterator[bytes | memoryview]:
            nonlocal taken
            for _ in range(1600):
                taken += 1
                yield piece

    front.agent.shares("/1.m4s", Endless(SharedHead(head(1600 * 65_536), "lan", "here")))
    async with line(front) as viewer:
        viewer.read_on(False)
        viewer.ask("/1.m4s")
        while not taken:  # noqa: ASYNC110 - the viewer's own loop
            await asyncio.sleep(0.005)
        for _ in range(100):
            await asyncio.sleep(0.005)
        assert taken < 800
        viewer.read_on(True)
        await viewer.reader.readuntil(b"\r\n\r\n")
        await viewer.reader.readexactly(1600 * 65_536)


@pytest.mark.asyncio
async def test_a_silent_connection_is_closed_but_none_that_is_answered(
    front: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecdn_proxy.front.intercept.connection.SILENT_MAX_S", 1.0)
    more = asyncio.Event()
    front.agent.shares("/1.m4s", told(BODY[:10], more, BODY[10:]))
    async with line(front) as silent, line(front) as viewer:
        viewer.ask("/1.m4s")
        assert await silent.reader.read() == b""
        more.set()
        assert await viewer.answer() == (200, BODY)
        assert await viewer.reader.read() == b""


@pytest.mark.asyncio
async def test_a_viewer_that_leaves_before_the_head_releases_its_response(front: Rig) -> None:
    asked = asyncio.Event()

    class Waiting(ToldResponse):
        async def head(self) -> SharedHead:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    response = Waiting(SharedHead(head(1), "lan", ""))
    front.agent.shares("/1.m4s", response)
    async with line(front) as viewer:
        viewer.ask("/1.m4s")
        await asked.wait()
    async with asyncio.timeout(20):
        await response.released.wait()
