"""An origin that a test writes, in the test's own process: what each path holds, how it is sent, and who asked.

    async with Origin.open(files) as origin:
        origin.put("/live/3.ts", b"…", cache="no-cache", last_modified=True)   # a new generation each time
        gate = origin.hold("/live/3.ts")                                       # nothing is sent until gate.set()
        origin.bodies("/live/3.ts"), origin.validations("/live/3.ts")          # what it sent, in bodies and in 304s

Map:
    Resource     what a path holds now: body, fields, validators, and the timetable by which it is sent
    Asked        one request as the origin saw it, and what it sent
    Origin       paths to resources or handlers; `log` keeps every request
      put, handle, remove, hold, forget           what it does
      bodies, validations, requests               what it did
    playlist     an HLS playlist; with probes in front, by which `Office.meet` finds out that desks share
    ring         the playlist of a live stream that reuses its names
"""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Self

from aiohttp import hdrs, web

from tests.demo import pki
from tests.demo.clock import seconds, wall

HOST = f"field.{pki.DOMAIN}"
type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
type Fields = Mapping[str, str]
type FieldsFor = Callable[[web.Request], Fields]

TYPES = {
    "m3u8": "application/vnd.apple.mpegurl", "mpd": "application/dash+xml", "mpp": "application/dash-patch+xml",
    "ts": "video/mp2t", "mp4": "video/mp4", "m4s": "video/iso.segment", "m4a": "audio/mp4", "vtt": "text/vtt",
    "xml": "text/xml",
}  # fmt: skip
"""Content types by the end of a path; all else is application/octet-stream."""
PROBES = 12
"""Segments by which desks may find out that they share; one or two are used."""


@dataclass(frozen=True)
class Resource:
    """What a path holds now. Times are seconds."""

    body: bytes
    fields: Fields | FieldsFor = field(default_factory=dict)
    """Fields beside those that follow from the rest; a function makes them for each request."""
    status: int = 200
    etag: str | None = None
    last_modified: float | None = None
    """A wall time; with neither this nor `etag` nothing can be validated."""
    generation: int = 1
    length: bool = True
    """Whether Content-Length is told; else the body is sent in chunks."""
    ranges: bool = True
    first_byte_s: float = 0.0
    """How long nothing is sent, not even a status."""
    pace: tuple[tuple[float, int], ...] = ()
    """(seconds after the head, bytes): when each part of the body is sent; what is left follows at once."""


@dataclass
class Asked:
    """One request as the origin saw it, and what it sent."""

    method: str
    path: str
    query: str
    fields: tuple[tuple[str, str], ...]
    connection: int
    """Which of the connections that this origin has accepted, from 1 on."""
    at: float
    generation: int = 0
    """Of the body that the answer is about; 0 where the path holds nothing or a handler answered."""
    status: int = 0
    sent: int = 0
    """Bytes of body."""
    whole: int = 0
    """Bytes that the whole body of this generation has."""
    done: bool = False

    def field(self, name: str) -> str | None:
        """The first field of this name."""
        return next((value for known, value in self.fields if known.lower() == name.lower()), None)


