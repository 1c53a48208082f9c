"""The origin behind a site's link: a head after its first byte's time, then the body through the shared link.

    respond(fetch, resource, …)   the head and the part of a resource that a fetch asks for
    Origin.answer(host, …)        for a node: OriginReached?, OriginAnswered, OriginSent …, OriginEnded
    Origin.send(host, …)          for a viewer that the swarm passed on
    Origin.hand_over(host, …)     a node's running fetch that becomes its viewer's

What the origin has, and how it answers, comes from outside: the simulator's `LiveStream`, or a test's script.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ecdn_proxy.core.events import FetchOrigin, OriginAnswered, OriginEnded, OriginReached, OriginSent
from ecdn_proxy.core.values import Headers
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.links import CHUNK_BYTES, Flow, SharedLink
from ecdn_proxy.sim.virtual_clock import UTC_MINUS_NOW, VirtualClock

REACHED_S = 0.1
"""A fetch that has no answer after so many seconds is told that the origin has its request, as by `io.origin`."""


@dataclass(eq=False, slots=True, kw_only=True)
class OriginResource:
    """What the origin has at a URL."""

    url: str
    body: bytes
    chunk_bytes: int = CHUNK_BYTES
    """The body is read in chunks of this size, which all fetches share."""
    origin_bytes: float = 0.0
    """Bytes of the body that the site's link has carried, all fetches together."""
    _chunks: list[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = self.chunk_bytes
        self._chunks = [self.body[at : at + size] for at in range(0, len(self.body), size)]

    def read(self, at: int, size_bytes: int) -> bytes:
        """Bytes of the body from `at` on."""
        nth, rest = divmod(at, self.chunk_bytes)
        chunk = self._chunks[nth]
        return chunk if not rest and len(chunk) == size_bytes else self.body[at : at + size_bytes]


@dataclass(slots=True)
class OriginResponse:
    """The origin's answer to one fetch."""

    status: int
    headers: Headers
    resource: OriginResource
    begins: int
    """The first byte of the body that is sent."""
    first_byte_s: float
    """Seconds until the head arrives."""
    hangs: bool = False
    """The connection is no good: the origin does not get the request before it answers."""
    stalls_after_bytes: int | None = None
    """After the chunk in which so many bytes of the body are reached nothing more comes; the connection stays open."""


def respond(fetch: FetchOrigin, resource: OriginResource, headers: Headers, *, first_byte_s: float) -> OriginResponse:
    """The whole resource (200), or what a ranged fetch asks for, to the resource's end (206)."""
    status, begins, size = 200, 0, len(resource.body)
    if fetch.ranged:
        status, begins = 206, fetch.first_byte
        headers = (*headers, ("content-range", f"bytes {begins}-{size - 1}/{size}"))
    headers = (*headers, ("content-length", str(size - begins)))
    return OriginResponse(status, headers, resource, begins, first_byte_s)


class Origin:
    """One origin, and the link of the site to it."""

    def __init__(self, clock: VirtualClock, link: SharedLink) -> None:
        self._clock = clock
        self.link = link
        self.link_bytes: dict[int, float] = {}
        """What the link carried in each second of virtual time; a chunk counts when its last byte comes."""

    def answer(self, host: Host, fetch: int, response: OriginResponse) -> Flow:
        """Answer a node's fetch; the fetch stands in `Host.fetches` until its body has ended."""
        resource, begins, stalls_after = response.resource, response.begins, response.stalls_after_bytes
        size = len(resource.body) - begins
        flow = host.fetches[fetch] = self._flow(resource, size)

        def arrived(size_bytes: int) -> None:
            sent = size - flow.left_bytes
            if size_bytes:
                host.feed(OriginSent(fetch, resource.read(begins + sent - size_bytes, size_bytes)))
            if not flow.left_bytes and flow.wanted:
                host.fetches.pop(fetch, None)
                host.feed(OriginEnded(fetch))
            elif stalls_after is not None and sent >= stalls_after:
                self.link.remove(flow)

        def answered() -> None:
            if flow.wanted:
                utc = self._clock.now + UTC_MINUS_NOW
                host.feed(OriginAnswered(fetch, response.status, response.headers, utc))
            if flow.wanted:
                self._begin(flow)

        flow.arrived = arrived
        if response.first_byte_s > REACHED_S and not response.hangs:
            reached = OriginReached(fetch)
            self._clock.at(self._clock.now + REACHED_S, lambda: host.feed(reached) if flow.wanted else None)
        self._clock.at(self._clock.now + response.first_byte_s, answered)
        return flow

    def send(
        self, host: Host, number: int, resource: OriginResource, *, first_byte_s: float, whole: Callable[[], None]
    ) -> None:
        """Answer a viewer's own request, which stands in `Host.fetches` under `number`; `whole` is told of the end."""
        flow = host.fetches[number] = self._flow(resource, len(resource.body))
        self.hand_over(host, number, whole)
        self._clock.at(self._clock.now + first_byte_s, lambda: self._begin(flow) if flow.wanted else None)

    @staticmethod
    def hand_over(host: Host, number: int, whole: Callable[[], None]) -> None:
        """What is still to come of a fetch is for a viewer; `whole` is told of the end."""
        flow = host.fetches[number]

        def arrived(_: int) -> None:
            if not flow.left_bytes:
                host.fetches.pop(number, None)
                whole()

        flow.arrived = arrived

    def _begin(self, flow: Flow) -> None:
        if flow.left_bytes:
            self.link.add(flow)
        else:
            flow.arrived(0)  # a body without bytes ends with its head

    def _flow(self, resource: OriginResource, size_bytes: int) -> Flow:
        def carried(size_bytes: float) -> None:
            resource.origin_bytes += size_bytes
            second = int(self._clock.now)
            self.link_bytes[second] = self.link_bytes.get(second, 0.0) + size_bytes

        return Flow(self.link, size_bytes, lambda _: None, carried)
