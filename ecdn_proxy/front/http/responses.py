"""Where a viewer's request is answered, and with which head and bytes; for whoever reads and writes the connection.

    route_of(agent, request, inside)      a clean request -> where it is answered
    reply_to(response, …)                 waits for a response's head -> Reply
    from_memory(segment, …)               a whole segment -> Reply
    brief(status, why)                    a sentence instead of a segment -> Reply
    Reply.parts()                         exactly the bytes that the head promises

The gateway and the lean path answer by this file alone, so that a player cannot tell which of them answered.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from mitmproxy import http

from ecdn_proxy.agent.api import (
    AgentApi,
    OwnHead,
    PassToOrigin,
    RefusedHead,
    Route,
    SharedHead,
    ViewerRequest,
    ViewerResponse,
)
from ecdn_proxy.core.http.answers import REASONS, Circumstance, answer_for, end_to_end, first_of
from ecdn_proxy.core.values import Headers, StoredSegment
from ecdn_proxy.front.http.sanitize import viewer_headers
from ecdn_proxy.wire.faults import Unavailable

PART_BYTES: Final = 131_072
"""Small enough that a slow viewer holds back the rest, and that TLS works within the processor's cache."""
_NO_BODY: Final = frozenset({204, 304})
_log = structlog.get_logger("ecdn.proxy")


@dataclass(slots=True)
class Reply:
    """One response to a viewer. Without a body `body` is None, whatever Content-Length says."""

    status: int
    reason: str
    headers: Headers
    body: AsyncIterator[bytes | memoryview] | None = None
    skip: int = 0
    """How many bytes of `body` are left out at its beginning."""
    length: int | None = None
    """How many bytes are sent after those; None for all that follow, whose number only their end tells."""

    async def parts(self) -> AsyncIterator[memoryview]:
        """Yield the bytes to send, at most PART_BYTES at once.

        Raises:
            Unavailable: the rest cannot come. Break the connection, so that the player knows.
        """
        left, skip = self.length, self.skip
        if self.body is None or left == 0:
            return
        async for chunk in self.body:
            part = memoryview(chunk)[skip:]
            skip = max(0, skip - len(chunk))
            if left is not None:
                part = part[:left]
                left -= len(part)
            for at in range(0, len(part), PART_BYTES):
                yield part[at : at + PART_BYTES]
            if left == 0:
                return
        if left or skip:
            raise Unavailable("the segment ended early")


async def reply_to(
    response: ViewerResponse, method: str, headers: Headers, utc: Callable[[], float], *, show_source: bool
) -> Reply:
    """Wait for the head of a viewer's response; the caller releases the response.

    Args:
        response: just opened.
        method: GET or HEAD.
        headers: the viewer's, names in lower case.
        utc: the wall clock, seconds since 1970.
        show_source: Settings.source_headers.

    Raises:
        Unavailable: no source can answer.
    """
    match await response.head():
        case SharedHead() as shared:
            answer = answer_for(method, headers, shared.head, Circumstance(shared.source, utc(), show_source))
            body = response.body() if answer.body else None
            return Reply(answer.status, answer.reason, answer.headers, body, answer.skip, answer.length)
        case OwnHead() as own:
            kept = end_to_end(own.headers)
            if method == "HEAD" or own.status in _NO_BODY:
                return Reply(own.status, own.reason, kept)
            announced = first_of(own.headers, "content-length") or ""
            length = int(announced) if announced.isascii() and announced.isdigit() else None
            return Reply(own.status, own.reason, kept, response.body(), 0, length)
        case RefusedHead(status, why):
            return brief(status, why)


def from_memory(segment: StoredSegment, viewer: ViewerRequest, circumstance: Circumstance) -> Reply:
    """The reply that a whole segment gives to a viewer's request."""
    answer = answer_for(viewer.method, viewer.headers, segment.head, circumstance)
    body = _whole(segment.body) if answer.body else None
    return Reply(answer.status, answer.reason, answer.headers, body, answer.skip, answer.length)


def brief(status: int, why: str) -> Reply:
    """A sentence instead of a segment."""
    text = f"{why}\n".encode()
    headers = (
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", str(len(text))),
        ("cache-control", "no-store"),
        ("cache-status", "ecdn; fwd=miss"),
        ("access-control-allow-origin", "*"),
    )
    return Reply(status, REASONS.get(status, ""), headers, _whole(text), 0, len(text))


async def _whole(body: bytes) -> AsyncIterator[memoryview]:
    yield memoryview(body)


def route_of(agent: AgentApi, request: http.Request, *, inside: bool) -> tuple[ViewerRequest, Route]:
    """A clean request as the agent reads it, and where it is answered; `inside` says that its host is intercepted."""
    viewer = ViewerRequest(request.method, request.url, viewer_headers(request))
    if not inside:
        return viewer, PassToOrigin("not a streaming host")
    if has_body(request) or "upgrade" in request.headers:
        return viewer, PassToOrigin("not a plain request")
    if not all(value.isascii() for _, value in viewer.headers):
        return viewer, PassToOrigin("fields that are not ASCII")
    try:
        return viewer, agent.route(viewer)
    except Exception:
        _log.exception("sorting failed; the request passes")
        return viewer, PassToOrigin("sorting failed")


def has_body(request: http.Request) -> bool:
    """Whether a body follows a request's head."""
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
