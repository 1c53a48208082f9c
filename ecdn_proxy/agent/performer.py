"""The one place that performs: what the node wants, turned into calls; what comes of them, turned into events.

    Performer.perform(effect)    one match over all effects, ending in assert_never
    _NodeFetch                   a fetch that the node wants: its events, until it is handed over to one viewer
    _OwnFetch                    a viewer's own request to the origin, past the node
    Surroundings                 what is acted upon: origin, links, disk, sharing, conditions, counters

A performer belongs to one node and ends with it (`agent/node_runner.py`).
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, assert_never

import structlog

from ecdn_proxy.agent.api import OwnHead, RefusedHead, SharedHead
from ecdn_proxy.agent.condition_log import ConditionSink
from ecdn_proxy.agent.viewer_response import StreamedResponse
from ecdn_proxy.core import events, values
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io.origin import Fetch, OriginClient, Response
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Contact, PeerMessage

log = structlog.get_logger(__name__)


_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
"""A viewer's own conditions (RFC 9110 section 13.1), which go to the origin with a request for that viewer alone."""


class NodeLinks(Protocol):
    """The links to other agents, as a node uses them. What happens to them is told to the node's runner."""

    def dial(self, contact: Contact) -> None:
        """Open a link."""
        ...

    def hang_up(self, device: str, why: str) -> None:
        """Close a link."""
        ...

    def send(self, device: str, message: PeerMessage) -> None:
        """Send one message."""
        ...

    def is_full(self, device: str) -> bool:
        """Whether a link holds more unsent bytes than it should."""
        ...

    def hang_up_all(self, why: str) -> None:
        """Close every link."""
        ...


class SegmentDisk(Protocol):
    """The disk cache, as a node uses it. `load` is answered by a Loaded event."""

    def held(self) -> Iterable[tuple[str, int]]:
        """What lies there: keys with their sizes in bytes."""
        ...

    def save(self, stored: values.StoredSegment) -> None:
        """Keep a segment."""
        ...

    def load(self, key: str) -> None:
        """Read a segment."""
        ...

    def erase(self, key: str) -> None:
        """Remove a segment."""
        ...


class StreamAnnouncer(Protocol):
    """Who tells other agents and the coordinator what this machine watches."""

    def announce(self, streams: tuple[str, ...], serves: bool, isolated: bool) -> None:
        """These streams are watched; whether this machine serves others, and whether it reaches none of them."""
        ...

    def node_restarted(self) -> None:
        """A new node has taken the place of a failed one: what the coordinator has said must be said again."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a node's performer acts upon. None stands for what this machine has not."""

    origin: OriginClient
    links: NodeLinks | None
    disk: SegmentDisk | None
    announcer: StreamAnnouncer | None
    conditions: ConditionSink
    meter: Meter
    utc: Callable[[], float]


