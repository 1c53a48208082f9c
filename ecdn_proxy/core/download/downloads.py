"""The segments on their way to this machine: begun by its viewers, ended into its cache.

    errand()              one needs it that cannot reach whoever has it: it is read for that one
    wanted()              a viewer asks: from memory, from disk, or an `acquisition` begins, or reads along with one
    origin(), said(), answered()   what comes goes to the acquisition it is for
    wake(), settle()      what has become due; what is over leaves, and its children with it if it failed

Bounded: beyond so many segments or bytes at once viewers go to the origin by themselves.
"""

from collections import OrderedDict
from collections.abc import Iterator

from ecdn_proxy.core.download.cache import Cache
from ecdn_proxy.core.download.download import Download
from ecdn_proxy.core.download.outcome import Stage
from ecdn_proxy.core.download.slack import Cadence
from ecdn_proxy.core.events import (
    BeginAnswer,
    Deliver,
    Finish,
    Load,
    OriginAnswered,
    OriginEnded,
    OriginFailed,
    OriginSent,
    PassOn,
    Served,
    Wanted,
)
from ecdn_proxy.core.http.cacheability import is_fresh
from ecdn_proxy.core.swarm.announcements import Announcements
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.upload.uploads import Uploads
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant, earliest
from ecdn_proxy.wire.peer import End, Follow, GoAlone, Granted, Noted, Piece, Redirect, Refused, Vouched

_PRIVATE_REMEMBERED = 256
ERRANDS_MAX = 16
"""Segments read at once for others only; a live stream in three renditions has one or two that are new."""


