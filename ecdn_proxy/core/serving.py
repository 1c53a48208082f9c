"""What other agents get from here: whether, of what, and when this machine had better not.

child_asks(), child_cancels()    a child comes, and leaves; the sending itself is the business of `upload.uploads`
decide()                         whether this machine serves: by policy, and by what its uplink carries
pump()                           what can be sent goes out
"""

from typing import Literal

from ecdn_proxy.core.download.cache import Cache, age_of, is_fresh
from ecdn_proxy.core.download.downloads import Downloads
from ecdn_proxy.core.events import Load, RaiseCondition
from ecdn_proxy.core.http.freshness import CopyAge
from ecdn_proxy.core.swarm.announcements import Announcements
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.upload.uploads import Servable, Uploads
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import MS_MAX, Cancel, Get, Noted, Refused

_NOTHING_YET = Servable((), lambda _: b"", 0, whole=False)


def _told(age: CopyAge, now: Instant) -> tuple[int, int, int]:
    """What `Vouched` says of a copy: its age and how long the origin has said nothing of it (ms), and its place."""
    made_ms, heard_ms = (min(max(0.0, (now - at) * 1000), MS_MAX) for at in (age.made_at, age.heard_at))
    return round(made_ms), max(1, round(heard_ms)), -1 if age.number is None else max(-1, min(age.number, 2**62 - 1))


class Serving:
    """Who may read segments from this machine, and what there is to be read."""

    def __init__(
        self, context: NodeContext, cache: Cache, uploads: Uploads, announcements: Announcements, downloads: Downloads
    ) -> None:
        self._context = context
        self._cache = cache
        self._uploads = uploads
        self._announcements = announcements
        self._downloads = downloads
        self._may_serve = True

    def policy_changed(self, *, may_serve: bool, now: Instant) -> None:
        """Policy says whether this machine may serve others."""
        self._may_serve = may_serve
        self.decide("policy", now)

    def child_asks(self, device: str, get: Get, now: Instant) -> None:
        """An agent wants to read a segment from here; one that is not here may be brought here for it (an errand)."""
        context = self._context
        download = self._downloads.get(get.key)
        stored = self._stored(get.key, now)
        held = download or stored
        # one that joined in the middle of an event knows the stream by its media playlist, others by its master
        stream = get.stream if held is None else held.stream
        if not context.membership.serves or not self._announcements.shares(stream):
            context.send(device, Refused(get.request, "policy"))
            return
        here = stored is not None or download is not None or self._cache.on_disk(get.key)
        if not here and get.errand is not None and self._downloads.begin_errand(get.key, get.stream, get.errand, now):
            here, download = True, self._downloads.get(get.key)
        is_stale = stored is not None and not is_fresh(stored, now)
        if not here or (download is not None and download.parent == device) or (is_stale and not get.judges_age):
            context.send(device, Refused(get.request, "unknown"))
        elif not self._uploads.begin_upload(device, get):
            context.send(device, Refused(get.request, "busy"))
        elif stored is None:
            if download is None:
                context.out.append(Load(get.key))
            if download is None or download.assembly.vouched <= get.first:
                context.send(device, Noted(get.request))

    def _offer(self, key: str, now: Instant) -> Servable | None:
        """What there is of a key now: whole in memory, in part in a download, nothing yet of what the disk has.

        A download that waits for the origin's word on a copy gives nothing before it has that word.
        """
        stored = self._stored(key, now)
        if stored is not None:
            body = memoryview(stored.body)
            count = -(-len(body) // PIECE_BYTES)
            kbps = stored.origin_kbps

            def piece(at: int) -> memoryview:
                return body[at * PIECE_BYTES : (at + 1) * PIECE_BYTES]

            return Servable(stored.vouchers, piece, count, True, kbps, *_told(age_of(stored), now))
        download = self._downloads.get(key)
        if download is None:
            return _NOTHING_YET if self._cache.on_disk(key) else None
        if not download.delivery.is_open:
            return _NOTHING_YET
        assembly = download.assembly
        age_ms, idle_ms, number = _told(assembly.age, now)
        return Servable(
            assembly.vouchers,
            assembly.pieces.__getitem__,
            assembly.vouched,
            assembly.complete,
            assembly.origin_kbps,
            age_ms,
            0 if assembly.is_arriving else idle_ms,
            number,
            assembly.open_piece.voucher,
            assembly.open_piece.data,
        )

    def _stored(self, key: str, now: Instant) -> StoredSegment | None:
        """A copy in memory, unless something better is on its way here: the same once confirmed, or another version."""
        stored, download = self._cache.peek(key), self._downloads.get(key)
        if stored is None or download is None:
            return stored
        return stored if download.assembly.head is None and is_fresh(stored, now) else None

    def decide(self, reason: Literal["policy", "busy"], now: Instant) -> None:
        """Whether this machine serves others, by policy and by what its uplink carries."""
        membership = self._context.membership
        before, membership.serves = membership.serves, self._may_serve and not self._uploads.uplink.is_slow(now)
        if not membership.serves:
            for key in self._uploads.keys():  # noqa: SIM118 - not a dict
                self._uploads.refuse_children(key, reason)
        if before != membership.serves and reason == "busy":
            self._announcements.announce()

    def child_cancels(self, device: str, cancel: Cancel, now: Instant) -> None:
        """A child needs no more, or goes elsewhere because it is served too slowly."""
        have, uploads = cancel.late_with, self._uploads
        slow = have is not None and uploads.left_late(device, cancel.request, have, cancel.after_ms / 1000, now)
        key = uploads.cancel_upload(device, cancel.request, now)
        if slow:
            lasts_s = uploads.uplink.slow_until - now
            why = f"others had too little of what was sent to them; nothing is given for {lasts_s:.0f} s"
            self._context.out.append(RaiseCondition("uplink-slow", why))
            self.decide("busy", now)
        download = None if key is None else self._downloads.get(key)
        if download is not None:
            download.delivery.children = self._uploads.children_of(download.key)
            download.child_left(now)

    def serves_again_at(self) -> Instant | None:
        """When the uplink is tried again."""
        return self._uploads.uplink.slow_until if self._may_serve and not self._context.membership.serves else None

    def pump(self, now: Instant) -> None:
        """Send what can be sent."""
        if len(self._uploads):
            self._uploads.pump(lambda key: self._offer(key, now), now)

    def check(self) -> None:
        """What holds after every event: what children read is here."""
        for key in self._uploads.keys():  # noqa: SIM118 - not a dict
            here = self._downloads.get(key) is not None or self._cache.peek(key) is not None
            assert here or self._cache.on_disk(key)
