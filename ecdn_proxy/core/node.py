"""The node: every decision of one agent as one machine.

    handle(event, now) -> effects        wake(now) -> effects        wake_at()

It joins the rooms below: `download` (segments on their way to viewers here), `lease_server` (answers those who ask who
goes to the origin), `serving` and `upload` (what others read from here), and `swarm` (who is near, who keeps which
ledger, the ledger kept here), whose shared state is `NodeContext`. No clock, socket, disk or log: the performer and the
simulator do what the effects say, and tests read as timetables. `check()` holds the invariants that every test ends
with.
"""

from dataclasses import replace

from ecdn_proxy.core.download.cache import Cache, is_fresh
from ecdn_proxy.core.download.downloads import Downloads
from ecdn_proxy.core.events import (
    DevicesDenied,
    Effect,
    Event,
    HangUp,
    Invalidated,
    LanLost,
    LanSeen,
    LinkClosed,
    LinkFull,
    LinkOpened,
    LinkReady,
    Loaded,
    Moved,
    OriginAnswered,
    OriginEnded,
    OriginFailed,
    OriginReached,
    OriginSent,
    PolicyChanged,
    RaiseCondition,
    Received,
    StreamOpened,
    TrackerChanged,
    TrackerSaid,
    ViewerLeft,
    Wanted,
)
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.lease_server import LeaseServer
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.core.serving import Serving
from ecdn_proxy.core.swarm.announcements import Announcements
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.upload.uploads import Uploads
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant, earliest, impossible
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.peer import (
    Ask,
    Awaiting,
    Bye,
    Cancel,
    Contact,
    Dropped,
    End,
    Finished,
    Follow,
    Get,
    GoAlone,
    Granted,
    Held,
    Hello,
    Keepers,
    Noted,
    Part,
    PeerMessage,
    Piece,
    Ping,
    Pong,
    Progress,
    Redirect,
    Refused,
    Shadow,
    Vouched,
    Watching,
)


