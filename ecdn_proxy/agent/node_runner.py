"""The one stable door to the node: it stays while a node that failed is replaced by a new one.

    NodeRunner.start(born, seal, surroundings, record)     the first node begins
        feed(event)                       something happened that the node must know
        in_memory(key, demand)             a whole segment, if the node has it
        open_response(request, wanted)    a viewer asked: its response, which the node fills
        link_opened link_closed link_received …   what happens to links (`links.LinkConsumer`)
        node · uploads() · now() · close()

One node lives with a driver, which gives it time and events, and a performer, which does what it wants; the three come
and go together. Everybody else holds the runner. With a record file the node stands behind `core.recording`, which
writes down everything that the node is told.

A fault of ours in the node may end nobody's viewing. It is logged with the node's last events (`agent/story.py`);
links are closed, viewers who have had nothing yet go to the origin, and a new node begins. It keeps the former one's
bans, and is told again what nobody will repeat: who is seen on the LAN, who is denied, the policy, the address.
"""

from collections.abc import Mapping

import msgspec
import structlog

from ecdn_proxy.agent.api import ViewerRequest
from ecdn_proxy.agent.performer import Performer, Surroundings
from ecdn_proxy.agent.recorder import RecordFile
from ecdn_proxy.agent.story import NodeStory
from ecdn_proxy.agent.viewer_response import StreamedResponse
from ecdn_proxy.core import events, values
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.recording import Born, Recording, Witness
from ecdn_proxy.core.report.usage import ByteCounts
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.io.link_connection import ConnectionKind
from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Contact, PeerMessage

log = structlog.get_logger(__name__)


class NodeRunner:
    """Runs one node after the other; belongs to one event loop."""

    node: Node
    """The node that runs now, for whoever reads its figures."""
    _machine: Node | Recording
    """The same node as it is asked and told."""
    _performer: Performer
    _driver: Driver[events.Event, events.Effect]
    _surroundings: Surroundings
    _born: Born
    _seal: Seal
    _record: RecordFile | None

    def __init__(self) -> None:
        self._to_tell_again: dict[object, events.Event] = {}

    def start(self, born: Born, seal: Seal, surroundings: Surroundings, record: RecordFile | None = None) -> None:
        """Begin the first node; `born` describes it, but for what lies on the disk.

        Nothing may be fed or asked before.
        """
        self._born, self._seal, self._surroundings, self._record = born, seal, surroundings, record
        self._begin(born.bans)

    def close(self) -> None:
        """End the node; later events are dropped."""
        self._driver.close()

    # ---- asked and told

    def now(self) -> Instant:
        """The node's time, in seconds."""
        return self._driver.now()

    def feed(self, event: events.Event) -> None:
        """Hand the node an event; what a later node must be told again is remembered."""
        match event:
            case events.LanSeen(contact):
                self._to_tell_again[contact.device] = event
            case events.LanLost(device):
                self._to_tell_again.pop(device, None)
            case events.DevicesDenied() | events.PolicyChanged():
                self._to_tell_again[type(event)] = event
            case events.Moved(me):
                self._born = msgspec.structs.replace(self._born, me=me)
            case _:
                pass
        self._driver.feed(event)

    def uploads(self) -> ByteCounts:
        """What the node that runs now has given to other agents."""
        uploaded, by_webrtc = self.node.uploaded_bytes()
        return ByteCounts(uploaded=uploaded, uploaded_webrtc=by_webrtc)

    def in_memory(self, key: str, demand: Demand) -> values.StoredSegment | None:
        """A whole segment, if it is in memory and a request may have it as it is; looking counts as use."""
        return self._machine.in_memory(key, demand, self.now())

    def open_response(self, request: ViewerRequest, wanted: events.Wanted) -> StreamedResponse:
        """A viewer asked for a segment: tell the node, and return the response that it fills."""
        response = StreamedResponse(wanted.viewer, request, self._performer)
        self._performer.expect(response)
        self._driver.feed(wanted)
        return response

    # ---- what happens to links (`links.LinkConsumer`)

    def link_opened(
        self, contact: Contact, kind: ConnectionKind, streams: tuple[str, ...], serves: bool, rtt_ms: float
    ) -> None:
        """A link stands, or goes on over a connection of another kind."""
        log.info("linked", device=contact.device[:8], address=contact.addresses[:1], rtt_ms=round(rtt_ms, 1))
        self._driver.feed(events.LinkOpened(contact, kind, streams, serves, rtt_ms))

    def link_closed(self, device: str, why: str, misbehaved: bool) -> None:
        """A link has ended, or a dial came to nothing."""
        level = log.warning if misbehaved else log.info
        level("a link ended", device=device[:8], why=why, misbehaved=misbehaved)
        self._performer.link_has_room(device)
        self._driver.feed(events.LinkClosed(device, sentence(why), misbehaved))

    def link_received(self, device: str, message: PeerMessage) -> None:
        """A message has come."""
        self._driver.feed(events.Received(device, message))

    def link_ready(self, device: str) -> None:
        """A link that was full can take more."""
        self._performer.link_has_room(device)
        self._driver.feed(events.LinkReady(device))

    def link_passed_over(self, device: str, version: str, tag: int) -> None:
        """A message came that only a later release than ours knows."""
        log.info("a message of a later release is passed over", device=device[:8], version=version, tag=tag)

    def connection_refused(self, address: str, why: str) -> None:
        """Somebody at this address was turned away: a line for whoever looks for it, since anybody may knock."""
        log.debug("a connection is refused", address=address, why=why)

    def offer_forged(self, device: str, why: str) -> None:
        """A WebRTC offer in this device's name is not what the device had signed."""
        self._surroundings.conditions.raise_condition("offer-refused", f"{device[:8]}: {why}")

    def out_of_reach(self, device: str, why: str) -> None:
        """Neither TCP nor WebRTC reaches this device."""
        self._surroundings.conditions.raise_condition("peers-out-of-reach", f"{device[:8]}: {why}")

    # ---- one node after the other

    def _begin(self, bans: Mapping[str, Instant]) -> None:
        disk = self._surroundings.disk
        born = msgspec.structs.replace(self._born, bans=dict(bans), on_disk=() if disk is None else tuple(disk.held()))
        performer = Performer(self._surroundings)
        machine: Node | Recording
        if self._record is None:
            node = machine = born.node(self._seal)
        else:
            witness = Witness(self._seal)
            node = born.node(witness)
            machine = Recording(node, witness, self._record.write, born)
        driver = Driver(machine, performer.perform, self._node_failed, NodeStory())
        performer.feed = driver.feed
        self.node, self._machine, self._performer, self._driver = node, machine, performer, driver

    def _node_failed(self, error: Exception) -> None:
        """A fault of ours: nobody's viewing may end with it."""
        former, performer, on = self.node, self._performer, self._surroundings
        log.error("the node failed and is started anew", exc_info=error, story=str(self._driver.story))
        self._driver.close()
        if on.links is not None:
            on.links.hang_up_all("this agent mends a fault of its own")
        performer.release_all("a fault of this agent's own")
        on.meter.node_ended(self.uploads())
        self._begin(former.bans())
        for event in list(self._to_tell_again.values()):
            self._driver.feed(event)
        if on.announcer is not None:
            on.announcer.node_restarted()
        on.conditions.raise_condition("restarted-within", f"{type(error).__name__}: {error}"[:200])
