"""Where the front brings requests: which are segments, from where each is answered, and what passed by.

    Router(sorter, meter, behind)    sort -> route      open(ticket) -> delivery      wants_body · manifest · passed

A complete segment in memory is answered at once; for any other a ticket is given, good once, with which the gateway
opens the delivery. Nothing here may fail a viewer: what cannot be understood is the origin's business.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from ecdn_proxy.agent.api import FromMemory, Pass, Route, ToGateway, ViewerRequest, ViewerResponse
from ecdn_proxy.agent.classifier import Classifier, Match, refused_manifest
from ecdn_proxy.agent.performer import Performer
from ecdn_proxy.agent.viewer_response import StreamedResponse
from ecdn_proxy.core import events, values
from ecdn_proxy.core.manifest.model import ManifestError
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.recording import Recording
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io import clock
from ecdn_proxy.sansio.machine import Instant

FROM_MEMORY_BYTES_MAX = 4 * 1024 * 1024
"""Up to here a complete segment is answered in the proxy's hook: a third of the CPU of the gateway's way."""
TICKETS_MAX = 1_024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Behind:
    """What the desk leans on; a fault of ours replaces node and performer, so they are asked for anew each time."""

    machine: Callable[[], Node | Recording]
    performer: Callable[[], Performer]
    feed: Callable[[events.Event], None]
    now: Callable[[], Instant]
    prepare: Callable[[str], None]
    """Connect to this URL's origin: a segment is soon wanted."""
    raise_condition: Callable[[str, str], None]


class Router:
    """One agent's; the methods are those of `doors.Agent`."""

    def __init__(self, sorter: Classifier, meter: Meter, behind: Behind) -> None:
        self._sorter = sorter
        self._meter = meter
        self._behind = behind
        self._tickets: OrderedDict[str, tuple[Match, ViewerRequest]] = OrderedDict()
        self._viewer = 0

    def sort(self, request: ViewerRequest) -> Route:
        """See `doors.Agent`."""
        try:
            found = self._sorter.sort(request, clock.utc())
        except Exception as error:  # a request that we fail to understand is the origin's business
            log.error("a request could not be sorted", exc_info=error)
            return Pass("a fault of this agent's own")
        if isinstance(found, Pass):
            return found
        listed = found.listed
        stored = self._behind.machine().in_memory(listed.key, clock.utc())
        if stored is not None and len(stored.body) <= FROM_MEMORY_BYTES_MAX:
            why = "in this machine's memory"
            size = len(stored.body)
            self._behind.feed(events.StreamOpened(listed.stream))
            self._meter.served(
                events.Served(
                    key=listed.key,
                    stream=listed.stream,
                    rendition=listed.rendition,
                    number=listed.number,
                    source="cache",
                    why=why,
                    ms=0.0,
                    bytes_by_source=(("cache", size),),
                ),
                self._behind.now(),
            )
            return FromMemory(stored, why)
        ticket = secrets.token_urlsafe(16)
        self._tickets[ticket] = (found, request)
        if len(self._tickets) > TICKETS_MAX:
            self._tickets.popitem(last=False)
        return ToGateway(ticket, found.why)

    def open(self, ticket: str) -> ViewerResponse:
        """See `doors.Agent`."""
        found, request = self._tickets.pop(ticket)
        self._viewer += 1
        performer = self._behind.performer()
        delivery = StreamedResponse(self._viewer, request, performer.left)
        performer.expect(delivery)
        listed = found.listed
        self._behind.feed(
            events.Wanted(
                viewer=delivery.viewer,
                stream=listed.stream,
                rendition=listed.rendition,
                key=listed.key,
                number=listed.number,
                duration_s=listed.duration_s,
                live=listed.live,
                resource_range=listed.byte_range,
                origin=values.OriginRequest(request.url, request.headers),
                utc=clock.utc(),
                best_kbps=listed.best_kbps,
            )
        )
        return delivery

    def wants_body(self, request: ViewerRequest, status: int, headers: values.Headers) -> bool:
        """See `doors.Agent`."""
        return self._sorter.wants_body(request, status, headers)

    async def manifest(self, request: ViewerRequest, status: int, headers: values.Headers, body: bytes) -> None:
        """See `doors.Agent`."""
        try:
            streams = await self._sorter.manifest(request, dict(headers).get("content-type"), body, clock.utc())
        except ManifestError as error:
            self._behind.raise_condition("manifest-refused", refused_manifest(request, error))
            return
        except Exception as error:  # the viewer has its manifest; only sharing suffers
            log.error("a manifest could not be read", exc_info=error)
            return
        if streams:
            self._behind.prepare(request.url)
        for stream in streams:
            self._behind.feed(events.StreamOpened(stream))

    def passed(self, request: ViewerRequest, status: int, received_bytes: int) -> None:
        """See `doors.Agent`."""
        self._meter.passed(received_bytes)
        self._sorter.passed(request, status, clock.utc())
