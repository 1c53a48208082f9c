"""What the front may ask of the agent: the whole surface between a viewer's HTTP and the swarm.

    AgentApi.route(request)          where this request is answered: PassToOrigin | FromMemory | Shared
    AgentApi.needs_whole_body(...)   must the origin be asked without the viewer's conditions?
    AgentApi.may_be_manifest(...)    must this answer of the origin be copied, so that it can be learnt?
    AgentApi.manifest_arrived(...)   the origin's manifest went by: learn its segments
    AgentApi.passed_to_origin(...)   a request went to the origin untouched: proof of entitlement, bytes to count
    AgentApi.host_bypassed(...)      a host is tunnelled from now on

    Shared.open_response() -> ViewerResponse      head() · body() · release()
    StartedAgent                     an agent that runs: its `router` is the AgentApi, `status()` is for people

A segment's request comes in by `route` once, and its answer goes out by one `ViewerResponse`. Whoever carries the
request holds the `Shared` route until it answers: the lean path opens it in the same turn of the event loop, the
loopback gateway after mitmproxy has brought the request there (`front/mitm/gateway.py`).
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from ecdn_proxy.agent.status import Status
from ecdn_proxy.core.values import Headers, Source, StoredSegment
from ecdn_proxy.wire.integrity import SegmentHead


@dataclass(frozen=True, slots=True)
class ViewerRequest:
    """A request as the browser sent it. Names of header fields are in lower case, in the browser's order."""

    method: str
    url: str
    headers: Headers = field(repr=False)


class ViewerResponse(Protocol):
    """One viewer's response to a segment's request. Release it in any case."""

    async def head(self) -> "SharedHead | OwnHead | RefusedHead":
        """Wait for the head.

        Raises:
            Unavailable: no source can answer, not even the origin.
        """
        ...

    def body(self) -> AsyncIterator[bytes | memoryview]:
        """The body's bytes in order, from the segment's first byte.

        Raises:
            Unavailable: the rest cannot come; break the viewer's connection.
        """
        ...

    async def release(self) -> None:
        """The front takes nothing more. Before the body's end this tells the node that the viewer left."""
        ...


@dataclass(frozen=True, slots=True)
class PassToOrigin:
    """The request goes to the origin untouched, and the answer is streamed."""

    why: str


@dataclass(frozen=True, slots=True)
class FromMemory:
    """The whole segment is in this machine's memory, and small enough to be answered in one go."""

    segment: StoredSegment
    why: str


@dataclass(frozen=True, slots=True)
class Shared:
    """A segment that this viewer may have from the agent, wherever the agent has it from."""

    why: str
    open_response: Callable[[], ViewerResponse] = field(repr=False)
    """Begin this viewer's response; nothing is asked of anybody before. Call it once."""


Route = PassToOrigin | FromMemory | Shared


@dataclass(frozen=True, slots=True)
class SharedHead:
    """The head of an answer that all viewers share; `head.total_bytes` is None while the length is unknown."""

    head: SegmentHead
    source: Source
    why: str


@dataclass(frozen=True, slots=True)
class OwnHead:
    """The head of the origin's answer to this viewer's own request, as it came."""

    status: int
    reason: str
    headers: Headers
    why: str


@dataclass(frozen=True, slots=True)
class RefusedHead:
    """The origin said 404, 410 or the like to this machine or a neighbour a moment ago; there is no body."""

    status: int
    why: str


class AgentApi(Protocol):
    """The agent as whoever carries viewers' requests sees it."""

    def route(self, request: ViewerRequest) -> Route:
        """Decide where a request is answered. Never raises and never waits: on any doubt, PassToOrigin."""
        ...

    def needs_whole_body(self, request: ViewerRequest) -> bool:
        """Whether a request that passes goes without If-None-Match and If-Modified-Since, so that its body comes."""
        ...

    def may_be_manifest(self, request: ViewerRequest, status: int, headers: Headers) -> bool:
        """Whether the origin's answer with this head may be a manifest, so that its body must be copied (bounded)."""
        ...

    async def manifest_arrived(self, request: ViewerRequest, headers: Headers, body: bytes) -> None:
        """A whole answer that may be a manifest has gone by; learn its segments if it is one.

        Args:
            request: the viewer's.
            headers: the origin's, names in lower case.
            body: without any content coding.
        """
        ...

    def passed_to_origin(self, request: ViewerRequest, status: int, received_bytes: int) -> None:
        """A request went to the origin untouched, and its answer of `received_bytes` has ended."""
        ...

    def host_bypassed(self, host: str, why: str) -> None:
        """A host is tunnelled from now on, for a program on this machine refuses our certificate for it."""
        ...


class StartedAgent(Protocol):
    """An agent that runs."""

    @property
    def router(self) -> AgentApi:
        """Its only door for viewers' requests."""
        ...

    def status(self) -> Status:
        """What the status page, `/api/status` and the command line show."""
        ...
