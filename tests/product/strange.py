"""A second origin that does what the demo's never would; in this process, so that a test can write its answers.

Map:
    Strange        paths to handlers; `asked` keeps every request as it came
    playlist       a short recording
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from tests.demo import pki

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HOST = f"strange.{pki.DOMAIN}"


@dataclass(frozen=True)
class Asked:
    """One request as this origin saw it."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Strange:
    """The origin `HOST`; everything else is 404."""

    handlers: dict[str, Handler] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    port: int = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, files: pki.Pki) -> AsyncIterator[Self]:
        strange = cls()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", strange._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        strange.port = runner.addresses[0][1]
        strange.url = f"https://{HOST}:{strange.port}"
        try:
            yield strange
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.method, request.path, headers))
        handler = self.handlers.get(request.path)
        return await handler(request) if handler is not None else web.Response(status=404)

    def says(self, path: str, body: bytes, content_type: str, **headers: str) -> None:
        """Answers `path` with this body always."""
        fields = {"Content-Type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body, headers=fields)

        self.handlers[path] = answer

    def times(self, path: str) -> int:
        """How often `path` was asked for."""
        return sum(asked.path == path for asked in self.asked)


def playlist(*urls: str) -> bytes:
    """A recording of these segments."""
    rows = "".join(f"#EXTINF:2.0,\n{url}\n" for url in urls)
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
    return f"{head}{rows}#EXT-X-ENDLIST\n".encode()