class Performer:
    """Performs one node's effects."""

    feed: Callable[[events.Event], None]
    """Hands the node what came of an effect. Set by whoever makes performer and driver, for each needs the other."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._on = surroundings
        self._loop = asyncio.get_running_loop()
        self._viewers: dict[int, StreamedResponse] = {}
        self._node_fetches: dict[int, _NodeFetch] = {}
        self._own_fetches: dict[int, Fetch] = {}
        """By the viewer's number."""
        self._full_links: set[str] = set()

    # ---- viewers

    def expect(self, response: StreamedResponse) -> None:
        """A viewer waits for the effects that name it."""
        self._viewers[response.viewer] = response

    def response_released(self, response: StreamedResponse) -> None:
        """The front takes nothing more of a response; what was fetched for this viewer alone ends."""
        waited = self._viewers.pop(response.viewer, None) is not None
        if (own := self._own_fetches.pop(response.viewer, None)) is not None:
            own.abort()
        for fetch in list(self._node_fetches.values()):
            if fetch.handed_to is response:
                self._abort_fetch(fetch.number)
        if waited:
            self.feed(events.ViewerLeft(response.viewer))

    def release_all(self, why: str) -> None:
        """The node is gone: whoever has had nothing goes to the origin, the others see a broken connection.

        What the origin sends to one viewer alone goes on.
        """
        for fetch in list(self._node_fetches.values()):
            if fetch.handed_to is None:
                self._abort_fetch(fetch.number)
        for response in list(self._viewers.values()):
            if response.has_head:
                response.fail(why)
                self._viewers.pop(response.viewer, None)
            else:
                self._answer_from_origin(response, why)

    # ---- effects

    def perform(self, effect: events.Effect) -> None:  # noqa: C901, PLR0912 - the one big match
        """Do what the node wants."""
        match effect:
            case events.BeginAnswer(viewer, head, source, why, pace_kbps):
                if (response := self._viewers.get(viewer)) is not None:
                    response.set_pace(pace_kbps)
                    response.set_head(SharedHead(head, source, why))
            case events.Deliver(viewer, data):
                if (response := self._viewers.get(viewer)) is not None:
                    response.add_body(data)
            case events.Finish(viewer):
                if (response := self._viewers.pop(viewer, None)) is not None:
                    response.finish()
            case events.Abort(viewer, why):
                if (response := self._viewers.pop(viewer, None)) is not None:
                    response.fail(why)
            case events.PassOn(viewer, why):
                if (response := self._viewers.get(viewer)) is not None:
                    self._answer_from_origin(response, why)
            case events.HandOver(viewer, fetch, why):
                self._hand_over(viewer, fetch, why)
            case events.AnswerStatus(viewer, status, why):
                if (response := self._viewers.pop(viewer, None)) is not None:
                    response.set_head(RefusedHead(status, why))
                    response.finish()
            case events.FetchOrigin():
                self._fetch_for_node(effect)
            case events.AbortOrigin(fetch):
                self._abort_fetch(fetch)
            case events.Dial() | events.HangUp() | events.Send():
                self._use_links(effect)
            case events.AnnounceStreams(streams, serves, isolated):
                if self._on.announcer is not None:
                    self._on.announcer.announce(streams, serves, isolated)
            case events.Save() | events.Load() | events.Erase():
                self._use_disk(effect)
            case events.RaiseCondition(code, detail):
                self._on.conditions.raise_condition(code, detail)
            case events.ClearCondition(code):
                self._on.conditions.clear_condition(code)
            case events.Served():
                self._on.meter.served(effect, self._loop.time())
            case _:
                assert_never(effect)

    def _use_links(self, effect: events.Dial | events.HangUp | events.Send) -> None:
        links = self._on.links
        match effect:
            case events.Dial(contact):
                if links is None:
                    self.feed(events.LinkClosed(contact.device, "sharing is not possible on this machine"))
                else:
                    links.dial(contact)
            case events.HangUp(device, why) if links is not None:
                links.hang_up(device, why)
            case events.Send(device, message) if links is not None:
                links.send(device, message)
                if device not in self._full_links and links.is_full(device):
                    self._full_links.add(device)
                    self.feed(events.LinkFull(device))
            case _:
                pass

    def link_has_room(self, device: str) -> None:
        """A link that was full can take more, or has ended; when it is full again the node must hear it again."""
        self._full_links.discard(device)

    def _use_disk(self, effect: events.Save | events.Load | events.Erase) -> None:
        disk = self._on.disk
        match effect:
            case events.Save(stored) if disk is not None:
                disk.save(stored)
            case events.Load(key) if disk is not None:
                disk.load(key)
            case events.Load(key):
                self.feed(events.Loaded(key, None))
            case events.Erase(key) if disk is not None:
                disk.erase(key)
            case _:
                pass

    # ---- the origin

    def _fetch_for_node(self, effect: events.FetchOrigin) -> None:
        last = "" if effect.last_byte is None else str(effect.last_byte)
        fetch = self._node_fetches[effect.fetch] = _NodeFetch(effect.fetch, self)
        fetch.running = self._on.origin.start(
            effect.request.url,
            effect.request.headers,
            f"bytes={effect.first_byte}-{last}" if effect.ranged else None,
            effect.if_range,
            fetch,
            conditions=effect.conditions,
        )

    def utc(self) -> float:
        """The wall clock, in seconds since 1970."""
        return self._on.utc()

    def forget_fetch(self, number: int) -> None:
        """A fetch has ended by itself."""
        self._node_fetches.pop(number, None)

    def _abort_fetch(self, number: int) -> None:
        fetch = self._node_fetches.pop(number, None)
        if fetch is not None and fetch.running is not None:
            fetch.running.abort()

    def _hand_over(self, viewer: int, number: int, why: str) -> None:
        """Give the rest of a node's fetch to the viewer with whose request it was made, past the node.

        A viewer that asked for a part of the segment, or with a condition, gets an answer of its own instead.
        """
        response = self._viewers.pop(viewer, None)
        fetch = self._node_fetches.get(number)
        if response is not None and fetch is not None and fetch.running is not None and fetch.answer is not None:
            asked = dict(response.request.headers)
            if "range" not in asked and not any(name.startswith("if-") for name in asked):
                fetch.handed_to = response
                response.set_own_head(own_head(fetch.answer, why), fetch.running)
                return
        self._abort_fetch(number)  # there is no answer to hand over, or the viewer asked for a part of it
        if response is not None:
            self._answer_from_origin(response, why)

    def _answer_from_origin(self, response: StreamedResponse, why: str) -> None:
        """Send the viewer's own request to the origin, for this viewer alone."""
        self._viewers.pop(response.viewer, None)
        request = response.request
        fields = dict(request.headers)
        own = _OwnFetch(response, why, self)
        own.running = self._own_fetches[response.viewer] = self._on.origin.start(
            request.url,
            request.headers,
            fields.get("range"),
            fields.get("if-range"),
            own,
            conditions=tuple(it for it in request.headers if it[0] in _CONDITIONS),
        )

    def forget_own_fetch(self, viewer: int) -> None:
        """A viewer's own fetch has ended by itself."""
        self._own_fetches.pop(viewer, None)


