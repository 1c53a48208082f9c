"""The segments on their way to this machine: each begun by a viewer or a neighbour, and kept in the cache in the end.

    wanted()              a viewer asks: it is answered from memory, or a `Download` begins, or it reads along with one
    begin_errand()        a neighbour sends for a segment that is out of its own reach
    disk_answered()       what the disk has, and what it has lost
    origin_event(), peer_said(), home_answered()     each goes to the download that it is for
    wake(), settle()      what has become due; what is over leaves, and its children with it if it failed

Bounded: beyond so many segments or bytes at once viewers go to the origin by themselves.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

from ecdn_proxy.core.download.cache import Cache, age_of
from ecdn_proxy.core.download.download import Download
from ecdn_proxy.core.download.gaps import Gaps
from ecdn_proxy.core.download.lease_request import HomesAnswer
from ecdn_proxy.core.download.outcome import Arrived, GivenUp, Outcome, Unshareable
from ecdn_proxy.core.download.slack import Cadence
from ecdn_proxy.core.download.stages import Stage
from ecdn_proxy.core.download.viewers import UNSELECTED, demand_of
from ecdn_proxy.core.events import (
    BeginAnswer,
    Deliver,
    Finish,
    OriginAnswered,
    OriginEnded,
    OriginFailed,
    OriginReached,
    OriginSent,
    PassOn,
    Served,
    Wanted,
)
from ecdn_proxy.core.http.freshness import is_selected, objection
from ecdn_proxy.core.swarm.announcements import Announcements
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.upload.uploads import Uploads
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant, earliest
from ecdn_proxy.wire.peer import Transfer
from ecdn_proxy.wire.sharing_rules import SharingRule

_PRIVATE_REMEMBERED = 256
"""Renditions that are known not to be shared; the one noted first is forgotten first."""
_CHANGED_REMEMBERED = 256
"""Segments that a request from this machine has changed; players change none, and tools that do change few."""
ERRANDS_MAX = 16
"""Segments read at once for others only; a live stream in three renditions has one or two that are new."""


class Downloads:
    """All downloads of this machine, by key; finds the one that an event belongs to."""

    def __init__(self, context: NodeContext, cache: Cache, uploads: Uploads, announcements: Announcements) -> None:
        self._context = context
        self._cache = cache
        self._uploads = uploads
        self._announcements = announcements
        self._cadence = Cadence(context.limits)
        self._gaps = Gaps()
        self._by_key: dict[str, Download] = {}
        self._changed: OrderedDict[str, Instant] = OrderedDict()
        self._private: OrderedDict[tuple[str, str, SharingRule | None], tuple[Instant, str]] = OrderedDict()
        """By stream, rendition and the rule that did not help: with another rule the origin is asked anew."""

    def __iter__(self) -> Iterator[Download]:
        """All downloads; they may end meanwhile."""
        return iter(list(self._by_key.values()))

    def get(self, key: str) -> Download | None:
        """The download of a key, if one is under way."""
        return self._by_key.get(key)

    # ---- viewers

    def wanted(self, event: Wanted, now: Instant) -> None:
        """A viewer asks for a segment that it may have."""
        self._context.set_utc(event.utc, now)
        self._announcements.watch(event.stream, now)
        slack_s = self._cadence.slack_s(event.stream, event.rendition, event.number, event.duration_s, now)
        if (why := self._is_private(event, now)) is not None:
            self._pass_on(event, why)
            return
        changed_at = self.changed_at(event.key)
        demand = demand_of(event, changed_at, now)
        stored = self._cache.use(event.key)
        if stored is not None:
            head = self._context.proofs.apply(stored.head, event.stream, event.rendition, demand.page, now)
            stored = replace(stored, head=head)
            if not is_selected(head, demand.sent):
                self._pass_on(event, UNSELECTED)
                return
            if objection(head, age_of(stored), demand, now) is None:
                self._from_cache(event, stored, "in this machine's memory")
                return
        download = self._by_key.get(event.key)
        if download is None:
            if self._is_overfull():
                self._pass_on(event, "too many segments are being fetched at once")
                return
            download = self._new(event.key, event.stream, now)
            download.timeouts.gap_s = self._gaps.allowed_s(event.stream, event.rendition, event.duration_s)
            download.want(event, slack_s, now, changed_at)
            joining = self._announcements.joining(download.stream, now)
            if stored is not None:
                download.delivery.hold(stored)
            on_disk = stored is None and self._cache.on_disk(event.key)
            download.begin(now, on_disk=on_disk, joining=joining)
        else:
            download.want(event, slack_s, now, changed_at)

    def changed(self, key: str, now: Instant) -> None:
        """A request from this machine has changed what is at a segment's address: older copies are void for it."""
        self._changed[key] = now
        self._changed.move_to_end(key)
        if len(self._changed) > _CHANGED_REMEMBERED:
            self._changed.popitem(last=False)

    def changed_at(self, key: str) -> Instant | None:
        """When a request from this machine last changed a segment at the origin."""
        return self._changed.get(key)

    def _new(self, key: str, stream: str, now: Instant) -> Download:
        download = self._by_key[key] = Download(self._context, key, stream, now, self._announcements.is_unsettled)
        return download

    def begin_errand(self, key: str, stream: str, home: str, now: Instant) -> bool:
        """Read a segment that nobody watches here for a neighbour that cannot reach whoever has it; False: not now.

        Args:
            key: of the segment.
            stream: that the segment belongs to.
            home: the device whose ledger sent the neighbour here; it knows whom to read from.
            now: the time.
        """
        errands = sum(1 for it in self._by_key.values() if it.delivery.wanted is None)
        if errands >= ERRANDS_MAX or self._is_overfull():
            return False
        download = self._new(key, stream, now)
        download.begin_errand(home, now)
        return not download.ended

    def _is_overfull(self) -> bool:
        in_flight = sum(it.assembly.available_bytes for it in self._by_key.values())
        limits = self._context.limits
        return len(self._by_key) >= limits.acquisitions_max or in_flight >= limits.in_flight_bytes_max

    def viewer_left(self, viewer: int, now: Instant) -> None:
        """A viewer's connection ended."""
        for download in self:
            download.viewer_left(viewer, now)

    def joining(self) -> list[str]:
        """Streams of which a segment waits for the neighbours' names."""
        return [it.stream for it in self._by_key.values() if it.stage is Stage.JOINING]

    def join_over(self, now: Instant) -> None:
        """Downloads that need not wait for the neighbours' names any more ask the ledger."""
        for download in self:
            if download.stage is Stage.JOINING and not self._announcements.joining(download.stream, now):
                download.joining_over(now)

    def _from_cache(self, event: Wanted, stored: StoredSegment, why: str) -> None:
        self._context.out += [
            BeginAnswer(event.viewer, stored.head, "cache", why),
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

    def _pass_on(self, event: Wanted, why: str) -> None:
        self._context.out.append(PassOn(event.viewer, why))
        self._context.out.append(
            Served(event.key, event.stream, event.rendition, event.number, "passed", why, 0.0, bytes_by_source=())
        )

    def _is_private(self, event: Wanted, now: Instant) -> str | None:
        until, why = self._private.get((event.stream, event.rendition, event.origin.rule), (0.0, ""))
        return why if until > now else None

    def disk_answered(self, key: str, stored: StoredSegment | None, now: Instant) -> None:
        """The disk has the segment, or None: it has lost it."""
        download = self._by_key.get(key)
        if stored is None:
            self._cache.lost_on_disk(key)
        else:
            stored = self._cache.loaded(stored, now, self._context.utc(now))
        if download is not None:
            download.disk_answered(stored, now, joining=self._announcements.joining(download.stream, now))

    def reconsider(self, stream: str, now: Instant) -> None:
        """Neighbours have become known: what is fetched alone and has not begun to come may be had from them."""
        for download in self:
            if download.stream == stream and len(self._context.membership.committee(stream, now)) > 1:
                download.reconsider(now)

    def _over(self, download: Download, outcome: Outcome, now: Instant) -> None:
        """Forget a download, and keep what is left of it."""
        del self._by_key[download.key]
        wanted = download.delivery.wanted
        match outcome:
            case Arrived(stored, from_disk=False, fetched=fetched):
                if wanted is not None:
                    self._uploads.uplink.plays(len(stored.body), wanted.duration_s)
                    if download.assembly.grew:
                        self._gaps.learn(wanted.stream, wanted.rendition, download.timeouts.longest_gap_s)
                self._cache.put(stored)
                self._announcements.completed(download.key, download.stream, now, fetched=fetched)
            case Arrived():
                pass
            case Unshareable(why, for_s):
                if wanted is not None:
                    self._private[wanted.stream, wanted.rendition, wanted.origin.rule] = now + for_s, why
                    if len(self._private) > _PRIVATE_REMEMBERED:
                        self._private.popitem(last=False)
                self._uploads.refuse_children(download.key, "private")
            case GivenUp():
                self._uploads.refuse_children(download.key, "lost")

    # ---- what comes

    def origin_event(
        self, event: OriginReached | OriginAnswered | OriginSent | OriginEnded | OriginFailed, now: Instant
    ) -> None:
        """News of a fetch from the origin; of a fetch that is over nothing follows."""
        download = next((it for it in self._by_key.values() if it.origin.number == event.fetch), None)
        if download is None:
            return
        match event:
            case OriginReached():
                download.timeouts.origin_reached()
            case OriginAnswered():
                self._context.set_utc(event.utc, now)
                download.origin_answered(event, now)
            case OriginSent(data=data):
                download.origin_sent(data, now)
            case OriginEnded():
                download.origin_ended(now)
            case OriginFailed(why=why):
                download.origin_failed(why, now)

    def peer_said(self, device: str, message: Transfer, now: Instant) -> None:
        """A part of a transfer to here.

        Raises:
            PeerMisbehaved: it broke the protocol or sent wrong bytes.
        """
        for download in self._by_key.values():
            if download.parents.is_answer(device, message.request):
                download.peer_said(message, now)
                break

    def home_answered(self, device: str, message: HomesAnswer, now: Instant) -> bool:
        """A home answered a question about a key; False when nobody waits for the answer any more."""
        return any(download.home_answered(device, message, now) for download in self._by_key.values())

    def device_left(self, device: str, now: Instant) -> None:
        """A link ended or could not be made: no answer, no piece and no lease comes from there."""
        for download in self:
            download.device_left(device, now)

    # ---- time

    def wake(self, now: Instant) -> None:
        """Do what has become due."""
        for download in self:
            due = download.wake_at()
            if due is not None and due <= now:
                download.wake(now)
        self.join_over(now)

    def wake_at(self) -> Instant | None:
        """When `wake` has something to do; the end of a wait for names is known to `Announcements`."""
        return earliest([download.wake_at() for download in self._by_key.values()])

    def settle(self, now: Instant) -> None:
        """Those that are over leave."""
        for download in self:
            if download.delivery.begun_anew:
                download.delivery.begun_anew = False
                self._uploads.begin_anew(download.key)
            if download.timeouts.has_word:
                download.timeouts.take_word()
                self._uploads.tell_awaited(download.key)
            if download.assembly.disputed:
                self._uploads.refuse_children(download.key, "private")
            download.delivery.children = self._uploads.children_of(download.key)
            if download.outcome is not None:
                self._over(download, download.outcome, now)

    def check(self) -> None:
        """Invariants that hold after every event."""
        for key, download in self._by_key.items():
            assert key == download.key
            assert not download.ended
            download.check()
        assert len(self._by_key) <= self._context.limits.acquisitions_max
