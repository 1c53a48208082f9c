"""What the agent learns from a request that goes to its origin, whoever carries it there.

Map: `ObservedAnswer` (one request's books: what has come back) · `ObservedAnswers.answered` (the head; may be a
manifest's) · `ended` (the whole answer; its last byte may go on when this returns) · `over` (it ended, be it early).

A manifest must be known before its player asks for the first segment of it. A small one is therefore held until the
agent has learnt it; a large or chunked one is streamed and copied, and its end waits.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from ecdn_proxy.agent.api import AgentApi, ViewerRequest
from ecdn_proxy.core.http.answers import first_of
from ecdn_proxy.core.values import Headers
from ecdn_proxy.front.http.content_encoding import MANIFEST_BYTES_MAX, Undecodable, decode
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.sansio.tasks import Tasks

HELD_BYTES_MAX: Final = 1_048_576
"""A manifest up to this length is held until it is learnt; it arrives in one burst anyway."""
LEARNING_MAX_S: Final = 1.0
"""A manifest that takes longer to understand reaches its player before that; the segments meanwhile pass."""
FORBIDDEN: Final = frozenset({401, 403})
_log = structlog.get_logger("ecdn.proxy")


@dataclass(slots=True)
class ObservedAnswer:
    """A request on its way to the origin: what has come back."""

    viewer: ViewerRequest
    status: int = 0
    received: int = 0
    headers: Headers = ()
    copy: bytearray | None = None
    """The body so far, where it may be a manifest."""
    ended: bool = field(default=False)

    def take(self, data: bytes) -> bytes:
        """More of the body: counted, and copied until it is too long for a manifest."""
        self.received += len(data)
        if self.copy is not None:
            self.copy += data
            if len(self.copy) > MANIFEST_BYTES_MAX:
                self.copy = None
        return data


class ObservedAnswers:
    """The books of all passing requests to intercepted hosts."""

    def __init__(self, agent: AgentApi, interception: Interception) -> None:
        self._agent = agent
        self._interception = interception
        self._learning = Tasks(_report)

    async def close(self) -> None:
        """End what is still being learnt."""
        await self._learning.close()

    def answered(self, passage: ObservedAnswer, host: str, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bool:
        """The answer's head; whether nothing of it may go on before `ended` has returned."""
        self._interception.answered(host, status)
        passage.status = status
        passage.headers = tuple(
            (name.decode("latin-1").lower(), value.decode("utf-8", "replace")) for name, value in fields
        )
        if status in FORBIDDEN:
            # at once: the viewer may have all of this answer, and ask for more, before its end is told here
            self._pass(passage)
        if passage.viewer.method != "GET" or status in {101, 204, 304}:
            return False
        try:
            wanted = self._agent.may_be_manifest(passage.viewer, status, passage.headers)
        except Exception:
            _log.exception("looking for a manifest failed; the response passes")
            return False
        if not wanted:
            return False
        passage.copy = bytearray()
        length = first_of(passage.headers, "content-length") or ""
        return length.isdigit() and len(length) < 10 and int(length) <= HELD_BYTES_MAX

    async def ended(self, passage: ObservedAnswer) -> None:
        """All of the answer has come."""
        body, passage.copy = passage.copy, None
        if body is not None:
            await self._learn(passage, bytes(body))
        self.over(passage)

    def over(self, passage: ObservedAnswer) -> None:
        """The answer has ended, be it early, or its viewer has left."""
        if passage.status and not passage.ended:
            passage.ended = True
            self._pass(passage)

    def _pass(self, passage: ObservedAnswer) -> None:
        try:
            self._agent.passed_to_origin(passage.viewer, passage.status, passage.received)
        except Exception:
            _log.exception("the books could not be kept; the response passes")

    async def _learn(self, passage: ObservedAnswer, body: bytes) -> None:
        try:
            plain = decode(body, first_of(passage.headers, "content-encoding") or "")
        except Undecodable as error:
            _log.warning("a manifest could not be decoded; its stream is not shared", why=str(error))
            return
        task = self._learning.begin(self._agent.manifest_arrived(passage.viewer, passage.headers, plain), "manifest")
        if not task.done():
            await asyncio.wait({task}, timeout=LEARNING_MAX_S)


def _report(name: str, error: BaseException) -> None:
    _log.error("a task failed", task=name, exc_info=error)
