"""A small origin on loopback that plays what a test tells it to, and notes what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

BODY = bytes(range(256)) * 512
LIVE = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:1
#EXTINF:2.0,
1.ts
#EXTINF:2.0,
2.ts
#EXTINF:2.0,
3.ts
"""


class Origin:
    """`answers` by path; what is not there is BODY with a validator and an hour's life."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.ended = asyncio.Event()
        """A viewer or a fetch went away while it was being answered."""
        self.go_on = asyncio.Event()
        """Lets an answer of `slowly` end."""
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if (own := self.answers.get(request.path)) is not None:
            return await own(request)
        if request.path.endswith(".m3u8"):
            return web.Response(text=LIVE, content_type="application/vnd.apple.mpegurl")
        return self.segment(request)

    @staticmethod
    def segment(request: web.Request, **more: str) -> web.Response:
        headers = {"Cache-Control": "public, max-age=3600", "ETag": '"v1"', **more}
        span = request.http_range
        if span.start is None:
            return web.Response(body=BODY, headers=headers, content_type="video/mp2t")
        part = BODY[span.start : span.stop]
        headers["Content-Range"] = f"bytes {span.start}-{span.start + len(part) - 1}/{len(BODY)}"
        return web.Response(status=206, body=part, headers=headers, content_type="video/mp2t")

    async def slowly(self, request: web.Request) -> web.StreamResponse:
        """The first half, then the rest when it may go on."""
        headers = {"Content-Length": str(len(BODY)), "Content-Type": "video/mp2t", "Cache-Control": "max-age=60"}
        stream = web.StreamResponse(headers=headers)
        try:
            await stream.prepare(request)
            await stream.write(BODY[: len(BODY) // 2])
            await self.go_on.wait()
            await stream.write(BODY[len(BODY) // 2 :])
        except (asyncio.CancelledError, ConnectionError):
            self.ended.set()
            raise
        return stream

    @staticmethod
    def growing(
        body: bytes, chunk_bytes: int, every_s: float, written: list[float] | None = None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A body that is made while it is sent, from the first request on: without length and validator (LL-DASH).

        Args:
            body: all of it.
            chunk_bytes: what the encoder makes at a time.
            every_s: how often it does.
            written: gets when each chunk was first written, on the loop's clock.
        """
        made_since: list[float] = []

        async def answer(request: web.Request) -> web.StreamResponse:
            loop = asyncio.get_running_loop()
            made_since.append(loop.time())
            stream = web.StreamResponse(headers={"Content-Type": "video/mp4", "Cache-Control": "max-age=60"})
            stream.enable_chunked_encoding()
            await stream.prepare(request)
            for number, at in enumerate(range(0, len(body), chunk_bytes)):
                await asyncio.sleep(made_since[0] + number * every_s - loop.time())
                if written is not None and len(written) == number:
                    written.append(loop.time())
                await stream.write(body[at : at + chunk_bytes])
            await stream.write_eof()
            return stream

        return answer

    @staticmethod
    def plain(
        status: int = 200, body: bytes = BODY, headers: Mapping[str, str] | None = None
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """The same for everyone who asks."""

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, body=body, headers={"Content-Type": "video/mp2t", **(headers or {})})

        return answer


@asynccontextmanager
async def serving() -> AsyncIterator[Origin]:
    origin = Origin()
    app = web.Application()
    app.router.add_get("/{path:.*}", origin.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    origin.port = runner.addresses[0][1]
    try:
        yield origin
    finally:
        origin.go_on.set()
        await runner.cleanup()
