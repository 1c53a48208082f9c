import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from ecdn_proxy.io import address_guard as guard
from ecdn_proxy.io import origin
from ecdn_proxy.io.origin import Fetch, Headers, OriginClient, Response, request_headers
from ecdn_proxy.wire.faults import Unavailable
from tests.demo import pki
from tests.io.waiting import Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
HOST = pki.ORIGIN
OTHER = f"other.{pki.DOMAIN}"
BODY = bytes(range(256)) * 8_192


class Origin:
    """A TLS origin on loopback that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.connections: set[str] = set()
        self.handshakes = 0
        self.port = 0

    def shake_hands(self, *_: object) -> None:
        self.handshakes += 1

    def url(self, path: str, host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        assert request.transport is not None
        self.connections.add(str(request.transport.get_extra_info("peername")))
        match request.path.split("/")[1:]:
            case ["segment"]:
                return web.Response(body=BODY, headers=[("ETag", '"1"'), ("X-Two", "a"), ("X-Two", "b")])
            case ["range"]:
                return web.Response(status=206, body=BODY[:10], headers={"Content-Range": f"bytes 0-9/{len(BODY)}"})
            case ["missing"]:
                return web.Response(status=404, text="no")
            case ["chunked"]:
                stream = web.StreamResponse()
                stream.enable_chunked_encoding()
                await stream.prepare(request)
                for at in range(0, len(BODY), 500_000):
                    await stream.write(BODY[at : at + 500_000])
                return stream
            case ["cut", kind]:
                stream = web.StreamResponse(headers={} if kind == "chunked" else {"Content-Length": "1000"})
                if kind == "chunked":
                    stream.enable_chunked_encoding()
                await stream.prepare(request)
                await stream.write(b"x" * 400)
                request.transport.close()
                return stream
            case ["loop"]:
                return web.Response(status=302, headers={"Location": "/loop"})
            case ["to", kind]:
                where = {"same": "/segment", "other": self.url("/segment", OTHER), "plain": f"http://{HOST}/segment"}
                where |= {"local": "https://127.0.0.1:1/x", "file": "file:///etc/passwd", "self": self.url("/segment")}
                return web.Response(status=307, headers={"Location": where[kind]})
            case _:
                await asyncio.Event().wait()
                raise AssertionError


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.make(tmp_path_factory.mktemp("pki"))


@pytest_asyncio.fixture
async def server(certificates: pki.Pki) -> AsyncIterator[Origin]:
    served = Origin()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.sni_callback = served.shake_hands
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    served.port = runner.addresses[0][1]
    yield served
    await runner.cleanup()


Connect = Callable[..., OriginClient]


@pytest_asyncio.fixture
async def connect(certificates: pki.Pki) -> AsyncIterator[Connect]:
    clients: list[OriginClient] = []

    def make(*, allow_local: bool = True, ca_file: str | None = None) -> OriginClient:
        hosts = {HOST: "127.0.0.1", OTHER: "127.0.0.1", "mapped.test": "::ffff:127.0.0.1"}
        ca = str(certificates.ca) if ca_file is None else ca_file
        clients.append(OriginClient(ca, hosts, allow_local=allow_local))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


class Recorder:
    """Records what a fetch brings."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def reached(self) -> None:
        self._record.tell("reached")()

    def head(self, response: Response) -> None:
        self._record.tell("head")(response)

    def data(self, data: bytes) -> None:
        self._record.tell("data")(data)

    def end(self) -> None:
        self._record.tell("end")()

    def fail(self, why: str) -> None:
        self._record.tell("fail")(why)


class Got:
    """One fetch and all that was told of it."""

    def __init__(self, client: OriginClient, url: str, headers: Headers = (), *, byte_range: str | None = None) -> None:
        self.record = Record()
        self.fetch: Fetch = client.start(url, headers, byte_range, None, Recorder(self.record))

    async def over(self) -> "Got":
        await self.record.until(lambda: self.record.all("end") or self.record.all("fail"))
        return self

    @property
    def body(self) -> bytes:
        return b"".join(data for (data,) in self.record.all("data"))

    @property
    def head(self) -> Response:
        head: Response = self.record.all("head")[0][0]
        return head

    @property
    def why(self) -> str:
        assert not self.record.all("end")
        return str(self.record.all("fail")[0][0])


async def test_a_segment_comes_whole(server: Origin, connect: Connect) -> None:
    got = await Got(connect(), server.url("/segment?token=a%2Fb&c=%20")).over()
    assert got.record.told[0][0] == "head"
    assert got.record.told[-1] == ("end",)
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(BODY).digest()
    assert (got.head.status, got.head.framed) == (200, True)
    assert [each for each in got.head.headers if each[0] == "x-two"] == [("x-two", "a"), ("x-two", "b")]
    assert server.asked[0].raw_path == "/segment?token=a%2Fb&c=%20"


