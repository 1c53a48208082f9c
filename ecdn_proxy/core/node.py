"""The node: every decision of one agent as one machine.

    handle(event, now) -> effects        wake(now) -> effects        wake_at()

It joins the parts: `acquisition` (a segment for viewers here), `ledger` and `inquiry` (who goes to the origin),
`home` (answers other agents), `upload` (what they get), `view` (who is near), `cache`. No clock, socket, disk or log:
the performer and the simulator do what the effects say, and tests read as timetables. `check()` holds the invariants
that every test ends with.
"""

from collections import OrderedDict
from typing import Literal

from ecdn_proxy.core.acquisition import Acquisition, Stage
from ecdn_proxy.core.cache import Cache
from ecdn_proxy.core.deadline import Cadence
from ecdn_proxy.core.happenings import (
    Answer,
    Deliver,
    DevicesDenied,
    Effect,
    Event,
    Finish,
    HangUp,
    LanLost,
    LanSeen,
    LinkClosed,
    LinkFull,
    LinkOpened,
    LinkReady,
    Load,
    Loaded,
    Moved,
    OriginAnswered,
    OriginEnded,
    OriginFailed,
    OriginSent,
    PassOn,
    PolicyChanged,
    RaiseCondition,
    Received,
    Served,
    StoredSegment,
    StreamOpened,
    TrackerChanged,
    TrackerSaid,
    ViewerLeft,
    Wanted,
)
from ecdn_proxy.core.home import Home
from ecdn_proxy.core.housekeeping import Housekeeping
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.segment import Seal
from ecdn_proxy.core.shareable import is_fresh
from ecdn_proxy.core.site import Site
from ecdn_proxy.core.upload import Offer, Uploads
from ecdn_proxy.sansio.machine import Instant, impossible
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PIECE_BYTES
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