class Origin:
    """The origin `HOST`, by https and by http; what no path holds is 404."""

    def __init__(self) -> None:
        self.log: list[Asked] = []
        self.https = self.http = ""
        self.ports: tuple[int, int] = (0, 0)
        """https, http."""
        self._holds: dict[str, Resource] = {}
        self._handlers: dict[str, Handler] = {}
        self._generations: dict[str, int] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._connections: dict[tuple[str, int] | None, int] = {}
        """By the client's address and port."""
        self.news = asyncio.Condition()
        """Notified at each request's start and end, and at each part of a body."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, files: pki.Pki) -> AsyncIterator[Self]:
        origin = cls()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", origin._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin.ports = (runner.addresses[0][1], runner.addresses[1][1])
        origin.https, origin.http = f"https://{HOST}:{origin.ports[0]}", f"http://{HOST}:{origin.ports[1]}"
        try:
            yield origin
        finally:
            await runner.cleanup()

    # What it does

    def put(
        self,
        path: str,
        body: bytes,
        *,
        cache: str | None = None,
        etag: bool | str = False,
        last_modified: bool | float = False,
        fields: Fields | FieldsFor | None = None,
        status: int = 200,
        length: bool = True,
        ranges: bool = True,
        first_byte_s: float = 0.0,
        pace: Sequence[tuple[float, int]] = (),
    ) -> Resource:
        """`path` holds this from now on. Another body than before is the path's next generation.

        `cache` is the value of Cache-Control. `etag=True` makes a strong one of path and body, `last_modified=True` is
        the moment at which this body came. `fields` goes out as it stands; see `Resource` for the rest.
        """
        before = self._holds.get(path)
        same = before is not None and before.body == body
        if not same:
            self._generations[path] = self._generations.get(path, 0) + 1
        tag = f'"{hashlib.sha256(path.encode() + body).hexdigest()[:16]}"' if etag is True else etag or None
        kept = before.last_modified if same and before is not None else None
        changed = (kept or wall()) if last_modified is True else last_modified or None
        given: Fields | FieldsFor = fields or {}
        if cache is not None:
            given = _with(given, "Cache-Control", cache)
        self._handlers.pop(path, None)
        self._holds[path] = Resource(
            body, given, status, tag, changed, self._generations[path], length, ranges, first_byte_s, tuple(pace)
        )
        return self._holds[path]

    def handle(self, path: str, handler: Handler) -> None:
        """`path` is answered by this function from now on."""
        self._handlers[path] = handler

    def remove(self, path: str) -> None:
        """`path` is 404 from now on."""
        self._holds.pop(path, None)
        self._handlers.pop(path, None)

    def hold(self, path: str) -> asyncio.Event:
        """Requests for `path` that come from now on are not answered until this is set."""
        return self._gates.setdefault(path, asyncio.Event())

    def release(self, path: str) -> None:
        """Requests for `path` are answered at once again, also those that wait."""
        if (gate := self._gates.pop(path, None)) is not None:
            gate.set()

    def __getitem__(self, path: str) -> Resource:
        return self._holds[path]

    # What it did

    def requests(self, path: str, generation: int | None = None, method: str = "GET") -> list[Asked]:
        """Requests for `path` so far, whatever became of them."""
        return [
            it
            for it in self.log
            if it.path == path and it.method == method and generation in {None, it.generation}
        ]  # fmt: skip

    def bodies(self, path: str, generation: int | None = None) -> float:
        """How often the body was sent so far: bytes sent over bytes of the body, of one generation or of all."""
        return sum(it.sent / it.whole for it in self.requests(path, generation) if it.whole)

    def validations(self, path: str, generation: int | None = None) -> int:
        """How often it said 304."""
        return sum(it.status == 304 for it in self.requests(path, generation))

    async def until(self, holds: Callable[[], object], within_s: float = 30.0) -> None:
        """Waits until `holds` is true of the log; looks again at whatever happens."""
        async with asyncio.timeout(within_s), self.news:
            await self.news.wait_for(lambda: bool(holds()))

    # Answering

    async def _tell(self) -> None:
        async with self.news:
            self.news.notify_all()

    def _connection(self, request: web.Request) -> int:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        return self._connections.setdefault(peer, len(self._connections) + 1)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        fields, connection = tuple(request.headers.items()), self._connection(request)
        asked = Asked(request.method, path, request.query_string, fields, connection, seconds())
        self.log.append(asked)
        await self._tell()
        try:
            if (gate := self._gates.get(path)) is not None:
                await gate.wait()
            if (handler := self._handlers.get(path)) is not None:
                answer = await handler(request)
                asked.status = answer.status
                body = getattr(answer, "body", None)
                asked.sent = asked.whole = len(body) if isinstance(body, bytes) else 0
                return answer
            resource = self._holds.get(path) or _probe(path)
            if resource is None:
                asked.status = 404
                return web.Response(status=404, text="nothing here")
            asked.generation, asked.whole = resource.generation, len(resource.body)
            return await self._send(request, resource, asked)
        except ConnectionError as error:
            raise asyncio.CancelledError from error  # nobody is there any more; not worth a traceback
        finally:
            asked.done = True
            await self._tell()

    async def _send(self, request: web.Request, resource: Resource, asked: Asked) -> web.StreamResponse:
        if resource.first_byte_s:
            await asyncio.sleep(resource.first_byte_s)
        status, start, end = _chosen(request, resource)
        asked.status = status
        answer = web.StreamResponse(status=status)
        answer.headers["Content-Type"] = TYPES.get(request.path.rpartition(".")[2], "application/octet-stream")
        if resource.etag is not None:
            answer.headers["ETag"] = resource.etag
        if resource.last_modified is not None:
            answer.headers["Last-Modified"] = _date(resource.last_modified)
        if resource.ranges:
            answer.headers["Accept-Ranges"] = "bytes"
        if status == 206:
            answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(resource.body)}"
        elif status == 416:
            answer.headers["Content-Range"] = f"bytes */{len(resource.body)}"
        given = resource.fields(request) if callable(resource.fields) else resource.fields
        answer.headers.update(given)
        if status == 304:
            answer.headers.pop("Content-Type")
        if status != 304:
            if resource.length:
                answer.content_length = end - start
            else:
                answer.enable_chunked_encoding()
        await answer.prepare(request)
        if request.method != "HEAD" and status not in {304, 416}:
            began, at = seconds(), start
            for after, size in (*resource.pace, (0.0, end)):
                await asyncio.sleep(max(0.0, began + after - seconds()))
                if part := resource.body[at : min(at + size, end)]:
                    await answer.write(part)
                    asked.sent += len(part)
                    at += len(part)
                    await self._tell()
        await answer.write_eof()
        return answer


def _with(fields: Fields | FieldsFor, name: str, value: str) -> Fields | FieldsFor:
    if callable(fields):
        return lambda request: {name: value, **fields(request)}
    return {name: value, **fields}


def _date(at: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(at), UTC), usegmt=True)


def _probe(path: str) -> Resource | None:
    """What every stream may list: a small segment that an origin of the best kind serves."""
    name = path.rpartition("/")[2]
    if not name.startswith("probe-"):
        return None
    body = hashlib.sha256(path.encode()).digest() * 64
    return Resource(body, {"Cache-Control": "public, max-age=3600"}, etag=f'"{name}"')


def _unchanged(request: web.Request, resource: Resource) -> bool:
    """RFC 9110 section 13.2.2: If-Modified-Since counts only where If-None-Match is not there."""
    if (tags := request.headers.get(hdrs.IF_NONE_MATCH)) is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return resource.etag is not None and ("*" in known or resource.etag.removeprefix("W/") in known)
    if (since := request.headers.get(hdrs.IF_MODIFIED_SINCE)) is not None and resource.last_modified is not None:
        with contextlib.suppress(ValueError):
            return int(resource.last_modified) <= parsedate_to_datetime(since).timestamp()
    return False


def _chosen(request: web.Request, resource: Resource) -> tuple[int, int, int]:
    """Status, and which bytes of the body: RFC 9110 sections 13.2.2 and 14.2, for one range."""
    size = len(resource.body)
    if resource.status != 200 or request.method not in {"GET", "HEAD"}:
        return resource.status, 0, size
    if _unchanged(request, resource):
        return 304, 0, 0
    wanted = request.headers.get(hdrs.RANGE, "")
    unit, _, spec = wanted.partition("=")
    proof = request.headers.get(hdrs.IF_RANGE)
    if not resource.ranges or unit != "bytes" or "," in spec or (proof is not None and proof != resource.etag):
        return 200, 0, size
    first, _, last = spec.partition("-")
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    return (206, start, end) if start < end else (416, 0, 0)


def playlist(
    *urls: str, sequence: int = 0, duration: float = 2.0, end: bool = True, probes: str = "", head: Sequence[str] = ()
) -> bytes:
    """A media playlist of these segments; `probes` names a folder, whose probes stand in front of them.

    `end=False` is a live stream; `head` adds lines before the first segment.
    """
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{round(duration)}", *head]
    lines.append(f"#EXT-X-MEDIA-SEQUENCE:{sequence}")
    listed = [f"{probes}/probe-{number}.ts" for number in range(PROBES)] if probes else []
    for url in (*listed, *urls):
        lines += [f"#EXTINF:{duration:.3f},", url]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if end else []), ""]).encode()


def ring(first: int, count: int, names: int, folder: str, probes: str = "", duration: float = 2.0) -> bytes:
    """The live window of `count` segments from number `first` on, whose names come again after `names` segments."""
    urls = [f"{folder}/seg{number % names}.ts" for number in range(first, first + count)]
    return playlist(*urls, sequence=first, duration=duration, end=False, probes=probes)


def body(name: str, generation: int = 1, size: int = 100_000) -> bytes:
    """Bytes of a segment that differ by name and generation, and are never equal at two places of one body."""
    seed = hashlib.sha256(f"{name} {generation}".encode()).digest()
    return hashlib.shake_256(seed).digest(size)