async def test_the_first_segment_finds_an_open_connection(server: Origin, connect: Connect) -> None:
    client = connect()
    await client.prepare(server.url("/720/index.m3u8"))
    assert (server.handshakes, len(server.asked)) == (1, 0)
    await client.prepare(server.url("/360/index.m3u8"))
    got = await Got(client, server.url("/segment")).over()
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(BODY).digest()
    assert (server.handshakes, len(server.asked)) == (1, 1)


async def test_an_origin_that_cannot_be_prepared_is_nobodys_trouble(server: Origin, connect: Connect) -> None:
    client = connect()
    for url in (f"https://{HOST}:1/", "https://unknown.invalid/", "data:,", "https://user@demo.test/"):
        await client.prepare(url)
    await connect(allow_local=False).prepare(server.url("/720/index.m3u8"))
    assert (server.handshakes, len(server.asked)) == (0, 0), "local origins are not even greeted"
    got = await Got(client, server.url("/segment")).over()
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(BODY).digest()


async def test_the_viewers_headers_go_along_and_its_connections_do_not(server: Origin, connect: Connect) -> None:
    viewer = (
        ("host", "wrong"), ("cookie", "a=1; b=2"), ("authorization", "Bearer t"), ("user-agent", "Player/1"),
        ("accept", "*/*"), ("accept-encoding", "gzip, br"), ("range", "bytes=5-"), ("if-none-match", '"1"'),
        ("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("proxy-authorization", "secret"),
        ("x-ecdn-ticket", "secret"), ("te", "trailers"), ("upgrade", "h2c"), ("origin", "https://player.test"),
    )  # fmt: skip
    got = await Got(connect(), server.url("/range"), viewer, byte_range="bytes=0-9").over()
    assert (got.head.status, got.body) == (206, BODY[:10])
    sent = {name.lower(): value for name, value in server.asked[0].headers.items()}
    assert sent == {
        "host": f"{HOST}:{server.port}", "cookie": "a=1; b=2", "authorization": "Bearer t", "user-agent": "Player/1",
        "accept": "*/*", "accept-encoding": "identity", "range": "bytes=0-9", "origin": "https://player.test",
    }  # fmt: skip


async def test_if_range_only_with_a_range() -> None:
    assert request_headers((), "bytes=0-", '"1"')[1:] == (("range", "bytes=0-"), ("if-range", '"1"'))
    assert request_headers((("If-Range", '"2"'),), None, '"1"') == (("accept-encoding", "identity"),)


async def test_chunks_end_whole(server: Origin, connect: Connect) -> None:
    got = await Got(connect(), server.url("/chunked")).over()
    assert got.body == BODY
    assert got.head.framed
    assert got.record.told[-1] == ("end",)


@pytest.mark.parametrize("kind", ["length", "chunked"])
async def test_a_cut_body_fails_and_never_ends(server: Origin, connect: Connect, kind: str) -> None:
    got = await Got(connect(), server.url(f"/cut/{kind}")).over()
    assert got.why == "the origin's answer was cut short"
    assert got.head.status == 200
    assert set(got.body) <= set(b"x")


async def test_an_errors_body_is_told_as_it_is(server: Origin, connect: Connect) -> None:
    got = await Got(connect(), server.url("/missing")).over()
    assert (got.head.status, got.body) == (404, b"no")


async def test_connections_are_used_again(server: Origin, connect: Connect) -> None:
    client = connect()
    for path in ("/segment", "/range", "/to/same", "/missing"):
        await Got(client, server.url(path)).over()
    assert len(server.connections) == 1


async def test_abort_is_the_last_word(server: Origin, connect: Connect) -> None:
    client = connect()
    early = Got(client, server.url("/segment"))
    early.fetch.abort()
    hung = Got(client, server.url("/hang"))
    running = Got(client, server.url("/segment"))
    running.fetch.pause()
    await running.record.first("head")
    running.fetch.abort()
    hung.fetch.abort()
    await Got(client, server.url("/segment")).over()
    assert early.record.told == hung.record.told == []
    assert [each[0] for each in running.record.told] == ["head"]


async def test_a_paused_body_waits(server: Origin, connect: Connect) -> None:
    client = connect()
    slow = Got(client, server.url("/segment"))
    slow.fetch.pause()
    await slow.record.first("head")
    await Got(client, server.url("/segment")).over()
    assert not slow.record.all("data")
    slow.fetch.resume()
    assert (await slow.over()).body == BODY


async def test_a_redirect_on_the_same_origin_keeps_credentials(server: Origin, connect: Connect) -> None:
    viewer = (("cookie", "a=1"), ("authorization", "Bearer t"))
    got = await Got(connect(), server.url("/to/self"), viewer, byte_range="bytes=0-").over()
    assert got.head.status == 200
    assert server.asked[-1].headers["cookie"] == "a=1"
    assert server.asked[-1].headers["authorization"] == "Bearer t"
    assert server.asked[-1].headers["range"] == "bytes=0-"


async def test_a_redirect_elsewhere_loses_them(server: Origin, connect: Connect) -> None:
    viewer = (("Cookie", "a=1"), ("Authorization", "Bearer t"), ("x-player", "1"))
    got = await Got(connect(), server.url("/to/other"), viewer).over()
    assert got.head.status == 200
    assert server.asked[-1].host.startswith(OTHER)
    assert "cookie" not in server.asked[-1].headers
    assert "authorization" not in server.asked[-1].headers
    assert server.asked[-1].headers["x-player"] == "1"


@pytest.mark.parametrize(
    ("path", "why"),
    [("/loop", "more than 5"), ("/to/plain", "from https to http"), ("/to/file", "not a plain http")],
)
async def test_redirects_have_limits(server: Origin, connect: Connect, path: str, why: str) -> None:
    got = await Got(connect(), server.url(path)).over()
    assert why in got.why
    assert not got.record.all("head")


@pytest.mark.parametrize(
    "url",
    [
        f"https://{HOST}:1/x", "http://127.0.0.1:1/", "http://[::1]:1/", "http://0.0.0.0:1/", "http://2130706433:1/",
        "http://0x7f.1:1/", "http://[::ffff:7f00:1]:1/", "http://169.254.169.254/latest", "http://mapped.test:1/",
        "http://localhost:1/", "http://10.0.0.1:1/",
    ],
)  # fmt: skip
async def test_local_addresses_are_no_origins(connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = []
    monkeypatch.setattr(socket.socket, "connect", lambda *where: connected.append(where))
    got = await Got(connect(allow_local=False), url).over()
    assert "refused" in got.why or got.why == "not a request that can be sent"  # a number is no host name to aiohttp
    assert not connected


async def test_a_redirect_to_a_local_address_is_refused(
    server: Origin, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_the_lab(info: tuple[Any, ...]) -> socket.socket:
        return guard.open_socket(info) if info[4][1] == server.port else guard.guarded_socket(info)

    monkeypatch.setattr("ecdn_proxy.io.origin.guarded_socket", only_the_lab)
    got = await Got(connect(allow_local=False), server.url("/to/local")).over()
    assert got.why == "the origin is refused: its name leads to a loopback address"
    assert len(server.asked) == 1


async def test_certificates_are_always_verified(server: Origin, connect: Connect) -> None:
    got = await Got(connect(ca_file=""), server.url("/segment")).over()
    assert "certificate" in got.why
    got = await Got(connect(), f"https://127.0.0.2.nip.invalid:{server.port}/").over()
    assert "cannot be reached" in got.why
    assert not server.asked


async def test_an_origin_that_takes_its_time_is_told_of_once_and_one_that_answers_at_once_is_not(
    server: Origin, connect: Connect
) -> None:
    client = connect()
    assert not (await Got(client, server.url("/segment")).over()).record.all("reached")
    waiting = Got(client, server.url("/hang"))
    await waiting.record.first("reached")
    assert [each[0] for each in waiting.record.told] == ["reached"]
    waiting.fetch.abort()


async def test_a_request_that_nobody_confirms_has_not_reached_the_origin(connect: Connect) -> None:
    """A listener that does not accept confirms bytes until its buffer is full; the rest of a long request waits."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        long = tuple((f"x-{number}", "y" * 8_000) for number in range(1_000))
        got = Got(connect(), f"http://{HOST}:{deaf.getsockname()[1]}/", long)
        await asyncio.sleep(5 * origin.REACHED_S)
        assert got.record.told == []
        got.fetch.abort()


async def test_silence_has_an_end(server: Origin, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "SILENCE_S", 0.2)
    assert "silent" in (await Got(connect(), server.url("/hang")).over()).why


@pytest.mark.parametrize("url", ["ftp://x/", "https:///x", "https://user:secret@x/", "nonsense", "http://[::1", ""])
async def test_what_is_no_address_is_refused(connect: Connect, url: str) -> None:
    assert "not a" in (await Got(connect(), url).over()).why


async def test_header_injection_is_refused(server: Origin, connect: Connect) -> None:
    got = await Got(connect(), server.url("/segment"), (("x-a", "b\r\nx-evil: 1"),)).over()
    assert got.why == "not a request that can be sent"
    assert not server.asked


async def test_nothing_in_a_reason_tells_the_token(connect: Connect) -> None:
    assert "hush" not in (await Got(connect(), f"https://{HOST}:1/x?token=hush").over()).why


async def test_an_unusable_root_file_is_said(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_text("nothing")
    for name in ("roots.pem", "absent.pem"):
        with pytest.raises(Unavailable, match="extra roots"):
            connect(ca_file=str(tmp_path / name))


async def test_a_plain_origin_without_length_is_not_framed(connect: Connect) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbytes")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    plain = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with plain:
        got = await Got(connect(), f"http://{HOST}:{plain.sockets[0].getsockname()[1]}/").over()
    assert (got.body, got.head.framed) == (b"bytes", False)
