"""Fetches from origins: a viewer's own request for one segment, streamed.

    OriginClient(ca_file, hosts, allow_local)
        start(url, headers, range_header, if_range, consumer) -> Fetch      prepare(url)      close()
    Fetch            abort()  pause()  resume()
    FetchConsumer    reached at most once, head once, then data, then exactly one of end and fail

The viewer's headers go along, for they carry its authorisation; headers of its connection, its cache or its own range
do not. Certificates are always verified, against the system's roots and those that IT added. An answer that is cut
short ends in `fail`, never in `end`. Redirects are followed for this viewer only; at another origin its credentials are
left out. Which addresses may be connected to is decided in io/address_guard.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from cachetools import TTLCache
from multidict import CIMultiDict
from yarl import URL

from ecdn_proxy.io import clock
from ecdn_proxy.io.address_guard import Forbidden, GuardedResolver, guarded_socket, open_socket
from ecdn_proxy.io.sent_bytes import unacknowledged
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable

Headers = tuple[tuple[str, str], ...]

CONNECT_S = 240.0
"""How long a connection may take, as in Chromium. The node asks on a new one earlier; a viewer's own fetch waits."""
SILENCE_S = 300.0
"""An origin that sends nothing for this long is gone, as for Chromium. The node is more patient than that nowhere."""
REACHED_S = 0.1
"""An origin that has not answered by then, but confirmed the request, takes its time: a round trip is long over."""
READ_BYTES = 65_536
REDIRECTS_MAX = 5
CONNECTIONS_PER_HOST_MAX = 16
PREPARED_S = 600.0
"""An origin is prepared once in this time: where peers serve most segments, more connections would go unused."""
PREPARED_MAX = 256
"""How many origins are remembered as prepared."""
_FIELD_BYTES_MAX = 32_768
"""Cookies and token headers of streaming services reach 16 KiB."""
_REDIRECTS = {301, 302, 303, 307, 308}

_NOT_SENT = {
    "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect",
    "accept-encoding", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
}  # fmt: skip
_CREDENTIALS = {"cookie", "authorization"}


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an origin's answer, redirects followed."""

    status: int
    reason: str
    headers: Headers = field(repr=False)
    """In the order they came, names in lower case."""
    framed: bool
    """The body's end differs from a broken connection (Content-Length or chunks). What is not framed is not shared."""


class FetchConsumer(Protocol):
    """Whoever wants what a fetch brings; told nothing more after `abort`."""

    def reached(self) -> None:
        """The origin has the request, and takes its time; not told of one that answers at once."""
        ...

    def head(self, response: Response, /) -> None:
        """The origin has answered."""
        ...

    def data(self, data: bytes, /) -> None:
        """More of the body has come."""
        ...

    def end(self) -> None:
        """The body is complete."""
        ...

    def fail(self, why: str, /) -> None:
        """The rest cannot come."""
        ...


def request_headers(headers: Headers, range_header: str | None, if_range: str | None) -> Headers:
    """A viewer's headers as the origin gets them (RFC 9110 section 7.6.1)."""
    named = {
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    }
    kept = [(name, value) for name, value in headers if _is_sent(name.lower(), named)]
    kept.append(("accept-encoding", "identity"))
    if range_header is not None:
        kept.append(("range", range_header))
        if if_range is not None:
            kept.append(("if-range", if_range))
    return tuple(kept)


def _is_sent(name: str, named: set[str]) -> bool:
    return name not in _NOT_SENT and name not in named and not name.startswith(("proxy-", "x-ecdn-", ":"))


class _Patience:
    """Watches the connection on which a request was sent, until its answer comes."""

    def __init__(self, reached: Callable[[], None]) -> None:
        self._reached = reached
        self._timer: asyncio.TimerHandle | None = None
        self._done = False

    def sent_on(self, transport: asyncio.BaseTransport) -> None:
        """A request was sent; where one answer redirects to another, there are several."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._done:
            self._timer = asyncio.get_running_loop().call_later(REACHED_S, self._look, transport)

    def _look(self, transport: asyncio.BaseTransport) -> None:
        if transport.is_closing() or unacknowledged(transport):
            self.sent_on(transport)
        else:
            self._done = True
            self._reached()

    def end(self) -> None:
        """The answer came, or nobody waits for it any more."""
        self._done = True
        if self._timer is not None:
            self._timer.cancel()


_patience: ContextVar[_Patience | None] = ContextVar("_patience", default=None)
"""Of the fetch whose task this is: aiohttp does not tell its callers which connection it uses."""


class _WatchedRequest(aiohttp.ClientRequest):
    """A request that says on which connection it was sent."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Send the request."""
        response = await super().send(conn)
        if (patience := _patience.get()) is not None and conn.transport is not None:
            patience.sent_on(conn.transport)
        return response


class Fetch:
    """One running fetch."""

    def __init__(self) -> None:
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._task: asyncio.Task[None] | None = None
        self._aborted = False

    def abort(self) -> None:
        """Stop; the consumer is told nothing more."""
        self._aborted = True
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        """Read nothing more until `resume`: whoever gets the body is slow."""
        self._may_read.clear()

    def resume(self) -> None:
        """Read again."""
        self._may_read.set()

    def begin(self, task: asyncio.Task[None]) -> None:
        """Remember the task that does the work, so that `abort` can cancel it."""
        self._task = task

    def wanted(self) -> bool:
        """Whether the fetch was not aborted."""
        return not self._aborted

    async def may_read(self) -> None:
        """Wait while paused."""
        if not self._may_read.is_set():
            await self._may_read.wait()


