"""A plain GET straight to its origin: the same bytes as through mitmproxy, whatever the origin says and does."""

import asyncio
import contextlib
import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import pytest

from tests.demo.parts import free_port
from tests.front.intercept.test_connection import Line
from tests.front.rig import STREAM, WAYS, Rig, Way, on_way, rig

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PLAYLIST = b"#EXTM3U\n#EXT-X-VERSION:3\n"
ZIPPED = gzip.compress(PLAYLIST, mtime=0)
MPEGURL = b"Content-Type: application/vnd.apple.mpegurl\r\n"
ODD = {
    "fields twice, in their case and order": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nx-B: 2\r\nSet-Cookie: b=2\r\n"
    b"X-a: \xe4\r\nContent-Length: 2\r\n\r\nok",
    "a field that is empty": b"HTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok",
    "a reason of its own": b"HTTP/1.1 200 Fine, thanks\r\nContent-Length: 2\r\n\r\nok",
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
    "a status that nobody knows": b"HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    "a part": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok",
    "not modified": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
    "not modified, with a length": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 9\r\n\r\n',
    "not satisfiable": b"HTTP/1.1 416 No\r\nContent-Range: bytes */9\r\nContent-Length: 0\r\n\r\n",
    "forbidden": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n",
    "chunks and trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
    b"2\r\nok\r\n0\r\nX-T: y\r\n\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a folded field": b"HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a space before a colon": b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok",
    "lines without a carriage return": b"HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "a length with a zero before it": b"HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\nok",
    "chunks without content": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "no HTTP": b"\x00\x01\x02 what is this\r\n\r\n",
    "a control character": b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "a playlist": b"HTTP/1.1 200 OK\r\n" + MPEGURL + b"Content-Length: %d\r\n\r\n" % len(PLAYLIST) + PLAYLIST,
    "a zipped playlist": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + MPEGURL + b"Content-Length: %d\r\n\r\n"
    % len(ZIPPED) + ZIPPED,
    "a zipped playlist in chunks": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + MPEGURL
    + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(ZIPPED) + ZIPPED + b"\r\n0\r\n\r\n",
    "two answers at once": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * 2,
}  # fmt: skip
ENDING = {
    "no length": b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil the end",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "HTTP/1.0 and chunks": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a length and close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "too short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
    "chunks without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "a playlist that is too short": b"HTTP/1.1 200 OK\r\n" + MPEGURL + b"Content-Length: 99\r\n\r\n" + PLAYLIST,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
}


