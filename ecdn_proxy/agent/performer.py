"""The one place that performs: what the node wants, turned into calls; what comes of them, turned into events.

perform(effect)    one match, ending in assert_never
origin callbacks   OriginAnswered OriginSent OriginEnded OriginFailed
hub callbacks      LinkOpened LinkClosed LinkFull LinkReady Received
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, assert_never

import structlog

from ecdn_proxy.agent.api import Begun, Missing, OwnAnswer
from ecdn_proxy.agent.links import Links
from ecdn_proxy.agent.viewer_response import StreamedResponse
from ecdn_proxy.core import events, values
from ecdn_proxy.io.origin import Fetch, FetchEvents, OriginClient, Response
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Contact, PeerMessage

log = structlog.get_logger(__name__)


class Keeper(Protocol):
    """The disk store, as the performer uses it; answers by Loaded events."""

    def save(self, stored: values.StoredSegment) -> None:
        """Keep it."""
        ...

    def load(self, key: str) -> None:
        """Read it back."""
        ...

    def erase(self, key: str) -> None:
        """Remove it."""
        ...


@dataclass(slots=True)
class Surroundings:
    """What the performer acts upon; `hub` and `keeper` are None where there is none."""

    origin: OriginClient
    hub: Links | None
    keeper: Keeper | None
    announce: Callable[[tuple[str, ...], bool, bool], None]
    raise_condition: Callable[[str, str], None]
    clear_condition: Callable[[str], None]
    served: Callable[[events.Served], None]
    utc: Callable[[], float]


class Performer:
    """Effects in, calls out, events back through `feed`."""

    def __init__(self, surroundings: Surroundings, feed: Callable[[events.Event], None]) -> None:
        self._on = surroundings
        self._feed = feed
        self._viewers: dict[int, StreamedResponse] = {}
        self._fetches: dict[int, Fetch] = {}
        self._owners: dict[int, StreamedResponse] = {}
        self._answers: dict[int, Response] = {}
        self._direct: dict[int, Fetch] = {}
        self._full: set[str] = set()

    # ---- viewers

    def expect(self, delivery: StreamedResponse) -> None:
        """A viewer waits for the effects that name it."""
        self._viewers[delivery.viewer] = delivery

    def left(self, delivery: StreamedResponse) -> None:
        """The gateway let go of a delivery."""
        known = self._viewers.pop(delivery.viewer, None) is not None
        if (fetch := self._direct.pop(delivery.viewer, None)) is not None:
            fetch.abort()
        for number, owner in list(self._owners.items()):
            if owner is delivery:
                del self._owners[number]
                self._end_fetch(number, abort=True)
        if known:
            self._feed(events.ViewerLeft(delivery.viewer))

    def viewers(self) -> int:
        """How many answers are under way."""
        return len(self._viewers)

    def release_all(self, why: str) -> None:
        """The node is gone: whoever has had nothing goes to the origin, the others see a broken connection."""
        for number in self._fetches.keys() - self._owners.keys():
            self._end_fetch(number, abort=True)
        for delivery in list(self._viewers.values()):
            if delivery.begun:
                delivery.failed(why)
                self._viewers.pop(delivery.viewer, None)
            else:
                self._pass_on(delivery, why)

    # ---- effects

    def perform(self, effect: events.Effect) -> None:  # noqa: C901, PLR0912 - the one big match
        """Do what the node wants."""
        match effect:
            case events.BeginAnswer(viewer, head, source, why, pace_kbps):
                if (delivery := self._viewers.get(viewer)) is not None:
                    delivery.pace(pace_kbps)
                    delivery.head(Begun(head, source, why))
            case events.Deliver(viewer, data):
                if (delivery := self._viewers.get(viewer)) is not None:
                    delivery.bytes_came(data)
            case events.Finish(viewer):
                if (delivery := self._viewers.pop(viewer, None)) is not None:
                    delivery.finished()
            case events.Abort(viewer, why):
                if (delivery := self._viewers.pop(viewer, None)) is not None:
                    delivery.failed(why)
            case events.PassOn(viewer, why):
                if (delivery := self._viewers.get(viewer)) is not None:
                    self._pass_on(delivery, why)
            case events.HandOver(viewer, fetch, why):
                self._hand_over(viewer, fetch, why)
            case events.AnswerStatus(viewer, status, why):
                if (delivery := self._viewers.pop(viewer, None)) is not None:
                    delivery.head(Missing(status, why))
                    delivery.finished()
            case events.FetchOrigin():
                self._fetch(effect)
            case events.AbortOrigin(fetch):
                self._end_fetch(fetch, abort=True)
            case events.Dial() | events.HangUp() | events.Send():
                self._link(effect)
            case events.AnnounceStreams(streams, serves, isolated):
                self._on.announce(streams, serves, isolated)
            case events.Save() | events.Load() | events.Erase():
                self._keep(effect)
            case events.RaiseCondition(code, detail):
                self._on.raise_condition(code, detail)
            case events.ClearCondition(code):
                self._on.clear_condition(code)
            case events.Served():
                self._on.served(effect)
            case _:
                assert_never(effect)

    def _link(self, effect: events.Dial | events.HangUp | events.Send) -> None:
        hub = self._on.hub
        match effect:
            case events.Dial(contact):
                if hub is None:
                    self._feed(events.LinkClosed(contact.device, "sharing is not possible on this machine"))
                else:
                    hub.dial(contact)
            case events.HangUp(device, why) if hub is not None:
                hub.hang_up(device, why)
            case events.Send(device, message) if hub is not None:
                hub.send(device, message)
                if device not in self._full and hub.is_full(device):
                    self._full.add(device)
                    self._feed(events.LinkFull(device))
            case _:
                pass

    def _keep(self, effect: events.Save | events.Load | events.Erase) -> None:
        keeper = self._on.keeper
        match effect:
            case events.Save(stored) if keeper is not None:
                keeper.save(stored)
            case events.Load(key) if keeper is not None:
                keeper.load(key)
            case events.Load(key):
                self._feed(events.Loaded(key, None))
            case events.Erase(key) if keeper is not None:
                keeper.erase(key)
            case _:
                pass

    # ---- the origin

    def _fetch(self, effect: events.FetchOrigin) -> None:
        number = effect.fetch
        last = "" if effect.last_byte is None else str(effect.last_byte)
        self._fetches[number] = self._on.origin.start(
            effect.request.url,
            effect.request.headers,
            f"bytes={effect.first_byte}-{last}" if effect.ranged else None,
            effect.if_range,
            FetchEvents(
                head=lambda response: self._answered(number, response),
                data=lambda data: self._sent(number, data),
                end=lambda: self._ended(number),
                fail=lambda why: self._failed(number, why),
            ),
        )

    def _answered(self, number: int, response: Response) -> None:
        if number in self._fetches:
            self._answers[number] = response
            self._feed(
                events.OriginAnswered(number, response.status, response.headers, self._on.utc(), framed=response.framed)
            )

    def _sent(self, number: int, data: bytes) -> None:
        if (owner := self._owners.get(number)) is not None:
            owner.bytes_came(data)
        elif number in self._fetches:
            self._feed(events.OriginSent(number, data))

    def _ended(self, number: int) -> None:
        owner = self._owners.pop(number, None)
        known = self._end_fetch(number, abort=False)
        if owner is not None:
            owner.finished()
        elif known:
            self._feed(events.OriginEnded(number))

    def _failed(self, number: int, why: str) -> None:
        owner = self._owners.pop(number, None)
        known = self._end_fetch(number, abort=False)
        if owner is not None:
            owner.failed(why)
        elif known:
            log.info("an origin fetch failed", why=why)
            self._feed(events.OriginFailed(number, sentence(why)))

    def _end_fetch(self, number: int, *, abort: bool) -> bool:
        fetch = self._fetches.pop(number, None)
        self._answers.pop(number, None)
        if fetch is not None and abort:
            fetch.abort()
        return fetch is not None

    def _hand_over(self, viewer: int, number: int, why: str) -> None:
        """This viewer's own request is what the fetch was made with: it gets the answer as it is."""
        delivery = self._viewers.pop(viewer, None)
        answer = self._answers.get(number)
        fetch = self._fetches.get(number)
        if delivery is None or answer is None or fetch is None:
            self._end_fetch(number, abort=True)
            if delivery is not None:
                self._viewers[viewer] = delivery
                self._pass_on(delivery, why)
            return
        asked = dict(delivery.request.headers)
        if "range" in asked or any(name.startswith("if-") for name in asked):
            # the fetch asked for something else than this viewer did
            self._end_fetch(number, abort=True)
            self._viewers[viewer] = delivery
            self._pass_on(delivery, why)
            return
        self._own(delivery, fetch, answer, why)
        self._owners[number] = delivery

    def _pass_on(self, delivery: StreamedResponse, why: str) -> None:
        """The viewer's own request, to the origin, for this viewer alone."""
        self._viewers.pop(delivery.viewer, None)
        fields = dict(delivery.request.headers)
        viewer = delivery.viewer

        def over() -> None:
            self._direct.pop(viewer, None)

        def begun(response: Response) -> None:
            if (fetch := self._direct.get(viewer)) is not None:
                self._own(delivery, fetch, response, why)

        def ended() -> None:
            over()
            delivery.finished()

        def failed(what: str) -> None:
            over()
            delivery.failed(what)

        self._direct[viewer] = self._on.origin.start(
            delivery.request.url,
            delivery.request.headers,
            fields.get("range"),
            fields.get("if-range"),
            FetchEvents(head=begun, data=delivery.bytes_came, end=ended, fail=failed),
        )

    @staticmethod
    def _own(delivery: StreamedResponse, fetch: Fetch, answer: Response, why: str) -> None:
        delivery.hold = lambda held: fetch.pause() if held else fetch.resume()
        delivery.head(OwnAnswer(answer.status, answer.reason, answer.headers, why))

    # ---- links

    def link_opened(self, contact: Contact, kind: str, streams: tuple[str, ...], serves: bool, rtt_ms: float) -> None:
        """See `ecdn_proxy.io.tls_links.hub.Told`."""
        log.info("linked", device=contact.device[:8], address=contact.addresses[:1], rtt_ms=round(rtt_ms, 1))
        self._feed(events.LinkOpened(contact, "webrtc" if kind == "webrtc" else "lan", streams, serves, rtt_ms))

    def link_closed(self, device: str, why: str, misbehaved: bool) -> None:
        """See `ecdn_proxy.io.tls_links.hub.Told`."""
        level = log.warning if misbehaved else log.info
        level("a link ended", device=device[:8], why=why, misbehaved=misbehaved)
        self._full.discard(device)
        self._feed(events.LinkClosed(device, sentence(why), misbehaved))

    @staticmethod
    def link_passed_over(device: str, version: str, tag: int) -> None:
        """See `ecdn_proxy.io.tls_links.hub.Told`."""
        log.info("a message of a later release is passed over", device=device[:8], version=version, tag=tag)

    def link_ready(self, device: str) -> None:
        """See `ecdn_proxy.io.tls_links.hub.Told`."""
        self._full.discard(device)
        self._feed(events.LinkReady(device))

    def link_received(self, device: str, message: PeerMessage) -> None:
        """See `ecdn_proxy.io.tls_links.hub.Told`."""
        self._feed(events.Received(device, message))
