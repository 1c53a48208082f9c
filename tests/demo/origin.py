"""The demo's origin: an HTTPS server of an endless live event that counts every byte it writes.

    python -m tests.demo.origin --listen 127.0.0.1:0 --content DIR --pki DIR --mbps 50 --ready-file F

Map:
    Origin                 the handlers; `/live/...` by tests.demo.publishing, counted by tests.demo.ledger
      /live, /vod, /time   the event, a recording, and the clock for DASH players
      /licence/clearkey    licences for /live/clearkey
      /player.html         a page that plays them (player=hls|dash|shaka|videojs|p2pml, stream=hls|dash|…)
      /files /upload /ws /redirect /missing /head   what a proxy must pass without touching
      /_demo/log?since=N   the requests so far            /_demo/counts   their sums by kind and by path
      /_demo/sha256        POST [paths] -> {path: [SHA-256, size] or null}, as published
      /_demo/fault         ?match=REGEX&status=503&delay_ms=0&truncate=BYTES&percent=100&times=0, or ?clear=1
      /_demo/info          the live edge: epoch, newest, seconds per segment
    serve, main            the process
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import signal
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from email.utils import formatdate
from pathlib import Path

import uvloop
from aiohttp import WSMsgType, hdrs, web

from tests.demo import pki
from tests.demo.clock import seconds, stamp, wall
from tests.demo.content import DEFAULT_DIRECTORY, SEGMENT_SECONDS, SEGMENTS, Content, prepare
from tests.demo.files import write_whole
from tests.demo.ledger import SLICE_BYTES, Entry, Fault, Ledger, Throttle
from tests.demo.publishing import KEEP, Body, Publication, TooFarAhead, body, licence

HERE = Path(__file__).resolve().parent
NODE_MODULES = HERE.parent / "npm" / "node_modules"
SCRIPTS = {
    "hls.min.js": "hls.js/dist/hls.min.js",
    "dash.all.min.js": "dashjs/dist/legacy/umd/dash.all.min.js",
    "dash.mss.min.js": "dashjs/dist/legacy/umd/dash.mss.min.js",
    "shaka-player.compiled.js": "shaka-player/dist/shaka-player.compiled.js",
    "video.min.js": "video.js/dist/video.min.js",
    "p2p-media-loader-core.es.min.js": "p2p-media-loader-core/dist/p2p-media-loader-core.es.min.js",
    "p2p-media-loader-hlsjs.es.min.js": "p2p-media-loader-hlsjs/dist/p2p-media-loader-hlsjs.es.min.js",
}
ENTRY = web.RequestKey("entry", Entry)
FAULT = web.RequestKey("fault", Fault)
_PATTERN = random.Random(20).randbytes(1_000_003)  # a prime length: no alignment hides a byte that moved


def pattern(size: int) -> bytes:
    """The first `size` bytes of the deterministic file `/files/big.bin`."""
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


def wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end of a single byte range; None: send everything. An empty range is one that cannot be satisfied."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    end = min(size, int(match[2]) + 1) if match[2] else size
    return int(match[1]), max(int(match[1]), end) if int(match[1]) < size else int(match[1])


class Origin:
    """All handlers of one origin."""

    def __init__(self, content: Content, megabits_a_second: float) -> None:
        # As if it had been on air for a while: everything that may be fetched behind the live edge exists.
        epoch = wall() // SEGMENT_SECONDS * SEGMENT_SECONDS - (KEEP + SEGMENTS) * SEGMENT_SECONDS
        self.publication = Publication(content, epoch)
        self.ledger = Ledger()
        self._throttle = Throttle(megabits_a_second)
        self._faults: list[Fault] = []
        self._dice = random.Random(7)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._recorded], client_max_size=1 << 30)
        app.on_response_prepare.append(self._common_headers)
        routes = app.router
        routes.add_get("/live/{path:.*}", self._live)
        routes.add_get("/vod/{path:.*}", self._live)
        routes.add_post("/licence/clearkey", self._licence)
        routes.add_get("/time", self._time)
        routes.add_get("/player.html", self._page)
        routes.add_get("/scripts/{name}", self._script)
        routes.add_get("/files/big.bin", self._file)
        routes.add_route("PUT", "/upload", self._upload)
        routes.add_route("POST", "/upload", self._upload)
        routes.add_get("/ws", self._websocket)
        routes.add_get("/redirect", self._redirect)
        routes.add_get("/head", self._head)
        routes.add_get("/_demo/log", self._log)
        routes.add_get("/_demo/counts", self._counts)
        routes.add_post("/_demo/sha256", self._sha256)
        routes.add_get("/_demo/fault", self._fault)
        routes.add_get("/_demo/info", self._info)
        return app

    @web.middleware
    async def _recorded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Writes the ledger, also for requests that end badly; and strikes with faults."""
        if request.path.startswith("/_demo/"):
            return await handler(request)
        peer = request.transport.get_extra_info("peername") if request.transport else None
        entry = Entry(wall(), request.method, request.path, request.query_string, range=request.headers.get("Range"))
        entry.client, entry.port = peer[:2] if peer else ("", 0)
        request[ENTRY] = entry
        start = seconds()
        response: web.StreamResponse | None = None
        try:
            response = await self._struck(request) or await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.reason)
        finally:
            entry.ms = round((seconds() - start) * 1000, 1)
            if response is not None:
                entry.status = response.status
            if isinstance(response, web.Response) and isinstance(response.body, bytes) and request.method != "HEAD":
                entry.bytes = entry.size = len(response.body)  # small answers are handed over whole
            self.ledger.add(entry)
        return response

    async def _struck(self, request: web.Request) -> web.Response | None:
        fault = next((f for f in self._faults if f.strikes(request.path, self._dice)), None)
        if fault is None:
            return None
        request[FAULT] = fault
        await asyncio.sleep(fault.delay_ms / 1000)
        return web.Response(status=fault.status, text="a fault on demand\n") if fault.status else None

    @staticmethod
    async def _common_headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = "*"
        response.headers["Timing-Allow-Origin"] = "*"
        response.headers["Date"] = formatdate(wall(), usegmt=True)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        try:
            held = self.publication.awaited(request.path, request.query, self.publication.media(request.path), wall())
        except (TooFarAhead, ValueError) as error:
            raise web.HTTPBadRequest from error
        if held:
            await asyncio.sleep(held + 0.001)
        now = wall()
        found = self.publication.manifest(request.path, now) or self.publication.media(request.path)
        if found is None or not self.publication.available(found, now):
            raise web.HTTPNotFound
        if chunks := self.publication.chunks(found, now):
            return await self._send_growing(request, found, chunks)
        return await self._send(request, found)

    async def _send_growing(
        self, request: web.Request, found: Body, chunks: list[tuple[float, bytes]]
    ) -> web.StreamResponse:
        """The body while it is made: without a length, each chunk as soon as it is there."""
        entry, began = request[ENTRY], seconds()
        entry.kind, entry.size = found.kind, len(found.data)
        headers = {"Cache-Control": found.cache_control, "Content-Type": found.content_type}
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for after, chunk in chunks:
            await asyncio.sleep(began + after - seconds())
            await self._write(request, response, chunk)
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        size = min(int(request.query.get("bytes", "1000000")), 1 << 30)
        return await self._send(request, body("file", pattern(size), "application/octet-stream", "no-store"))

    async def _send(self, request: web.Request, found: Body) -> web.StreamResponse:
        """The body with validators and byte ranges, in slices under the speed limit, counted as they are written."""
        entry = request[ENTRY]
        entry.kind, entry.size = found.kind, len(found.data)
        headers = {"ETag": found.etag, "Cache-Control": found.cache_control, "Content-Type": found.content_type}
        headers["Accept-Ranges"] = "bytes"
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
        if found.etag in known or "*" in known:
            return web.Response(status=304, headers=headers)
        start, end, status = 0, len(found.data), 200
        if request.headers.get("If-Range", found.etag) == found.etag and (
            part := wanted_range(request.headers.get("Range", ""), len(found.data))
        ):
            start, end, status = *part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(found.data)}"
            if start >= end:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(found.data)}"})
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = end - start
        await response.prepare(request)
        if request.method != "HEAD":
            await self._write(request, response, found.data[start:end])
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
        entry, fault = request[ENTRY], request.get(FAULT)
        if request.transport is not None:
            # What lies in a buffer has not been sent: keep that little.
            request.transport.set_write_buffer_limits(high=2 * SLICE_BYTES)
        stop = fault.truncate if fault and fault.truncate >= 0 else len(data)
        for at in range(0, min(len(data), stop), SLICE_BYTES):
            piece = data[at : min(at + SLICE_BYTES, stop)]
            await self._throttle.take(len(piece))
            await response.write(piece)
            entry.bytes += len(piece)
        if stop < len(data) and request.transport is not None:
            await asyncio.sleep(0.05)
            request.transport.close()
            raise ConnectionResetError("broken off on demand")

    @staticmethod
    async def _time(_: web.Request) -> web.Response:
        return web.Response(text=stamp(wall()), headers={"Cache-Control": "no-store"})

    @staticmethod
    async def _page(_: web.Request) -> web.Response:
        text = (HERE / "player.html").read_text(encoding="utf-8")
        return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})

    @staticmethod
    async def _script(request: web.Request) -> web.StreamResponse:
        path = NODE_MODULES / SCRIPTS.get(request.match_info["name"], "missing")
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Cache-Control": "max-age=3600"})

    @staticmethod
    async def _licence(request: web.Request) -> web.Response:
        request[ENTRY].kind = "licence"
        return web.json_response(licence(await request.json()), headers={"Cache-Control": "no-store"})

    @staticmethod
    async def _upload(request: web.Request) -> web.Response:
        digest, size = hashlib.sha256(), 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            size += len(piece)
        return web.json_response({"method": request.method, "bytes": size, "sha256": digest.hexdigest()})

    @staticmethod
    async def _websocket(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 24)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    @staticmethod
    async def _redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={hdrs.LOCATION: "/files/big.bin?bytes=1000"})

    @staticmethod
    async def _head(_: web.Request) -> web.Response:
        return web.Response(body=pattern(1234), headers={"X-Demo": "head", "Cache-Control": "no-store"})

    async def _log(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        return web.json_response([asdict(entry) for entry in self.ledger.entries[since:]])

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response(self.ledger.counts())

    async def _sha256(self, request: web.Request) -> web.Response:
        answer: dict[str, list[str | int] | None] = {}
        for path in await request.json():
            found = self.publication.media(path)
            public = found is not None and self.publication.published(found, wall())
            answer[path] = [found.sha256, len(found.data)] if found is not None and public else None
        return web.json_response(answer)

    async def _fault(self, request: web.Request) -> web.Response:
        if "clear" in request.query:
            self._faults.clear()
        else:
            self._faults.append(Fault.read(request.query))
        return web.json_response([asdict(fault) for fault in self._faults])

    async def _info(self, _: web.Request) -> web.Response:
        now = wall()
        live = {"epoch": self.publication.epoch, "newest": self.publication.newest(now), "now": now}
        return web.json_response({**live, "segment_seconds": SEGMENT_SECONDS})


async def serve(origin: Origin, listen: str, files: pki.Pki, ready_file: Path | None) -> None:
    """Serves until a signal asks for the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    runner = web.AppRunner(origin.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host, int(port), ssl_context=context).start()
    address = runner.addresses[0]
    ready = {"url": f"https://{pki.ORIGIN}:{address[1]}", "address": address[0], "port": address[1]}
    if ready_file is not None:
        await asyncio.to_thread(write_whole, ready_file, json.dumps(ready))
    print(json.dumps(ready), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await ended.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="An HTTPS origin with an endless live event.")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--content", type=Path, default=DEFAULT_DIRECTORY)
    parser.add_argument("--pki", type=Path, required=True)
    parser.add_argument("--mbps", type=float, default=0, help="speed of all connections together; 0 is unlimited")
    parser.add_argument("--ready-file", type=Path)
    options = parser.parse_args()
    origin = Origin(Content(prepare(options.content)), options.mbps)
    # Not the loop of asyncio: in CPython 3.13.0 a TLS connection that is broken off in the middle of a body can leave
    # its file descriptor behind in the selector; the next connection that gets its number is accepted and never read.
    work = serve(origin, options.listen, pki.make(options.pki), options.ready_file)
    asyncio.run(work, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    main()