@asynccontextmanager
async def scripted(front: Rig, serve: Serve) -> AsyncIterator[int]:
    """An origin that says what it is told; its port."""
    context = front.authorities.server("*.stream.test")
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def line_to(front: Rig, port: int) -> AsyncIterator[Line]:
    """A viewer's connection to this port of the streaming host."""
    reader, writer = await asyncio.open_connection(*front.proxy.address)
    writer.write(f"CONNECT {STREAM}:{port} HTTP/1.1\r\nHost: {STREAM}:{port}\r\n\r\n".encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    try:
        await writer.start_tls(front.trust(front.authority.ca_file), server_hostname=STREAM)
        made = Line(front, reader, writer)
        made.host = f"{STREAM}:{port}"
        yield made
    finally:
        writer.close()


async def all_bytes(front: Rig, answer: bytes, *, at_once: bool, ends: bool) -> tuple[bytes, list[bytes]]:
    """What a viewer reads of this answer until its connection ends, and what the origin was asked."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                for part in [answer] if at_once else [answer[at : at + 1] for at in range(len(answer))]:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if ends:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async with scripted(front, serve) as port, line_to(front, port) as viewer:
        viewer.ask("/x?a=%2f//b", fields="X-Two: 1\r\ncookie: a=b\r\nX-Two: 2\r\nConnection: close\r\n")
        got = await viewer.reader.read()
    return got, [head.replace(str(port).encode(), b"PORT") for head in heads]


def said(got: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool] | None:
    """Status, fields but those of framing, body, and whether it ended as it should."""
    reading = h11.Connection(h11.CLIENT)
    reading.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    reading.send(h11.EndOfMessage())
    reading.receive_data(got)
    reading.receive_data(b"")
    status, fields, body = 0, [], b""
    try:
        while not isinstance(event := reading.next_event(), h11.EndOfMessage):
            match event:
                case h11.Response():
                    framing = {b"transfer-encoding", b"connection", b"trailer"}
                    status, fields = event.status_code, [it for it in event.headers if it[0] not in framing]
                case h11.Data(data=data):
                    body += bytes(data)
                case _:
                    return None
    except h11.RemoteProtocolError:
        return status, fields, body, False
    return status, fields, body, True


async def on_all_ways(
    directory: Path, answer: bytes, *, at_once: bool, ends: bool = False
) -> dict[Way, tuple[bytes, list[bytes], list[tuple[int, int]], list[bytes]]]:
    """Bytes at the viewer, requests at the origin, status and bytes in the books, manifests learnt: for each way."""
    seen: dict[Way, tuple[bytes, list[bytes], list[tuple[int, int]], list[bytes]]] = {}
    for way in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            async with on_way(way, directory / way, patch) as front:
                got, heads = await all_bytes(front, answer, at_once=at_once, ends=ends)
                books = [(status, received) for _, status, received in front.agent.books]
                seen[way] = got, heads, books, [body for _, body in front.agent.learnt]
    return seen


@pytest.mark.asyncio
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("what", ODD)
async def test_odd_answers_arrive_as_through_mitmproxy(tmp_path: Path, what: str, at_once: bool) -> None:
    seen = await on_all_ways(tmp_path, ODD[what], at_once=at_once)
    straight, relayed = seen["straight"], seen["relayed"]
    assert straight[0] == relayed[0]
    assert said(straight[0]) == said(seen["mitmproxy alone"][0])
    assert straight[1][0] == relayed[1][0] == seen["mitmproxy alone"][1][0]
    assert straight[2:] == relayed[2:] == seen["mitmproxy alone"][2:]


@pytest.mark.asyncio
@pytest.mark.parametrize("what", ENDING)
async def test_answers_that_end_with_their_connection(tmp_path: Path, what: str) -> None:
    seen = await on_all_ways(tmp_path, ENDING[what], at_once=True, ends=True)
    straight, relayed = seen["straight"], seen["relayed"]
    assert straight[0] == relayed[0]
    assert said(straight[0]) == said(seen["mitmproxy alone"][0])
    assert straight[2:] == relayed[2:] == seen["mitmproxy alone"][2:]


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_each_part_of_a_blocking_reload_passes_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    """LL-HLS (RFC 8216bis section 6.2.5.2): the head may be out long before the playlist has its next part."""
    go_on = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + MPEGURL + b"Transfer-Encoding: chunked\r\n\r\n")
        for part in (b"7\r\n#EXTM3U\r\n", b"2\r\n\n#\r\n"):
            await go_on.acquire()
            writer.write(part)
        await go_on.acquire()
        writer.write(b"0\r\n\r\n")
        await reader.read()
        writer.close()

    async with (
        on_way(way, tmp_path, monkeypatch) as front,
        scripted(front, serve) as port,
        line_to(front, port) as viewer,
    ):
        viewer.ask("/live.m3u8?_HLS_msn=7&_HLS_part=1")
        assert (await viewer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        for part in (b"7\r\n#EXTM3U\r\n", b"2\r\n\n#\r\n"):
            go_on.release()
            assert await viewer.reader.readexactly(len(part)) == part
        assert front.agent.learnt == []
        go_on.release()
        assert await viewer.reader.readexactly(5) == b"0\r\n\r\n"
        assert [body for _, body in front.agent.learnt] == [b"#EXTM3U\n#"]


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_an_origin_that_closes_kept_connections_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with (
        on_way(way, tmp_path, monkeypatch) as front,
        scripted(front, serve) as port,
        line_to(front, port) as viewer,
    ):
        for _ in range(5):
            viewer.ask("/x")
            assert await viewer.answer() == (200, b"ok")
    assert served == 5


@pytest.mark.asyncio
async def test_a_kept_connection_that_answers_no_more_is_given_up_for_mitmproxys(tmp_path: Path) -> None:
    """The origin closes when the second request comes: it may be asked again, for nothing of its answer has come."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            for number in range(2):
                await reader.readuntil(b"\r\n\r\n")
                asked.append(number)
                if number == 0:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async with rig(tmp_path) as front, scripted(front, serve) as port, line_to(front, port) as viewer:
        for _ in range(2):
            viewer.ask("/x")
            assert await viewer.answer() == (200, b"ok")
    assert asked == [0, 1, 0]
    assert [(status, received) for _, status, received in front.agent.books] == [(200, 2), (200, 2)]


@pytest.mark.asyncio
async def test_what_comes_unasked_is_nobodys_answer(tmp_path: Path) -> None:
    """A second answer, at once or later, must not be taken for that of the next request."""
    for later in (False, True):
        poisoned = asyncio.Event()

        async def serve(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            *,
            later: bool = later,
            poisoned: asyncio.Event = poisoned,
        ) -> None:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + path
            bad = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
            writer.write(good if later else good + bad)
            await asyncio.sleep(0.05)
            writer.write(bad if later else b"")
            await reader.read()
            poisoned.set()
            writer.close()

        async with rig(tmp_path / str(later)) as front, scripted(front, serve) as port, line_to(front, port) as viewer:
            viewer.ask("/a")
            assert await viewer.answer() == (200, b"/a")
            await poisoned.wait()
            viewer.ask("/b")
            assert await viewer.answer() == (200, b"/b")


@pytest.mark.asyncio
async def test_a_fault_in_the_check_of_a_target_connects_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knocked = 0

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocked
        knocked += 1
        writer.close()

    async def fail(*_: object) -> str:
        raise RuntimeError("broken")

    async with rig(tmp_path) as front, await asyncio.start_server(note, "127.0.0.1", 0) as server:
        monkeypatch.setattr(front.proxy.targets, "resolve", fail)
        async with line_to(front, server.sockets[0].getsockname()[1]) as viewer:
            viewer.ask("/x")
            assert (await viewer.reader.read()).startswith(b"HTTP/1.1 403")
    assert knocked == 0


@pytest.mark.asyncio
async def test_an_origin_that_is_not_there_is_explained_alike(tmp_path: Path) -> None:
    pages = {}
    for way in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            async with on_way(way, tmp_path / way, patch) as front, line_to(front, free_port()) as viewer:
                viewer.ask("/x")
                page = await viewer.reader.read()
                pages[way] = re.sub(rb"\d{5}", b"PORT", page)
    assert pages["straight"] == pages["relayed"]
    assert b"The site did not answer" in pages["straight"]
    assert pages["mitmproxy alone"].partition(b"\r\n\r\n")[2] == pages["straight"].partition(b"\r\n\r\n")[2]


@pytest.mark.asyncio
async def test_a_viewer_may_leave_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While connecting, while a manifest is learnt: nothing is left open, and the books are kept."""
    learning, never = asyncio.Event(), asyncio.Event()
    connected, gone = asyncio.Event(), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()
        writer.close()

    async def learn(*_: object) -> None:
        learning.set()
        await never.wait()

    async with rig(tmp_path) as front:
        async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
            async with line_to(front, server.sockets[0].getsockname()[1]) as viewer:
                viewer.ask("/x")
                await connected.wait()
            await gone.wait()
        monkeypatch.setattr(front.agent, "manifest_arrived", learn)
        async with line_to(front, front.port) as viewer:
            viewer.ask("/live.m3u8")
            await learning.wait()
        await front.agent.booked.wait()
        assert front.agent.books == [(front.url("/live.m3u8"), 200, 160)]