class _NodeFetch:
    """A fetch that the node wants, under the node's number for it."""

    def __init__(self, number: int, performer: Performer) -> None:
        self.number = number
        self.running: Fetch | None = None
        self.answer: Response | None = None
        """The head of the origin's answer, once it has come."""
        self.handed_to: StreamedResponse | None = None
        """The one viewer that gets the rest of the answer, past the node."""
        self._performer = performer

    def reached(self) -> None:
        """The origin has the request, and takes its time."""
        self._performer.feed(events.OriginReached(self.number))

    def head(self, response: Response) -> None:
        """The origin has answered."""
        self.answer = response
        performer = self._performer
        performer.feed(
            events.OriginAnswered(
                self.number, response.status, response.headers, performer.utc(), framed=response.framed
            )
        )

    def data(self, data: bytes) -> None:
        """More of the body has come."""
        if self.handed_to is not None:
            self.handed_to.add_body(data)
        else:
            self._performer.feed(events.OriginSent(self.number, data))

    def end(self) -> None:
        """The body is complete."""
        self._performer.forget_fetch(self.number)
        if self.handed_to is not None:
            self.handed_to.finish()
        else:
            self._performer.feed(events.OriginEnded(self.number))

    def fail(self, why: str) -> None:
        """The rest cannot come."""
        self._performer.forget_fetch(self.number)
        if self.handed_to is not None:
            self.handed_to.fail(why)
        else:
            log.info("an origin fetch failed", why=why)
            self._performer.feed(events.OriginFailed(self.number, sentence(why)))


class _OwnFetch:
    """A viewer's own request, answered by the origin to this viewer alone."""

    def __init__(self, response: StreamedResponse, why: str, performer: Performer) -> None:
        self.running: Fetch | None = None
        self._response = response
        self._why = why
        self._performer = performer

    def reached(self) -> None:
        """The origin has the request, and takes its time, as it would towards the viewer itself."""

    def head(self, answer: Response) -> None:
        """The origin has answered."""
        if self.running is not None:
            self._response.set_own_head(own_head(answer, self._why), self.running)

    def data(self, data: bytes) -> None:
        """More of the body has come."""
        self._response.add_body(data)

    def end(self) -> None:
        """The body is complete."""
        self._performer.forget_own_fetch(self._response.viewer)
        self._response.finish()

    def fail(self, why: str) -> None:
        """The rest cannot come."""
        self._performer.forget_own_fetch(self._response.viewer)
        self._response.fail(why)


def own_head(answer: Response, why: str) -> OwnHead:
    """The origin's answer as its viewer gets it."""
    return OwnHead(answer.status, answer.reason, answer.headers, why)