_PRIVATE_REMEMBERED = 256


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
        self._cadence = Cadence(limits)
        self._home = Home(
            self.site, lambda key: self.cache.peek(key) is not None, lambda key: self._acquisitions.get(key)
        )
        self._acquisitions: dict[str, Acquisition] = {}
        self._may_serve = True
        self._private: OrderedDict[tuple[str, str], tuple[Instant, str]] = OrderedDict()

    # ---- the one door

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take one event; see `ecdn_proxy.core.happenings`."""
        match event:
            case Wanted():
                self._wanted(event, now)
            case ViewerLeft(viewer):
                for acquisition in list(self._acquisitions.values()):
                    acquisition.viewer_left(viewer, now)
            case OriginAnswered() | OriginSent() | OriginEnded() | OriginFailed():
                self._origin(event, now)
            case Received(device, message):
                self._received(device, message, now)
            case Loaded(key, stored):
                self._loaded(key, stored, now)
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
        for acquisition in list(self._acquisitions.values()):
            due = acquisition.wake_at()
            if due is not None and due <= now:
                acquisition.wake(now)
        self._join_over(now)
        self._serve_or_not("busy", now)
        self.house.wake(now)
        return self._settle(now)

    def wake_at(self) -> Instant | None:
        """When `wake` must be called at the latest."""
        times = [self.uploads.wake_at(), self.house.wake_at(self._joining()), self._serves_again_at()]
        times += [acquisition.wake_at() for acquisition in self._acquisitions.values()]
        return min((it for it in times if it is not None), default=None)

    def _serves_again_at(self) -> Instant | None:
        return self.uploads.uplink.slow_until if self._may_serve and not self.site.view.serves else None

    def _settle(self, now: Instant) -> list[Effect]:
        """What every event ends with: segments that are over, pieces that can go out, the effects."""
        for acquisition in list(self._acquisitions.values()):
            acquisition.children = self.uploads.of(acquisition.key)
            if acquisition.ended:
                self._over(acquisition, now)
        if len(self.uploads):
            self.uploads.pump(self._offer, now)
        done, self.site.out[:] = list(self.site.out), []
        return done

    # ---- viewers

    def in_memory(self, key: str, utc: float) -> StoredSegment | None:
        """A whole, fresh segment that can be answered at once."""
        return self.cache.get(key, utc)

    def _wanted(self, event: Wanted, now: Instant) -> None:
        self.site.set_utc(event.utc, now)
        self.house.watch(event.stream, now)
        slack_s = self._cadence.slack_s(event.stream, event.rendition, event.number, event.duration_s, now)
        if (why := self._is_private(event, now)) is not None:
            self._pass(event, why)
            return
        if (stored := self.cache.get(event.key, event.utc)) is not None:
            self._from_cache(event, stored, "in this machine's memory")
            return
        acquisition = self._acquisitions.get(event.key)
        if acquisition is None:
            if self._is_overfull():
                self._pass(event, "too many segments are being fetched at once")
                return
            acquisition = self._acquisitions[event.key] = Acquisition(self.site, event, now, self.house.is_unsettled)
            acquisition.want(event, slack_s, now)
            self._start(acquisition, now)
        else:
            acquisition.want(event, slack_s, now)

    def _is_overfull(self) -> bool:
        in_flight = sum(it.assembly.available_bytes for it in self._acquisitions.values())
        limits = self._limits
        return len(self._acquisitions) >= limits.acquisitions_max or in_flight >= limits.in_flight_bytes_max

    def _start(self, acquisition: Acquisition, now: Instant) -> None:
        if self.cache.on_disk(acquisition.key) and acquisition.stage is Stage.JOINING:
            acquisition.stage = Stage.LOADING
            self.site.out.append(Load(acquisition.key))
        elif self.house.joining(acquisition.stream, now):
            acquisition.stage = Stage.JOINING
        else:
            acquisition.ask("first", now)

    def _joining(self) -> list[str]:
        return [it.stream for it in self._acquisitions.values() if it.stage is Stage.JOINING]

    def _join_over(self, now: Instant) -> None:
        for acquisition in list(self._acquisitions.values()):
            if acquisition.stage is Stage.JOINING and not self.house.joining(acquisition.stream, now):
                acquisition.ask("first", now)

    def _from_cache(self, event: Wanted, stored: StoredSegment, why: str) -> None:
        self.site.out += [
            Answer(event.viewer, stored.head, "cache", why),
            Deliver(event.viewer, stored.body),
            Finish(event.viewer),
            Served(
                key=event.key,
                stream=event.stream,
                rendition=event.rendition,
                number=event.number,
                source="cache",
                why=why,
                ms=0.0,
                bytes_by_source=(("cache", len(stored.body)),),
            ),
        ]

    def _pass(self, event: Wanted, why: str) -> None:
        self.site.out.append(PassOn(event.viewer, why))
        self.site.out.append(
            Served(event.key, event.stream, event.rendition, event.number, "passed", why, 0.0, bytes_by_source=())
        )

    def _is_private(self, event: Wanted, now: Instant) -> str | None:
        until, why = self._private.get((event.stream, event.rendition), (0.0, ""))
        return why if until > now else None

    def _loaded(self, key: str, stored: StoredSegment | None, now: Instant) -> None:
        acquisition = self._acquisitions.get(key)
        if stored is None:
            self.cache.lost_on_disk(key)
        elif is_fresh(stored.head, self.site.utc(now)):
            self.cache.loaded(stored)
        else:
            self.cache.drop(key)
            stored = None
        if acquisition is None or acquisition.stage is not Stage.LOADING:
            return
        if stored is None:
            acquisition.stage = Stage.ASKING
            self._start(acquisition, now)
        else:
            acquisition.loaded(stored, now)

    def _reconsider(self, stream: str, now: Instant) -> None:
        """Neighbours have become known: what is fetched alone and has not begun to come may be had from them."""
        for acquisition in list(self._acquisitions.values()):
            if acquisition.stream == stream and len(self.site.view.committee(stream, now)) > 1:
                acquisition.reconsider(now)

    def _over(self, acquisition: Acquisition, now: Instant) -> None:
        del self._acquisitions[acquisition.key]
        if acquisition.private_for_s:
            self._private[acquisition.stream, acquisition.rendition] = (
                now + acquisition.private_for_s,
                acquisition.private_why,
            )
            if len(self._private) > _PRIVATE_REMEMBERED:
                self._private.popitem(last=False)
        if acquisition.finished is None:
            self.uploads.refuse(acquisition.key, "private" if acquisition.private_for_s else "lost")
            return
        if acquisition.from_disk:
            return
        self.uploads.uplink.plays(len(acquisition.finished.body), acquisition.duration_s)
        self.cache.put(acquisition.finished)
        self.house.completed(acquisition.key, acquisition.stream, now, fetched=acquisition.fetched)

    # ---- the origin

    def _origin(self, event: OriginAnswered | OriginSent | OriginEnded | OriginFailed, now: Instant) -> None:
        acquisition = next((it for it in self._acquisitions.values() if it.fetches(event.fetch)), None)
        if acquisition is None:
            return
        match event:
            case OriginAnswered():
                self.site.set_utc(event.utc, now)
                acquisition.origin_answered(event, now)
            case OriginSent(data=data):
                acquisition.origin_sent(data, now)
            case OriginEnded():
                acquisition.origin_ended(now)
            case OriginFailed(why=why):
                acquisition.origin_failed(why, now)

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
            case LinkClosed(device, why, misbehaved):
                if misbehaved:
                    self._bar(device, why, now)
                self._device_left(device, now)

    def _bar(self, device: str, why: str, now: Instant) -> None:
        self.site.view.banned(device, now + self._limits.ban_s)
        self.site.out.append(RaiseCondition("peer-misbehaved", f"{device[:8]}: {why}"))

    def _device_left(self, device: str, now: Instant) -> None:
        stood = self.site.closed(device)
        self.site.view.unlinked(device, now + self._limits.dial_retry_s)
        if stood:
            self.site.ledger.left(device)
        self.house.register(self.house.watched(), now)
        self.uploads.device_left(device)
        for acquisition in list(self._acquisitions.values()):
            inquiry = acquisition.inquiry()
            if inquiry is not None:
                acquisition.found(inquiry.link_closed(device, now), now)
            if acquisition.parent == device:
                acquisition.parent_lost(now)
            acquisition.home_lost(device, now)

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
                self._reconsider(stream, now)
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
                self.site.sharing, self._may_serve = sharing, uploads and sharing
                self._serve_or_not("policy", now)
                self.house.announce()
                if not sharing:
                    for device in list(self.site.links):
                        self.site.hang_up(device, why)
        self._join_over(now)

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
            case Vouched() | Piece() | End() | Refused():
                for acquisition in self._acquisitions.values():
                    if acquisition.reads(device, message.request):
                        acquisition.peer_said(message, now)
                        break
            case Get():
                self._get(device, message, now)
            case Cancel():
                self._cancelled(device, message, now)
            case Ask():
                self._home.asked(device, message, now)
            case Granted() | Follow() | Redirect() | GoAlone():
                self._answered(device, message, now)
            case Progress() | Finished() | Held() | Dropped() | Shadow():
                self._reported(device, message, now)
            case Watching(streams, serves):
                self.site.view.watching(device, streams, serves=serves)
                self.house.register(streams, now)
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

    def _serve_or_not(self, reason: Literal["policy", "busy"], now: Instant) -> None:
        """Whether this machine serves others, by policy and by what its uplink carries."""
        view = self.site.view
        before, view.serves = view.serves, self._may_serve and not self.uploads.uplink.is_slow(now)
        if not view.serves:
            for key in self.uploads.keys():  # noqa: SIM118 - not a dict
                self.uploads.refuse(key, reason)
        if before != view.serves and reason == "busy":
            self.house.announce()

    def _cancelled(self, device: str, cancel: Cancel, now: Instant) -> None:
        have, uploads = cancel.late_with, self.uploads
        slow = have is not None and uploads.left_late(device, cancel.request, have, cancel.after_ms / 1000, now)
        key = uploads.cancel(device, cancel.request, now)
        if slow:
            self._serve_or_not("busy", now)
        acquisition = None if key is None else self._acquisitions.get(key)
        if acquisition is not None:
            acquisition.children = self.uploads.of(acquisition.key)
            acquisition.child_left(now)

    def _answered(self, device: str, message: Granted | Follow | Redirect | GoAlone, now: Instant) -> None:
        for acquisition in self._acquisitions.values():
            inquiry = acquisition.inquiry()
            if inquiry is not None and inquiry.owns(device, message.request):
                acquisition.found(inquiry.heard(device, message, now), now)
                return
        if isinstance(message, Granted):
            # came too late: another home answered meanwhile
            done = self.cache.peek(message.key) is not None
            outcome = Finished(message.key, message.lease, "complete" if done else "cancelled", 0, "answered too late")
            self.site.send(device, outcome)

    # ---- giving

    def _get(self, device: str, get: Get, now: Instant) -> None:
        site = self.site
        if not site.view.serves or not self.house.shares(get.stream):
            site.send(device, Refused(get.request, "policy"))
            return
        acquisition = self._acquisitions.get(get.key)
        stored = self.cache.peek(get.key)
        here = stored is not None or acquisition is not None or self.cache.on_disk(get.key)
        if not here or (acquisition is not None and acquisition.parent == device):
            site.send(device, Refused(get.request, "unknown"))
        elif not self.uploads.begin(device, get):
            site.send(device, Refused(get.request, "busy"))
        elif stored is None and acquisition is None:
            site.out.append(Load(get.key))

    def _offer(self, key: str) -> Offer | None:
        stored = self.cache.peek(key)
        if stored is not None:
            body = memoryview(stored.body)
            count = -(-len(body) // PIECE_BYTES)
            return Offer(stored.vouchers, lambda at: body[at * PIECE_BYTES : (at + 1) * PIECE_BYTES], count, whole=True)
        acquisition = self._acquisitions.get(key)
        if acquisition is not None:
            assembly = acquisition.assembly
            return Offer(assembly.vouchers, assembly.pieces.__getitem__, assembly.vouched, whole=assembly.complete)
        return Offer((), lambda _: b"", 0, whole=False) if self.cache.on_disk(key) else None

    # ---- for tests and the status page

    def check(self) -> None:
        """Invariants that hold after every event."""
        for key, acquisition in self._acquisitions.items():
            assert key == acquisition.key
            assert not acquisition.ended
            assert acquisition.assembly.vouched <= len(acquisition.assembly.pieces)
            assert acquisition.parent is None or acquisition.parent != self.site.me.device
        assert len(self._acquisitions) <= self._limits.acquisitions_max
        for key in self.uploads.keys():  # noqa: SIM118 - not a dict
            assert key in self._acquisitions or self.cache.on_disk(key) or self.cache.peek(key) is not None

    def acquiring(self) -> dict[str, str]:
        """Keys being acquired, and where each stands."""
        return {key: it.stage.value for key, it in self._acquisitions.items()}