class Downloads:
    """See the head of this file."""

    def __init__(self, context: NodeContext, cache: Cache, uploads: Uploads, announcements: Announcements) -> None:
        self._context = context
        self._cache = cache
        self._uploads = uploads
        self._announcements = announcements
        self._cadence = Cadence(context.limits)
        self._by_key: dict[str, Download] = {}
        self._private: OrderedDict[tuple[str, str], tuple[Instant, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Download]:
        """All of them; they may end meanwhile."""
        return iter(list(self._by_key.values()))

    def get(self, key: str) -> Download | None:
        """The one of a key."""
        return self._by_key.get(key)

    # ---- viewers

    def wanted(self, event: Wanted, now: Instant) -> None:
        """A viewer asks for a segment that it may have."""
        self._context.set_utc(event.utc, now)
        self._announcements.watch(event.stream, now)
        slack_s = self._cadence.slack_s(event.stream, event.rendition, event.number, event.duration_s, now)
        if (why := self._is_private(event, now)) is not None:
            self._pass(event, why)
            return
        if (stored := self._cache.get(event.key, event.utc)) is not None:
            self._from_cache(event, stored, "in this machine's memory")
            return
        download = self._by_key.get(event.key)
        if download is None:
            if self._is_overfull():
                self._pass(event, "too many segments are being fetched at once")
                return
            download = self._begin(event.key, event.stream, now)
            download.want(event, slack_s, now)
            self._start(download, now)
        else:
            download.want(event, slack_s, now)

    def _begin(self, key: str, stream: str, now: Instant) -> Download:
        download = self._by_key[key] = Download(self._context, key, stream, now, self._announcements.is_unsettled)
        return download

    def errand(self, key: str, stream: str, home: str, now: Instant) -> bool:
        """Read a segment that nobody watches here yet, for one that cannot reach whoever has it; False: not now."""
        errands = sum(1 for it in self._by_key.values() if it.wanted is None)
        if errands >= ERRANDS_MAX or self._is_overfull():
            return False
        download = self._begin(key, stream, now)
        download.errand(home, now)
        return not download.ended

    def _is_overfull(self) -> bool:
        in_flight = sum(it.assembly.available_bytes for it in self._by_key.values())
        limits = self._context.limits
        return len(self._by_key) >= limits.acquisitions_max or in_flight >= limits.in_flight_bytes_max

    def viewer_left(self, viewer: int, now: Instant) -> None:
        """A viewer's connection ended."""
        for download in self:
            download.viewer_left(viewer, now)

    def _start(self, download: Download, now: Instant) -> None:
        if self._cache.on_disk(download.key) and download.stage is Stage.JOINING:
            download.stage = Stage.LOADING
            self._context.out.append(Load(download.key))
        elif self._announcements.joining(download.stream, now):
            download.stage = Stage.JOINING
        else:
            download.ask("first", now)

    def joining(self) -> list[str]:
        """Streams of which a segment waits for the neighbours' names."""
        return [it.stream for it in self._by_key.values() if it.stage is Stage.JOINING]

    def join_over(self, now: Instant) -> None:
        """Whoever need not wait for names any more asks."""
        for download in self:
            if download.stage is Stage.JOINING and not self._announcements.joining(download.stream, now):
                download.ask("first", now)

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

    def _pass(self, event: Wanted, why: str) -> None:
        self._context.out.append(PassOn(event.viewer, why))
        self._context.out.append(
            Served(event.key, event.stream, event.rendition, event.number, "passed", why, 0.0, bytes_by_source=())
        )

    def _is_private(self, event: Wanted, now: Instant) -> str | None:
        until, why = self._private.get((event.stream, event.rendition), (0.0, ""))
        return why if until > now else None

    def loaded(self, key: str, stored: StoredSegment | None, now: Instant) -> None:
        """The disk answered."""
        download = self._by_key.get(key)
        if stored is None:
            self._cache.lost_on_disk(key)
        elif is_fresh(stored.head, self._context.utc(now)):
            self._cache.loaded(stored)
        else:
            self._cache.drop(key)
            stored = None
        if download is None or download.stage is not Stage.LOADING:
            return
        if stored is None:
            download.stage = Stage.ASKING
            self._start(download, now)
        else:
            download.loaded(stored, now)

    def reconsider(self, stream: str, now: Instant) -> None:
        """Neighbours have become known: what is fetched alone and has not begun to come may be had from them."""
        for download in self:
            if download.stream == stream and len(self._context.membership.committee(stream, now)) > 1:
                download.reconsider(now)

    def _over(self, download: Download, now: Instant) -> None:
        del self._by_key[download.key]
        wanted = download.wanted
        if download.private_for_s and wanted is not None:
            self._private[wanted.stream, wanted.rendition] = (
                now + download.private_for_s,
                download.private_why,
            )
            if len(self._private) > _PRIVATE_REMEMBERED:
                self._private.popitem(last=False)
        if download.finished is None:
            self._uploads.refuse(download.key, "private" if download.private_for_s else "lost")
            return
        if download.from_disk:
            return
        if wanted is not None:
            self._uploads.uplink.plays(len(download.finished.body), wanted.duration_s)
        self._cache.put(download.finished)
        self._announcements.completed(download.key, download.stream, now, fetched=download.fetched)

    # ---- what comes

    def origin(self, event: OriginAnswered | OriginSent | OriginEnded | OriginFailed, now: Instant) -> None:
        """News of a fetch; of one that is over nothing follows."""
        download = next((it for it in self._by_key.values() if it.fetches(event.fetch)), None)
        if download is None:
            return
        match event:
            case OriginAnswered():
                self._context.set_utc(event.utc, now)
                download.origin_answered(event, now)
            case OriginSent(data=data):
                download.origin_sent(data, now)
            case OriginEnded():
                download.origin_ended(now)
            case OriginFailed(why=why):
                download.origin_failed(why, now)

    def said(self, device: str, message: Noted | Vouched | Piece | End | Refused, now: Instant) -> None:
        """A part of a transfer to here.

        Raises:
            PeerMisbehaved: it broke the protocol or sent wrong bytes.
        """
        for download in self._by_key.values():
            if download.reads(device, message.request):
                download.peer_said(message, now)
                break

    def answered(self, device: str, message: Granted | Follow | Redirect | GoAlone, now: Instant) -> bool:
        """A home's answer; False when nobody waits for it any more."""
        for download in self._by_key.values():
            lease_request = download.lease_request()
            if lease_request is not None and lease_request.owns(device, message.request):
                download.found(lease_request.home_answered(device, message, now), now)
                return True
        return False

    def device_left(self, device: str, now: Instant) -> None:
        """A link ended or could not be made: no answer, no piece and no lease comes from there."""
        for download in self:
            lease_request = download.lease_request()
            if lease_request is not None:
                download.found(lease_request.link_closed(device, now), now)
            if download.parent == device:
                download.parent_lost(now)
            download.home_lost(device, now)

    # ---- time

    def wake(self, now: Instant) -> None:
        """Do what has become due."""
        for download in self:
            due = download.wake_at()
            if due is not None and due <= now:
                download.wake(now)
        self.join_over(now)

    def wake_at(self) -> Instant | None:
        """When `wake` has something to do; the end of a wait for names is known to the housekeeping."""
        return earliest([download.wake_at() for download in self._by_key.values()])

    def settle(self, now: Instant) -> None:
        """Those that are over leave."""
        for download in self:
            download.children = self._uploads.of(download.key)
            if download.ended:
                self._over(download, now)

    def check(self) -> None:
        """Invariants that hold after every event."""
        for key, download in self._by_key.items():
            assert key == download.key
            assert not download.ended
            assert download.assembly.vouched <= len(download.assembly.pieces)
            assert download.parent is None or download.parent != self._context.me.device
        assert len(self._by_key) <= self._context.limits.acquisitions_max
