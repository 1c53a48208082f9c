"""The node: every decision of one agent as one machine.

    handle(event, now) -> effects        wake(now) -> effects        wake_at()

It joins the parts: `acquisitions` (segments for viewers here), `ledger` and `inquiry` (who goes to the origin), `home`
(answers other agents), `giving` (what they get), `view` (who is near), `cache`. No clock, socket, disk or log:
the performer and the simulator do what the effects say, and tests read as timetables. `check()` holds the invariants
that every test ends with.
"""

from ecdn_proxy.core.download.cache import Cache
from ecdn_proxy.core.download.downloads import Acquisitions
from ecdn_proxy.core.events import (
    DevicesDenied,
    Effect,
    Event,
    HangUp,
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
from ecdn_proxy.core.lease_server import Home
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.core.serving import Giving
from ecdn_proxy.core.swarm.announcements import Housekeeping
from ecdn_proxy.core.swarm.context import Site
from ecdn_proxy.core.upload.uploads import Uploads
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant, earliest, impossible
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.peer import (
    Ask,
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
    """One agent's decisions."""

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
        self.site = Site(me, seal, limits)
        self.cache = Cache(memory_bytes, disk_bytes, self.site.out)
        self.uploads = Uploads(self.site, limits, upload_mbps)
        self.house = Housekeeping(self.site, share_after_watching_s)
        self._limits = limits
        self._acquisitions = Acquisitions(self.site, self.cache, self.uploads, self.house)
        self._giving = Giving(self.site, self.cache, self.uploads, self.house, self._acquisitions)
        self._home = Home(self.site, lambda key: self.cache.peek(key) is not None, self._acquisitions.get)

    # ---- the one door

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take one event; see `ecdn_proxy.core.events`."""
        match event:
            case Wanted():
                self._acquisitions.wanted(event, now)
            case ViewerLeft(viewer):
                self._acquisitions.viewer_left(viewer, now)
            case OriginAnswered() | OriginSent() | OriginEnded() | OriginFailed():
                self._acquisitions.origin(event, now)
            case Received(device, message):
                self._received(device, message, now)
            case Loaded(key, stored):
                self._acquisitions.loaded(key, stored, now)
            case LinkFull(device) | LinkReady(device):
                if (link := self.site.links.get(device)) is not None:
                    link.full = isinstance(event, LinkFull)
            case LinkOpened() | LinkClosed():
                self._link(event, now)
            case StreamOpened(stream):
                self.house.watch(stream, now)
            case LanSeen() | LanLost() | TrackerSaid() | TrackerChanged() | DevicesDenied() | Moved() | PolicyChanged():
                self._neighbourhood(event, now)
        return self._settle(now)

    def wake(self, now: Instant) -> list[Effect]:
        """Do what has become due."""
        self._acquisitions.wake(now)
        self._giving.decide("busy", now)
        self.house.wake(now)
        return self._settle(now)

    def wake_at(self) -> Instant | None:
        """When `wake` must be called at the latest."""
        times = (
            self.uploads.wake_at(),
            self.house.wake_at(self._acquisitions.joining()),
            self._giving.serves_again_at(),
            self._acquisitions.wake_at(),
        )
        return earliest(times)

    def _settle(self, now: Instant) -> list[Effect]:
        """What every event ends with: segments that are over, pieces that can go out, the effects."""
        self._acquisitions.settle(now)
        self._giving.pump(now)
        self.house.look_around(now)
        done, self.site.out[:] = list(self.site.out), []
        return done

    # ---- viewers

    def in_memory(self, key: str, utc: float) -> StoredSegment | None:
        """A whole, fresh segment that can be answered at once."""
        return self.cache.get(key, utc)

    # ---- neighbours

    def _link(self, event: LinkOpened | LinkClosed, now: Instant) -> None:
        match event:
            case LinkOpened(contact, kind, streams, serves, rtt_ms):
                if self.site.view.is_barred(contact.device, now):
                    self.site.out.append(HangUp(contact.device, "this device may not be spoken to now"))
                    return
                self.site.view.linked(contact, streams, serves=serves)
                self.site.opened(contact, kind, rtt_ms)
                self.house.register(streams, now)
                self.house.tell_keepers(contact.device, streams)
            case LinkClosed(device, why, misbehaved):
                if misbehaved:
                    self._bar(device, why, now)
                self._device_left(device, now)

    def _bar(self, device: str, why: str, now: Instant) -> None:
        self.site.view.banned(device, now + self._limits.ban_s)
        self.site.out.append(RaiseCondition("peer-misbehaved", f"{device[:8]}: {why}"))

    def _device_left(self, device: str, now: Instant) -> None:
        stood = self.site.closed(device)
        self.site.view.unlinked(device, now)
        if stood:
            self.site.ledger.left(device)
        self.house.register(self.house.watched(), now)
        self.uploads.device_left(device)
        self._acquisitions.device_left(device, now)

    def _ban(self, device: str, why: str, now: Instant) -> None:
        self.site.hang_up(device, why)
        self._bar(device, why, now)
        self._device_left(device, now)

    def _neighbourhood(
        self,
        event: LanSeen | LanLost | TrackerSaid | TrackerChanged | DevicesDenied | Moved | PolicyChanged,
        now: Instant,
    ) -> None:
        view = self.site.view
        match event:
            case LanSeen(contact, tags, serves):
                view.lan_seen(contact, tags, serves=serves)
                self.house.register(self.house.watched(), now)
            case LanLost(device):
                view.lan_lost(device)
                self.house.register(self.house.watched(), now)
            case TrackerSaid(stream, committee, contacts):
                view.tracker_said(stream, committee, contacts)
                self.house.named(stream)
                self.house.register((stream,), now)
                self._acquisitions.reconsider(stream, now)
            case TrackerChanged(connected):
                self.house.tracker_connected = connected
            case DevicesDenied(devices):
                view.denied(devices)
                for device in sorted(devices & self.site.links.keys()):
                    self.site.hang_up(device, "the coordinator denied this device")
                    self._device_left(device, now)
            case Moved(me):
                self.site.me = me
                view.moved(me)
            case PolicyChanged(sharing, uploads, why):
                self.site.sharing = sharing
                self._giving.permitted(uploads=uploads and sharing, now=now)
                self.house.announce()
                if not sharing:
                    for device in list(self.site.links):
                        self.site.hang_up(device, why)
        self._acquisitions.join_over(now)

    # ---- peers

    def _received(self, device: str, message: PeerMessage, now: Instant) -> None:
        if device not in self.site.links:
            return
        self.site.view.heard_from(device)
        try:
            self._dispatch(device, message, now)
        except PeerMisbehaved as fault:
            self._ban(device, fault.why, now)

    def _dispatch(self, device: str, message: PeerMessage, now: Instant) -> None:
        match message:
            case Noted() | Vouched() | Piece() | End() | Refused():
                self._acquisitions.said(device, message, now)
            case Get():
                self._giving.get(device, message, now)
            case Cancel():
                self._giving.cancelled(device, message, now)
            case Ask():
                self._home.asked(device, message, now)
            case Granted() | Follow() | Redirect() | GoAlone():
                self._answered(device, message, now)
            case Progress() | Finished() | Held() | Dropped() | Shadow():
                self._reported(device, message, now)
            case Watching(streams, serves):
                self.site.view.watching(device, streams, serves=serves)
                self.house.register(streams, now)
                self.house.tell_keepers(device, streams)
            case Keepers():
                self.house.keepers_told(message, now)
            case Hello() | Ping() | Pong() | Bye():
                impossible(f"{type(message).__name__} belongs to the link, not to the node")

    def _reported(self, device: str, message: Progress | Finished | Held | Dropped | Shadow, now: Instant) -> None:
        """News for the ledger kept here."""
        ledger = self.site.ledger
        match message:
            case Progress(key, lease, received):
                ledger.progress(key, lease, device, received, now)
            case Finished(key, lease, outcome, status, why):
                ledger.finished(key, lease, device, outcome, status, why, now)
            case Held(key, stream):
                ledger.held(key, stream, device)
            case Dropped(key):
                ledger.dropped(key, device)
            case Shadow(key, stream, fetcher, lease) if fetcher.device != self.site.me.device:
                self.site.view.met(fetcher, f"named by {device[:8]}")
                ledger.shadow(key, stream, fetcher.device, lease, now)
            case Shadow():
                pass

    def _answered(self, device: str, message: Granted | Follow | Redirect | GoAlone, now: Instant) -> None:
        if not self._acquisitions.answered(device, message, now) and isinstance(message, Granted):
            # came too late: another home answered meanwhile
            acquisition = self._acquisitions.get(message.key)
            if acquisition is not None and acquisition.fetching:
                acquisition.lease_moves(device, message.lease, now)
                return
            done = self.cache.peek(message.key) is not None
            outcome = Finished(message.key, message.lease, "complete" if done else "cancelled", 0, "answered too late")
            self.site.send(device, outcome)

    # ---- for tests and the status page

    def check(self) -> None:
        """Invariants that hold after every event."""
        self._acquisitions.check()
        self._giving.check()

    def acquiring(self) -> dict[str, str]:
        """Keys being acquired, and where each stands."""
        return {it.key: it.stage.value for it in self._acquisitions}