class OriginClient:
    """All fetches of this agent; connections are kept and used again."""

    def __init__(self, ca_file: str, hosts: Mapping[str, str], *, allow_local: bool) -> None:
        """Make the client on a running event loop.

        Raises:
            Unavailable: the file with extra roots cannot be used.
        """
        connector = aiohttp.TCPConnector(
            resolver=GuardedResolver(hosts),
            ssl=_context(ca_file),
            limit=0,
            limit_per_host=CONNECTIONS_PER_HOST_MAX,
            ttl_dns_cache=30,
            socket_factory=open_socket if allow_local else guarded_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
            request_class=_WatchedRequest,
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            skip_auto_headers=("accept", "accept-encoding", "user-agent"),
            trust_env=False,
            max_field_size=_FIELD_BYTES_MAX,
            max_line_size=_FIELD_BYTES_MAX,
        )
        self._connector = connector
        self._prepared: TTLCache[URL, None] = TTLCache(PREPARED_MAX, PREPARED_S, timer=clock.monotonic)
        self._tasks = Tasks(_our_fault)

    async def prepare(self, url: str) -> None:
        """Connect to the origin of `url`, so that a segment that is soon wanted comes some round trips sooner."""
        try:
            where = _checked(URL(url, encoded=True))
            origin = where.origin()
            if origin in self._prepared:
                return
            self._prepared[origin] = None
            request = aiohttp.ClientRequest("GET", origin)
            connection = await self._connector.connect(request, [], self._session.timeout)
        except (aiohttp.ClientError, OSError, ValueError, Unavailable):
            return  # the fetch will say what is wrong
        connection.release()

    def start(
        self,
        url: str,
        headers: Headers,
        range_header: str | None,
        if_range: str | None,
        consumer: FetchConsumer,
        *,
        conditions: Headers = (),
    ) -> Fetch:
        """Ask for `url`.

        Range, validator (If-Range) and conditions (If-None-Match, If-Modified-Since) are this request's own; those
        among the viewer's headers are not sent.
        """
        fetch = Fetch()
        sent = request_headers(headers, range_header, if_range) + conditions
        work = self._run(fetch, url, sent, consumer)
        fetch.begin(self._tasks.start(work, "fetch"))
        return fetch

    async def close(self) -> None:
        """Abort what runs and close every connection."""
        await self._tasks.close()
        await self._session.close()

    async def _run(self, fetch: Fetch, url: str, headers: Headers, consumer: FetchConsumer) -> None:
        patience = _Patience(consumer.reached)
        _patience.set(patience)
        try:
            response = await self._ask(url, headers)
            patience.end()
            try:
                await self._pump(fetch, response, consumer)
            finally:
                response.release()  # and close it, unless the body was read to its end
        except (aiohttp.ClientError, OSError, Unavailable) as error:
            if fetch.wanted():
                consumer.fail(_why(error))
        else:
            if fetch.wanted():
                consumer.end()
        finally:
            patience.end()

    async def _pump(self, fetch: Fetch, response: aiohttp.ClientResponse, consumer: FetchConsumer) -> None:
        consumer.head(_head(response))
        content = response.content
        while fetch.wanted():
            await fetch.may_read()
            data = await content.readany()
            if not data or not fetch.wanted():
                return
            consumer.data(data)

    async def _ask(self, url: str, headers: Headers) -> aiohttp.ClientResponse:
        """Ask, and follow redirects to the first answer that is none."""
        try:
            return await self._follow(_checked(URL(url, encoded=True)), headers)
        except aiohttp.ClientConnectorError:  # also a ValueError when it is about a certificate
            raise
        except ValueError as error:  # aiohttp and yarl say so of an address or a field that cannot be sent
            raise Unavailable("not a request that can be sent") from error

    async def _follow(self, where: URL, headers: Headers) -> aiohttp.ClientResponse:
        for _ in range(REDIRECTS_MAX + 1):
            response = await self._session.get(where, headers=CIMultiDict(headers), allow_redirects=False)
            target = response.headers.get("location")
            if response.status not in _REDIRECTS or not target:
                return response
            response.release()
            following = _checked(where.join(URL(target, encoded=True)))
            if where.scheme == "https" and following.scheme != "https":
                raise Unavailable("the origin redirects from https to http")
            if following.origin() != where.origin():
                headers = tuple(each for each in headers if each[0].lower() not in _CREDENTIALS)
            where = following
        raise Unavailable(f"the origin redirects more than {REDIRECTS_MAX} times")


def _our_fault(name: str, error: BaseException) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": f"{name} failed", "exception": error})


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python 3.13 also checks the letter of X.509, as no browser does: roots of companies often lack a key identifier
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Unavailable(f"the file with extra roots, {ca_file}, cannot be used: {error}") from error
    return context


def _checked(url: URL) -> URL:
    if url.scheme not in {"http", "https"} or not url.host or url.user is not None or url.password is not None:
        raise Unavailable("not a plain http or https address")
    return url.with_fragment(None)


def _head(response: aiohttp.ClientResponse) -> Response:
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers)
    names = {name for name, _ in headers}
    framed = bool(names & {"content-length", "transfer-encoding"}) or response.status in {204, 304}
    return Response(response.status, response.reason or "", headers, framed)


def _why(error: BaseException) -> str:
    """What went wrong, in a sentence without the URL, which may carry a token."""
    if isinstance(error, Unavailable):
        return error.why
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the origin's certificate is not to be trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"no TLS with the origin: {error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        if isinstance(inner, Forbidden):
            return f"the origin is refused: {inner}"
        return f"the origin cannot be reached: {inner.strerror}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the origin's answer was cut short"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"the origin was silent for {SILENCE_S:g} s"
    if isinstance(error, TimeoutError):
        return "the origin did not answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the origin closed the connection without an answer"
    return f"the fetch failed: {type(error).__name__}"
