"""What the front may ask of the agent: the whole surface between a viewer's HTTP and the swarm.

AgentApi.sort(request)          at requestheaders, at once: pass it, answer it from memory, or send it to the gateway
AgentApi.manifest(...)          an origin's manifest went by: learn its segments
AgentApi.passed(...)            a request went by untouched: proof of entitlement, bytes for the books
AgentApi.open(ticket)           the gateway begins to answer a ticket
Delivery                     one viewer's answer as it comes
AgentApi.status()               everything the page, the JSON and the command line show
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from ecdn_proxy.agent.status import Status
from ecdn_proxy.core.values import Headers, Source, StoredSegment
from ecdn_proxy.wire.integrity import SegmentHead


@dataclass(frozen=True, slots=True)
class ViewerRequest:
    """A request as the browser sent it, names of fields in lower case, in order."""

    method: str
    url: str
    headers: Headers = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pass:
    """Straight to the origin, untouched and streamed."""

    why: str


@dataclass(frozen=True, slots=True)
class FromMemory:
    """The whole segment is in memory and small enough to be answered in the hook."""

    segment: StoredSegment
    why: str


@dataclass(frozen=True, slots=True)
class ToGateway:
    """Route to the gateway with this ticket; it is good for one request."""

    ticket: str
    why: str


Route = Pass | FromMemory | ToGateway


@dataclass(frozen=True, slots=True)
class Begun:
    """A shared answer begins; `head.total_bytes` may be None."""

    head: SegmentHead
    source: Source
    why: str


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """The origin's answer to this viewer's own request, as it came: status, headers and body."""

    status: int
    reason: str
    headers: Headers
    why: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The origin said so to a neighbour a moment ago."""

    status: int
    why: str


class ViewerResponse(Protocol):
    """One viewer's answer. Close it in any case; closing early tells the node that the viewer left."""

    async def begin(self) -> Begun | OwnAnswer | Missing:
        """Wait for the head."""
        ...

    def body(self) -> AsyncIterator[bytes | memoryview]:
        """The body's bytes in order, from the segment's first byte.

        Raises:
            Unavailable: the rest cannot come; break the viewer's connection.
        """
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class AgentApi(Protocol):
    """The agent as the front sees it."""

    def sort(self, request: ViewerRequest) -> Route:
        """Decide where a request goes. Never raises and never blocks: on any doubt, Pass."""
        ...

    def wants_body(self, request: ViewerRequest, status: int, headers: Headers) -> bool:
        """Whether this passing response may be a manifest, so that its body must be copied (bounded)."""
        ...

    async def manifest(self, request: ViewerRequest, status: int, headers: Headers, body: bytes) -> None:
        """A whole response that may be a manifest has gone by (identity coded); learns its segments if it is one."""
        ...

    def passed(self, request: ViewerRequest, status: int, received_bytes: int) -> None:
        """A request went to the origin untouched and ended."""
        ...

    def bypassed(self, host: str, why: str) -> None:
        """A host is tunnelled from now on: a program on this machine refuses our certificate for it."""
        ...

    def open(self, ticket: str) -> ViewerResponse:
        """Begin to answer a ticket.

        Raises:
            KeyError: no such ticket, or used before.
        """
        ...

    def status(self) -> Status:
        """What the status page, `/api/status` and the command line show."""
        ...
