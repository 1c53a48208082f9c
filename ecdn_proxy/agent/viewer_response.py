"""One viewer's answer on its way from the node to the gateway.

The performer puts in (`head`, `bytes_came`, `finished`, …), the gateway takes out (`begin`, `body`). What a slow
viewer has not taken yet is a segment at most, in memory anyway or a second copy of it, and slows nobody; only an answer
that belongs to this viewer alone can grow, and that one holds the origin back.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from ecdn_proxy.agent.api import Begun, Missing, OwnAnswer, ViewerRequest
from ecdn_proxy.core.download.pacing import Pace
from ecdn_proxy.wire.faults import Unavailable

HELD_BYTES_HIGH = 1_048_576
"""An own answer that the viewer does not take is paused at the origin from here on …"""
HELD_BYTES_LOW = 262_144
"""… and goes on from here."""


class StreamedResponse:
    """See `ecdn_proxy.agent.api.Delivery`."""

    def __init__(self, viewer: int, request: ViewerRequest, left: Callable[["StreamedResponse"], None]) -> None:
        self.viewer = viewer
        self.request = request
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._head: asyncio.Future[Begun | OwnAnswer | Missing] = self._loop.create_future()
        self._parts: deque[bytes | memoryview] = deque()
        self._held = 0
        self._pace = Pace(self._loop.time(), 0)
        self._given = 0
        self._more: asyncio.Future[None] | None = None
        self._over = False
        self._fault: str | None = None
        self._closed = False
        self.hold: Callable[[bool], None] | None = None
        """Pauses (True) and resumes (False) the origin of an own answer."""
        self._on_hold = False

    # ---- the gateway's side

    async def begin(self) -> Begun | OwnAnswer | Missing:
        """Wait for the head.

        Raises:
            Unavailable: no source, not even the origin, can answer.
        """
        return await self._head

    async def body(self) -> AsyncIterator[bytes | memoryview]:
        """The bytes, in order.

        Raises:
            Unavailable: the rest cannot come.
        """
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._held -= len(part)
                if self._on_hold and self._held <= HELD_BYTES_LOW and self.hold is not None:
                    self._on_hold = False
                    self.hold(False)
                self._given += len(part)
                if (wait_s := self._pace.due(self._given) - self._loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                yield part
            if self._fault is not None:
                raise Unavailable(self._fault)
            if self._over:
                return
            self._more = self._loop.create_future()
            await self._more

    async def close(self) -> None:
        """Let go; closing early means that the viewer left."""
        if not self._closed:
            self._closed = True
            self._parts.clear()
            if not self._head.done():
                self._head.cancel()
            self._left(self)

    # ---- the performer's side

    @property
    def begun(self) -> bool:
        """Whether the viewer has a head."""
        return self._head.done()

    @property
    def over(self) -> bool:
        """Whether everything, or a fault, has been put in."""
        return self._over or self._fault is not None

    def pace(self, kbps: int) -> None:
        """The viewer is given no more than this from its request on; see `ecdn_proxy.core.download.pacing`."""
        self._pace = Pace(self._pace.begun_at, kbps)

    def head(self, head: Begun | OwnAnswer | Missing) -> None:
        """The head is known."""
        if not self._head.done():
            self._head.set_result(head)

    def bytes_came(self, data: bytes | memoryview) -> None:
        """More of the body."""
        if self._closed:
            return
        self._parts.append(data)
        self._held += len(data)
        if self.hold is not None and not self._on_hold and self._held >= HELD_BYTES_HIGH:
            self._on_hold = True
            self.hold(True)
        self._wake()

    def finished(self) -> None:
        """That was all."""
        self._over = True
        self._wake()

    def failed(self, why: str) -> None:
        """The rest cannot come."""
        self._fault = why
        if not self._head.done():
            self._head.set_exception(Unavailable(why))
            self._head.exception()  # the gateway may have gone already
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
