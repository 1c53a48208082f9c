"""What the front's tests share: an agent that does as told, a real TLS origin, and a real proxy between them.

Map: `ToldAgent`, `ToldResponse` (agent.api by script) · `Authorities` (certificates for origins) · `Origin` · `Rig` ·
`on_way` (the same proxy on each of its `WAYS`).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ecdn_proxy.agent.api import AgentApi, OwnHead, PassToOrigin, RefusedHead, Route, Shared, SharedHead, ViewerRequest
from ecdn_proxy.agent.status import Status
from ecdn_proxy.core.http.hosts import HostScope
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.core.values import Headers
from ecdn_proxy.front.intercept.direct import DirectFetch
from ecdn_proxy.front.mitm.gateway import Gateway
from ecdn_proxy.front.proxy import Proxy
from ecdn_proxy.front.tls.authority import Authority
from ecdn_proxy.io import clock
from ecdn_proxy.wire.integrity import SegmentHead
from tests.front.filled import filled_status

STREAM = "video.stream.test"
OTHER = "www.other.test"
Way = Literal["straight", "relayed", "mitmproxy alone"]
WAYS: tuple[Way, ...] = ("straight", "relayed", "mitmproxy alone")
"""How a plain GET gets to its origin: by the lean path itself, from there through mitmproxy, or without it."""
BIG = 100 * 1024 * 1024
CHUNK = b"\xab" * 65_536


def head(total: int | None, **more: object) -> SegmentHead:
    """A shared head of `total` bytes."""
    fields: dict[str, object] = {
        "total_bytes": total,
        "content_type": "video/mp4",
        "etag": '"v1"',
        "last_modified": "Tue, 15 Nov 1994 12:45:26 GMT",
        "date_utc": 1_000_000.0,
        "fresh_s": 60.0,
        "cors": "none",
        "headers": (),
        **more,
    }
    return SegmentHead(**fields)  # type: ignore[arg-type]


@dataclass
class ToldResponse:
    """Answers as scripted; an exception among the chunks is raised in its turn, an event is waited for."""

    answer: SharedHead | OwnHead | RefusedHead
    chunks: Sequence[bytes | BaseException | asyncio.Event] = ()
    released: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)

    async def head(self) -> SharedHead | OwnHead | RefusedHead:
        self.calls.append("head")
        return self.answer

    async def body(self) -> AsyncIterator[bytes | memoryview]:
        self.calls.append("body")
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            if isinstance(chunk, asyncio.Event):
                await chunk.wait()
                continue
            yield memoryview(chunk)

    async def release(self) -> None:
        self.calls.append("release")
        self.released.set()


class ToldAgent:
    """An agent.api.StartedAgent and its own router; routes by path."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.routed: list[ViewerRequest] = []
        self.calls: list[str] = []
        """Every crossing of the door, by the name of the call."""
        self.learnt: list[tuple[str, bytes]] = []
        self.books: list[tuple[str, int, int]] = []
        self.booked = asyncio.Event()
        self.bypassed: asyncio.Queue[str] = asyncio.Queue()

    @property
    def router(self) -> AgentApi:
        return self

    def shares(self, path: str, response: ToldResponse) -> None:
        """Answer the path's requests with this response."""

        def opened() -> ToldResponse:
            self.calls.append("open_response")
            return response

        self.routes[path] = Shared("test", opened)

    def route(self, request: ViewerRequest) -> Route:
        self.calls.append("route")
        self.routed.append(request)
        path = "/" + request.url.split("/", 3)[3]
        return self.routes.get(path, PassToOrigin("test"))

    def needs_whole_body(self, request: ViewerRequest) -> bool:
        return ".m3u8" in request.url and "if-none-match" in dict(request.headers)

    def may_be_manifest(self, request: ViewerRequest, status: int, headers: Headers) -> bool:
        self.calls.append("may_be_manifest")
        return status in {200, 206} and "mpegurl" in dict(headers).get("content-type", "")

    async def manifest_arrived(self, request: ViewerRequest, headers: Headers, body: bytes) -> None:
        self.calls.append("manifest_arrived")
        await asyncio.sleep(0)
        self.learnt.append((request.url, body))

    def passed_to_origin(self, request: ViewerRequest, status: int, received_bytes: int) -> None:
        self.calls.append("passed_to_origin")
        self.books.append((request.url, status, received_bytes))
        self.booked.set()

    def host_bypassed(self, host: str, why: str) -> None:
        self.bypassed.put_nowait(host)

    def status(self) -> Status:
        return filled_status()


class Authorities:
    """A root, and certificates under it, as a web's own authority makes them."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
        root = self._builder(self._name, self._key.public_key(), 1).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        root = root.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        root = root.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        self.ca = directory / "root.pem"
        self.ca.write_bytes(root.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, days: float = 1) -> ssl.SSLContext:
        """A server's context for the names; negative days: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        leaf = (
            self._builder(subject, key.public_key(), days)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._directory / f"{leaf.serial_number}.pem"
        file.write_bytes(secret + leaf.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))


