"""What the agent learns from a request that goes to its origin, whoever carries it there.

Map: `ObservedAnswer` (what has come back to one request) · `ObservedAnswers.begin` (a request is about to be sent) ·
`head_came` (the answer's head; it may be a manifest's) · `ended` (the whole answer; its last byte may go on when this
returns) · `over` (it ended, be it early).

A manifest must be known before its player asks for the first segment of it. A small one is therefore held until the
agent has learnt it. A large or chunked one is streamed and copied, and only its end is held.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog
from mitmproxy import http

from ecdn_proxy.agent.api import AgentApi, ViewerRequest
from ecdn_proxy.core.http.answers import first_of
from ecdn_proxy.core.http.freshness import SAFE_METHODS
from ecdn_proxy.core.values import Headers
from ecdn_proxy.front.http.content_encoding import MANIFEST_BYTES_MAX, Undecodable, decode
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.sansio.tasks import Tasks

HELD_BYTES_MAX: Final = 1_048_576
"""A manifest up to this length is held until it is learnt; it arrives in one burst anyway."""
LEARNING_MAX_S: Final = 1.0
"""A manifest that takes longer to understand goes to its player before that; until then its segments pass."""
CONDITIONS: Final = ("if-none-match", "if-modified-since")
"""What makes an origin answer 304 to a GET (RFC 9110 section 15.4.5)."""
FORBIDDEN: Final = frozenset({401, 403})
_log = structlog.get_logger("ecdn.proxy")


@dataclass(slots=True)
class ObservedAnswer:
    """What has come back to a request that went to its origin."""

    viewer: ViewerRequest
    status: int = 0
    """0 until the head has come."""
    received_bytes: int = 0
    headers: Headers = ()
    copy: bytearray | None = None
    """The body so far, where it may be a manifest."""
    ended: bool = field(default=False)

    def body_came(self, data: bytes) -> bytes:
        """Count more of the body, copy it until it is too long for a manifest, and return it."""
        self.received_bytes += len(data)
        if self.copy is not None:
            self.copy += data
            if len(self.copy) > MANIFEST_BYTES_MAX:
                self.copy = None
        return data


class ObservedAnswers:
    """The answers to all requests that go to the origins of intercepted hosts."""

    def __init__(self, agent: AgentApi, interception: Interception) -> None:
        self._agent = agent
        self._interception = interception
        self._learning = Tasks(_report)

    async def close(self) -> None:
        """End what is still being learnt."""
        await self._learning.close()

    def begin(self, viewer: ViewerRequest, request: http.Request) -> ObservedAnswer:
        """A viewer's request is about to be sent: what comes back to it.

        The conditions of a browser that validates its copy of a manifest are taken out of `request` where the agent has
        to see the body.
        """
        try:
            whole = self._agent.needs_whole_body(viewer)
        except Exception:
            _log.exception("looking for conditions failed; the request passes as it is")
            whole = False
        if whole:
            for name in CONDITIONS:
                request.headers.pop(name, None)
        return ObservedAnswer(viewer)

    def head_came(self, answer: ObservedAnswer, host: str, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bool:
        """Note an answer's head; True when nothing of the answer may go on before `ended` has returned."""
        self._interception.origin_answered(host, status)
        answer.status = status
        answer.headers = tuple(
            (name.decode("latin-1").lower(), value.decode("utf-8", "replace")) for name, value in fields
        )
        if status in FORBIDDEN or answer.viewer.method not in SAFE_METHODS:
            # at once: the viewer may have all of this answer, and ask for more, before its end is told here
            self._tell(answer)
        if answer.viewer.method != "GET" or status in {101, 204, 304}:
            return False
        try:
            wanted = self._agent.may_be_manifest(answer.viewer, status, answer.headers)
        except Exception:
            _log.exception("looking for a manifest failed; the response passes")
            return False
        if not wanted:
            return False
        answer.copy = bytearray()
        length = first_of(answer.headers, "content-length") or ""
        return length.isdigit() and len(length) < 10 and int(length) <= HELD_BYTES_MAX

    async def ended(self, answer: ObservedAnswer) -> None:
        """All of an answer has come: learn it if it is a manifest."""
        body, answer.copy = answer.copy, None
        if body is not None:
            await self._learn(answer, bytes(body))
        self.over(answer)

    def over(self, answer: ObservedAnswer) -> None:
        """An answer has ended, be it early, or its viewer has left."""
        if answer.status and not answer.ended:
            answer.ended = True
            self._tell(answer)

    def _tell(self, answer: ObservedAnswer) -> None:
        try:
            self._agent.passed_to_origin(answer.viewer, answer.status, answer.received_bytes)
        except Exception:
            _log.exception("the books could not be kept; the response passes")

    async def _learn(self, answer: ObservedAnswer, body: bytes) -> None:
        try:
            plain = decode(body, first_of(answer.headers, "content-encoding") or "")
        except Undecodable as error:
            _log.warning("a manifest could not be decoded; its stream is not shared", why=str(error))
            return
        task = self._learning.begin(self._agent.manifest_arrived(answer.viewer, answer.headers, plain), "manifest")
        if not task.done():
            await asyncio.wait({task}, timeout=LEARNING_MAX_S)


def _report(name: str, error: BaseException) -> None:
    _log.error("a task failed", task=name, exc_info=error)
