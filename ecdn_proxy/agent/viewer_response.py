"""One viewer's response on its way from the node to the front.

    performer ──► set_head  add_body  finish | fail ──► StreamedResponse ──► head()  body()  release() ──► front

What a viewer has not taken yet waits here. Of a shared answer that is one segment at most, which is in memory anyway,
and it slows nobody down. An answer that is this viewer's own can be of any length: above `HELD_BYTES_HIGH` its origin
is paused.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from ecdn_proxy.agent.api import OwnHead, RefusedHead, SharedHead, ViewerRequest
from ecdn_proxy.core.download.pacing import Pace
from ecdn_proxy.wire.faults import Unavailable

HELD_BYTES_HIGH = 1_048_576
"""The origin of a viewer's own answer is paused when this much of it waits …"""
HELD_BYTES_LOW = 262_144
"""… and resumed when no more than this does."""


class ResponseServer(Protocol):
    """Who fills responses."""

    def response_released(self, response: "StreamedResponse") -> None:
        """The front takes nothing more of a response, whole or not."""
        ...


class Pausable(Protocol):
    """A fetch that can be held back."""

    def pause(self) -> None:
        """Read no more for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...


class StreamedResponse:
    """The `ecdn_proxy.agent.api.ViewerResponse` of one viewer; belongs to one event loop."""

    def __init__(self, viewer: int, request: ViewerRequest, server: ResponseServer) -> None:
        self.viewer = viewer
        """The viewer's number, by which the node names it."""
        self.request = request
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._head: asyncio.Future[SharedHead | OwnHead | RefusedHead] = self._loop.create_future()
        self._parts: deque[bytes | memoryview] = deque()
        self._held_bytes = 0
        self._given_bytes = 0
        self._pace = Pace(self._loop.time(), 0)
        self._more: asyncio.Future[None] | None = None
        self._finished = False
        self._fault: str | None = None
        self._released = False
        self._own_fetch: Pausable | None = None
        self._fetch_is_paused = False

    # ---- the front's side

    async def head(self) -> SharedHead | OwnHead | RefusedHead:
        """Wait for the head.

        Raises:
            Unavailable: no source can answer, not even the origin.
        """
        return await self._head

    async def body(self) -> AsyncIterator[bytes | memoryview]:
        """The body's bytes in order, at the pace that was set.

        Raises:
            Unavailable: the rest cannot come; what came before has been given.
        """
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._held_bytes -= len(part)
                if self._fetch_is_paused and self._held_bytes <= HELD_BYTES_LOW and self._own_fetch is not None:
                    self._fetch_is_paused = False
                    self._own_fetch.resume()
                self._given_bytes += len(part)
                if (wait_s := self._pace.due(self._given_bytes) - self._loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                yield part
            if self._fault is not None:
                raise Unavailable(self._fault)
            if self._finished:
                return
            self._more = self._loop.create_future()
            await self._more

    async def release(self) -> None:
        """The front takes nothing more. Before the body's end this tells the node that the viewer left."""
        if not self._released:
            self._released = True
            self._parts.clear()
            if not self._head.done():
                self._head.cancel()
            self._server.response_released(self)

    # ---- the performer's side

    @property
    def has_head(self) -> bool:
        """Whether the viewer has a head, or a fault in its place."""
        return self._head.done()

    def set_pace(self, kbps: int) -> None:
        """Give the viewer no more than `kbps` kbit/s, counted from its request on; 0 is no limit."""
        self._pace = Pace(self._pace.begun_at, kbps)

    def set_head(self, head: SharedHead | OwnHead | RefusedHead) -> None:
        """The head is known; a second one is ignored."""
        if not self._head.done():
            self._head.set_result(head)

    def set_own_head(self, head: OwnHead, fetch: Pausable) -> None:
        """The answer is this viewer's own; `fetch` brings it and is paused while the viewer is slow."""
        self._own_fetch = fetch
        self.set_head(head)

    def add_body(self, data: bytes | memoryview) -> None:
        """More of the body has come."""
        if self._released:
            return
        self._parts.append(data)
        self._held_bytes += len(data)
        if self._own_fetch is not None and not self._fetch_is_paused and self._held_bytes >= HELD_BYTES_HIGH:
            self._fetch_is_paused = True
            self._own_fetch.pause()
        self._wake_reader()

    def finish(self) -> None:
        """The body is complete."""
        self._finished = True
        self._wake_reader()

    def fail(self, why: str) -> None:
        """The rest cannot come; before the head, none of it."""
        self._fault = why
        if not self._head.done():
            self._head.set_exception(Unavailable(why))
            self._head.exception()  # asked here, for the front may have gone already, and asyncio would complain
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