@asynccontextmanager
async def serving(app: web.Application, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """An aiohttp application on a free port."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


class Origin:
    """The origin's handlers, and what they saw."""

    def __init__(self) -> None:
        self.seen: list[web.BaseRequest] = []
        self.uploaded = 0
        self.left = asyncio.Event()
        self.entered = asyncio.Event()
        self.extra: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/hello", self._hello)
        app.router.add_get("/big", self._big)
        app.router.add_post("/upload", self._upload)
        app.router.add_get("/ws", self._socket)
        app.router.add_get("/redirect", self._redirect)
        app.router.add_get("/endless", self._endless)
        app.router.add_get("/live.m3u8", self._manifest)
        app.router.add_get("/extra/{name}", self._extra)
        return app

    async def _hello(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        text = b"hello from the origin"
        wanted = request.http_range
        if "range" in request.headers and wanted.start is not None:
            part = text[wanted.start : wanted.stop]
            fields = {"content-range": f"bytes {wanted.start}-{wanted.start + len(part) - 1}/{len(text)}"}
            return web.Response(status=206, body=part, headers=fields)
        return web.Response(body=text, headers={"x-origin": "yes", "set-cookie": "a=b"})

    async def _big(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": str(BIG)})
        await response.prepare(request)
        for _ in range(BIG // len(CHUNK)):
            await response.write(CHUNK)
        return response

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        async for chunk in request.content.iter_any():
            self.uploaded += len(chunk)
        return web.Response(text=str(self.uploaded))

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"echo {message.data}")
        return socket

    async def _redirect(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"location": "/hello"})

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return response

    async def _extra(self, request: web.Request) -> web.StreamResponse:
        return await self.extra[request.match_info["name"]](request)

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        fields = {"content-type": "application/vnd.apple.mpegurl"}
        response = web.Response(body=b"#EXTM3U\n" * 20, headers=fields)
        if request.query.get("coding"):
            response.enable_compression(web.ContentCoding(request.query["coding"]))
        if request.query.get("chunked"):
            response.enable_chunked_encoding()
        return response


@dataclass
class Rig:
    """All parts of one test."""

    agent: ToldAgent
    origin: Origin
    port: int
    proxy: Proxy
    gateway: Gateway
    authority: Authority
    authorities: Authorities
    session: aiohttp.ClientSession

    @property
    def bypassed(self) -> asyncio.Queue[str]:
        """Hosts that are tunnelled from now on."""
        return self.agent.bypassed

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.address[1]}"

    def url(self, path: str, host: str = STREAM) -> str:
        return f"https://{host}:{self.port}{path}"

    def trust(self, file: Path) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(file))

    async def raw(self, data: bytes) -> bytes:
        """Send bytes to the proxy and read until it closes the connection."""
        reader, writer = await asyncio.open_connection(*self.proxy.address)
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()

    async def curl(self, *arguments: str) -> tuple[int, bytes, bytes]:
        """Run curl through the proxy; exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--max-time", "20", "--proxy", self.proxy_url, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out, err


def settings_for(ca: Path, **more: object) -> Settings:
    """Settings of a laboratory on loopback."""
    fields: dict[str, object] = {
        "listen": "127.0.0.1:0",
        "page_listen": "127.0.0.1:0",
        "peer_listen": "127.0.0.1:0",
        "intercept_domains": ("stream.test",),
        "bypass_domains": ("pinned.stream.test",),
        "origin_ca_file": str(ca),
        "origin_hosts": dict.fromkeys(
            (STREAM, OTHER, "pinned.stream.test", "a.stream.test", "b.stream.test"), "127.0.0.1"
        ),
        "allow_local_origins": True,
        **more,
    }
    return Settings(**fields)  # type: ignore[arg-type]


@asynccontextmanager
async def rig(
    directory: Path,
    *,
    context: Callable[[Authorities], ssl.SSLContext] | None = None,
    **more: object,
) -> AsyncIterator[Rig]:
    """A proxy with its gateway in front of a TLS origin for stream.test and other.test."""
    authorities = Authorities(directory / "web")
    agent, origin = ToldAgent(), Origin()
    settings = settings_for(authorities.ca, **more)
    make = context or (lambda one: one.server("*.stream.test", "*.other.test"))
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(origin.application(), make(authorities)))
        scope = HostScope.of(settings.intercept_domains, settings.bypass_domains)
        authority = Authority.open(directory, scope, clock.utc)
        gateway = Gateway(source_headers=settings.source_headers, clock=clock.utc)
        await gateway.start()
        stack.push_async_callback(gateway.close)
        proxy = Proxy(agent, settings, directory, gateway, authority)
        await proxy.start()
        stack.push_async_callback(proxy.drain_and_close, 0.05)
        session = aiohttp.ClientSession(
            proxy=f"http://127.0.0.1:{proxy.address[1]}",
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(authority.ca_file))),
        )
        await stack.enter_async_context(session)
        yield Rig(agent, origin, port, proxy, gateway, authority, authorities, session)


@asynccontextmanager
async def on_way(way: Way, directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A proxy that sends plain GETs this way."""
    if way == "relayed":
        monkeypatch.setattr(DirectFetch, "ask", lambda self, *_: self._viewer.ask_through_mitmproxy())
    async with rig(directory, lean_path=way != "mitmproxy alone") as made:
        yield made