class Node:
    """One agent's decisions: takes events and returns effects."""

    def __init__(
        self,
        me: Contact,
        seal: Seal,
        *,
        limits: Limits,
        memory_bytes: int,
        disk_bytes: int,
        upload_mbps: float,
        share_after_watching_s: float,
    ) -> None:
        self.context = NodeContext(me, seal, limits)
        self.cache = Cache(memory_bytes, disk_bytes, self.context.out)
        self.uploads = Uploads(self.context, limits, upload_mbps)
        self.announcements = Announcements(self.context, share_after_watching_s)
        self._limits = limits
        self._downloads = Downloads(self.context, self.cache, self.uploads, self.announcements)
        self._serving = Serving(self.context, self.cache, self.uploads, self.announcements, self._downloads)
        self._lease_server = LeaseServer(self.context, self._holds, self._downloads.get)

    # ---- the one door

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take one event, and return what is to be done, in order.

        Raises:
            Impossible: a fault of ours; the node must be replaced by a new one.
        """
        match event:
            case Wanted():
                self._downloads.wanted(event, now)
            case Invalidated(key):
                self._downloads.changed(key, now)
            case ViewerLeft(viewer):
                self._downloads.viewer_left(viewer, now)
            case OriginReached() | OriginAnswered() | OriginSent() | OriginEnded() | OriginFailed():
                self._downloads.origin_event(event, now)
            case Received(device, message):
                self._received(device, message, now)
            case Loaded(key, stored):
                self._downloads.disk_answered(key, stored, now)
            case LinkFull(device) | LinkReady(device):
                if (link := self.context.links.get(device)) is not None:
                    link.full = isinstance(event, LinkFull)
            case LinkOpened() | LinkClosed():
                self._link_changed(event, now)
            case StreamOpened(stream):
                self.announcements.watch(stream, now)
            case LanSeen() | LanLost() | TrackerSaid() | TrackerChanged() | DevicesDenied() | Moved() | PolicyChanged():
                self._neighbourhood_changed(event, now)
        return self._settle(now)

    def wake(self, now: Instant) -> list[Effect]:
        """Do what has become due, and return effects as `handle` does."""
        self._downloads.wake(now)
        self._serving.decide("busy", now)
        self.announcements.wake(now)
        return self._settle(now)

    def wake_at(self) -> Instant | None:
        """When `wake` must be called at the latest."""
        times = (
            self.uploads.wake_at(),
            self.announcements.wake_at(self._downloads.joining()),
            self._serving.serves_again_at(),
            self._downloads.wake_at(),
        )
        return earliest(times)

    def _settle(self, now: Instant) -> list[Effect]:
        """What every event ends with: downloads that are over leave, pieces that can be sent go out."""
        self._downloads.settle(now)
        self._serving.pump(now)
        self.announcements.look_around(now)
        done, self.context.out[:] = list(self.context.out), []
        return done

    # ---- what is asked of it from outside

    @property
    def device(self) -> str:
        """The id of this agent's device."""
        return self.context.me.device

    def in_memory(self, key: str, demand: Demand, now: Instant) -> StoredSegment | None:
        """A whole segment with which a request can be answered at once."""
        return self.cache.usable(key, replace(demand, changed_at=self._downloads.changed_at(key)), now)

    def _holds(self, key: str, now: Instant) -> bool:
        """Whether a fresh copy of a segment is in memory."""
        stored = self.cache.peek(key)
        return stored is not None and is_fresh(stored, now)

    def downloading(self) -> dict[str, str]:
        """Keys of the segments on their way to this machine, and where each stands, for the status page."""
        return {it.key: it.stage.value for it in self._downloads}

    def uploaded_bytes(self) -> tuple[int, int]:
        """Bytes of pieces sent to other agents since this node began: in all, and by WebRTC."""
        return self.uploads.sent_bytes, self.uploads.sent_webrtc_bytes

    def why_known(self, device: str) -> str:
        """How a neighbour came to be known, for the status page; "" when it is not."""
        return self.context.membership.why(device)

    def home_of(self, stream: str, key: str, now: Instant) -> str:
        """The device that keeps the ledger of a key, as this node sees it."""
        return self.context.membership.homes(stream, key, now)[0]

    def bans(self) -> dict[str, Instant]:
        """Devices that broke the protocol, and until when each is not spoken to."""
        return dict(self.context.membership.bans)

    # ---- what it is told before its first event

    def remember_bans(self, bans: dict[str, Instant]) -> None:
        """Take over what an earlier node of this agent knew: see `bans`."""
        self.context.membership.bans.update(bans)

    def remember_on_disk(self, key: str, size_bytes: int) -> None:
        """The disk holds a segment from before; called for each, the one used longest ago first."""
        self.cache.found_on_disk(key, size_bytes)

    # ---- neighbours

    def _link_changed(self, event: LinkOpened | LinkClosed, now: Instant) -> None:
        match event:
            case LinkOpened(contact, kind, streams, serves, rtt_ms):
                if self.context.membership.is_barred(contact.device, now):
                    self.context.out.append(HangUp(contact.device, "this device may not be spoken to now"))
                    return
                self.context.membership.linked(contact, streams, serves=serves)
                self.context.link_opened(contact, kind, rtt_ms)
                self.announcements.register(streams, now)
                self.announcements.tell_keepers(contact.device, streams)
            case LinkClosed(device, why, misbehaved):
                if misbehaved:
                    self._bar(device, why, now)
                self._device_left(device, now)

    def _bar(self, device: str, why: str, now: Instant) -> None:
        self.context.membership.banned(device, now + self._limits.ban_s)
        self.context.out.append(RaiseCondition("peer-misbehaved", f"{device[:8]}: {why}"))

    def _device_left(self, device: str, now: Instant) -> None:
        stood = self.context.link_closed(device)
        self.context.membership.unlinked(device, now)
        if stood:
            self.context.ledger.device_left(device)
        self.announcements.register(self.announcements.watched(), now)
        self.uploads.device_left(device)
        self._downloads.device_left(device, now)

    def _ban(self, device: str, why: str, now: Instant) -> None:
        self.context.hang_up(device, why)
        self._bar(device, why, now)
        self._device_left(device, now)

    def _neighbourhood_changed(
        self,
        event: LanSeen | LanLost | TrackerSaid | TrackerChanged | DevicesDenied | Moved | PolicyChanged,
        now: Instant,
    ) -> None:
        membership = self.context.membership
        match event:
            case LanSeen(contact, tags, serves):
                membership.lan_seen(contact, tags, serves=serves)
                self.announcements.register(self.announcements.watched(), now)
            case LanLost(device):
                membership.lan_lost(device)
                self.announcements.register(self.announcements.watched(), now)
            case TrackerSaid(stream, committee, contacts):
                membership.tracker_said(stream, committee, contacts)
                self.announcements.named(stream)
                self.announcements.register((stream,), now)
                self._downloads.reconsider(stream, now)
            case TrackerChanged(connected):
                self.announcements.tracker_connected = connected
            case DevicesDenied(devices):
                membership.denied(devices)
                for device in sorted(devices & self.context.links.keys()):
                    self.context.hang_up(device, "the coordinator denied this device")
                    self._device_left(device, now)
            case Moved(me):
                self.context.me = me
                membership.moved(me)
            case PolicyChanged(sharing, uploads, why):
                self.context.sharing = sharing
                self._serving.policy_changed(may_serve=uploads and sharing, now=now)
                self.announcements.announce()
                if not sharing:
                    for device in list(self.context.links):
                        self.context.hang_up(device, why)
        self._downloads.join_over(now)

    # ---- peers

    def _received(self, device: str, message: PeerMessage, now: Instant) -> None:
        if device not in self.context.links:
            return
        self.context.membership.heard_from(device)
        try:
            self._dispatch(device, message, now)
        except PeerMisbehaved as fault:
            self._ban(device, fault.why, now)

    def _dispatch(self, device: str, message: PeerMessage, now: Instant) -> None:
        match message:
            case Noted() | Awaiting() | Vouched() | Piece() | Part() | End() | Refused():
                self._downloads.peer_said(device, message, now)
            case Get():
                self._serving.child_asks(device, message, now)
            case Cancel():
                self._serving.child_cancels(device, message, now)
            case Ask():
                self._lease_server.asked(device, message, now)
            case Granted() | Follow() | Redirect() | GoAlone():
                self._home_answered(device, message, now)
            case Progress() | Finished() | Held() | Dropped() | Shadow():
                self._ledger_news(device, message, now)
            case Watching(streams, serves):
                self.context.membership.watching(device, streams, serves=serves)
                self.announcements.register(streams, now)
                self.announcements.tell_keepers(device, streams)
            case Keepers():
                self.announcements.keepers_told(message, now)
            case Hello() | Ping() | Pong() | Bye():
                impossible(f"{type(message).__name__} belongs to the link, not to the node")

    def _ledger_news(self, device: str, message: Progress | Finished | Held | Dropped | Shadow, now: Instant) -> None:
        """A neighbour tells the ledger kept here what it fetches, has, or no longer has."""
        ledger = self.context.ledger
        match message:
            case Progress(key, lease, received):
                ledger.lease_progressed(key, lease, device, received, now)
            case Finished(key, lease, outcome, status, why, generation):
                ledger.lease_ended(key, lease, device, outcome, status, why, now, generation)
            case Held(key, stream):
                ledger.segment_held(key, stream, device)
            case Dropped(key):
                ledger.segment_dropped(key, device)
            case Shadow(key, stream, fetcher, lease) if fetcher.device != self.context.me.device:
                self.context.membership.met(fetcher, f"named by {device[:8]}")
                ledger.lease_shadowed(key, stream, fetcher.device, lease, now)
            case Shadow():
                pass

    def _home_answered(self, device: str, message: Granted | Follow | Redirect | GoAlone, now: Instant) -> None:
        """A home answered a question; a lease that is not waited for any more is handed back or moved."""
        if not self._downloads.home_answered(device, message, now) and isinstance(message, Granted):
            # came too late: another home answered meanwhile
            download = self._downloads.get(message.key)
            if download is not None and download.fetching:
                download.origin.move_lease(device, message.lease, now)
                return
            done = self._holds(message.key, now)
            outcome = Finished(message.key, message.lease, "complete" if done else "cancelled", 0, "answered too late")
            self.context.send(device, outcome)

    # ---- for tests

    def check(self) -> None:
        """Assert what holds after every event."""
        self._downloads.check()
        self._serving.check()
