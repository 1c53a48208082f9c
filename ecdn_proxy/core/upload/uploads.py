"""What this machine sends to its children: vouchers and pieces as they become available, within the host's upload cap.

    Bucket      bytes that may be sent now, and when the next piece may be
    Servable    what there is of one segment to be sent
    Child       one agent that reads one segment from here, and what it has had
    Uploads     all children; pump() sends what can be sent, left_late() learns from those who leave

A child whose link is full waits without holding up anybody; the cap is shared in turns, a piece at a time.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ecdn_proxy.core.events import Effect, Send
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.parent_choice import fan_out
from ecdn_proxy.core.upload.uplink import WINDOW_S, Uplink, fair_share
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES, PartVoucher, Voucher
from ecdn_proxy.wire.peer import Awaiting, End, Get, Part, Piece, Refused, Vouched

FAN_OUT_SLACK = 2
"""Children beyond the fan-out that are still served: homes that do not know of each other may both have sent some."""
ARRIVES_S = 0.1
"""The time that a piece may take besides its turn: what both ends do with it, and the way."""
SETTLED_S = 2.0
"""A transfer that nobody complained of for this long went well."""
OVER_MAX = 64
"""Transfers that are remembered after all was sent: much of it may still be on its way."""


class Bucket:
    """Bytes that may be sent now (token bucket)."""

    def __init__(self, bytes_per_s: float, burst_s: float) -> None:
        self._rate = bytes_per_s
        self._most = max(bytes_per_s * burst_s, 2.0 * PIECE_BYTES)
        self._level = self._most
        self._at: Instant = 0.0

    def take(self, amount: int, now: Instant) -> bool:
        """Use `amount` if it is there."""
        self._fill(now)
        if self._level < amount - 1:  # a byte of grace: `ready_at` is rounded
            return False
        self._level -= amount
        return True

    def ready_at(self, amount: int, now: Instant) -> Instant:
        """When `amount` will be there."""
        self._fill(now)
        return now + max(0.0, amount - self._level) / self._rate

    def _fill(self, now: Instant) -> None:
        self._level = min(self._most, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now


@dataclass(frozen=True, slots=True)
class Servable:
    """What there is of a segment now."""

    vouchers: list[Voucher] | tuple[Voucher, ...]
    piece: Callable[[int], bytes | memoryview]
    """A piece by its index."""
    pieces: int
    """So many, from the first on, may be sent."""
    whole: bool
    """They are all that the segment has."""
    origin_kbps: int = 0
    """How fast the origin gave the segment to whoever fetched it; 0 when that is not known."""
    age_ms: int | None = None
    """How old the copy is, as `Vouched` tells it."""
    idle_ms: int = 0
    """For how long the origin has said nothing of it, as `Vouched` tells it."""
    number: int = -1
    """The place at which it was listed, as `Vouched` tells it."""
    part: PartVoucher | None = None
    """Speaks for what there is of the piece after those, of a segment that is made while it is sent."""
    part_data: bytes | bytearray = b""
    """That much of the piece."""


@dataclass(slots=True)
class Child:
    """One agent that reads one segment from here."""

    device: str
    request: int
    key: str
    next_piece: int
    end_piece: int | None
    """The piece after the last that it wants; None: it wants all."""
    vouchers_sent: int = 0
    part: tuple[int, str, int] = (0, "", 0)
    """The piece of which it had a part, by which fetch, and how many bytes."""
    first_piece: int = 0
    sent: list[tuple[Instant, int]] = field(default_factory=list)
    """At each of these times, how many pieces had been sent to it in all."""
    over_at: Instant | None = None
    """When the last piece was sent, or it left."""
    late: bool = False
    """It left before it had everything."""

    def note_sent_piece(self, now: Instant) -> None:
        """Its next piece was sent."""
        self.next_piece += 1
        if self.sent and self.sent[-1][0] == now:
            self.sent.pop()
        self.sent.append((now, self.next_piece - self.first_piece))


class Uploads:
    """All children of this machine, and what may be sent to them now."""

    def __init__(self, context: NodeContext, limits: Limits, upload_mbps: float) -> None:
        self._context = context
        self._limits = limits
        self._bucket = Bucket(upload_mbps * 1e6 / 8, limits.upload_burst_s)
        self._children: list[Child] = []
        self._over: OrderedDict[tuple[str, int], Child] = OrderedDict()
        self.uplink = Uplink()
        self.sent_bytes = 0
        self.sent_webrtc_bytes = 0
        """The part of `sent_bytes` that went by WebRTC."""
        self._due_at: Instant | None = None

    def __len__(self) -> int:
        return len(self._children)

    def children_of(self, key: str) -> int:
        """How many children read a segment."""
        return sum(1 for child in self._children if child.key == key)

    def keys(self) -> set[str]:
        """Keys of the segments that children read."""
        return {child.key for child in self._children}

    def begin_upload(self, device: str, get: Get) -> bool:
        """Take on a child; False when this segment, this device or WebRTC has as many as it may."""
        if self.children_of(get.key) >= fan_out(self._context.me.link, self._limits) + FAN_OUT_SLACK:
            return False
        context, most = self._context, self._limits.fan_out_webrtc
        if context.by_webrtc(device) and sum(1 for it in self._children if context.by_webrtc(it.device)) >= most:
            return False
        if sum(1 for child in self._children if child.device == device) >= self._limits.gets_per_device_max:
            return False
        end = None if get.count is None else get.first + get.count
        self._children.append(Child(device, get.request, get.key, get.first, end, first_piece=get.first))
        return True

    def cancel_upload(self, device: str, request: int, now: Instant) -> str | None:
        """A child needs no more; the key that it read, None when it had everything or is not known."""
        child = self._find(device, request)
        if child is None:
            return None
        child.late = True
        if child not in self._children:
            return None
        self._end(child, now)
        return child.key

    def left_late(self, device: str, request: int, have: int, after_s: float, now: Instant) -> bool:
        """A child leaves because its pieces came too slowly; True when the uplink counts as slow from now on.

        Args:
            device: who.
            request: number of its Get.
            have: pieces that it has, from the segment's first on.
            after_s: how long after the first word of the answer it had them. The message that says so may come late.
            now: the time.
        """
        child = self._find(device, request)
        needs = self.uplink.needs_pieces_per_s
        if child is None or child.late or not child.sent or not needs:
            return False
        recent = [it for it in (*self._over.values(), *self._children) if it.sent and now - it.sent[-1][0] <= WINDOW_S]
        if child not in recent:
            return False
        until = child.sent[0][0] + after_s - ARRIVES_S
        share = fair_share([it.sent for it in recent], recent.index(child), needs, until)
        child.late = True
        well = sum(1 for it in recent if not it.late and it.over_at is not None and now - it.over_at >= SETTLED_S)
        return self.uplink.complained(device, share - max(0, have - child.first_piece), well, now)

    def _find(self, device: str, request: int) -> Child | None:
        active = (it for it in self._children if it.device == device and it.request == request)
        return next(active, None) or self._over.get((device, request))

    def _end(self, child: Child, now: Instant) -> None:
        """Nothing more is sent to a child; what was sent may still be on its way for long."""
        self._children.remove(child)
        child.over_at = now
        self._over[child.device, child.request] = child
        if len(self._over) > OVER_MAX:
            self._over.popitem(last=False)

    def device_left(self, device: str) -> set[str]:
        """All children of a device are gone; the keys that they read."""
        keys = {child.key for child in self._children if child.device == device}
        self._children = [child for child in self._children if child.device != device]
        return keys

    def refuse_children(self, key: str, reason: Literal["busy", "unknown", "lost", "policy", "private"]) -> None:
        """Tell all children of a segment that no more of it will come, and forget them."""
        for child in [it for it in self._children if it.key == key]:
            self._context.send(child.device, Refused(child.request, reason))
            self._children.remove(child)

    def begin_anew(self, key: str) -> None:
        """What was here of a segment is void: those who have had some of it must ask again."""
        for child in [it for it in self._children if it.key == key and (it.vouchers_sent or it.part[2])]:
            self._context.send(child.device, Refused(child.request, "lost"))
            self._children.remove(child)

    def tell_awaited(self, key: str) -> None:
        """Tell all children of a segment that its fetcher waits for the origin, and rightly so."""
        for child in self._children:
            if child.key == key:
                self._context.send(child.device, Awaiting(child.request))

    def wake_at(self) -> Instant | None:
        """When the upload cap allows more."""
        return self._due_at if self._children else None

    def pump(self, offer: Callable[[str], Servable | None], now: Instant) -> None:
        """Send what can be sent now, at most `piece_burst` pieces, so that other work has its turn.

        Args:
            offer: what there is of a key; None when it is lost.
            now: the time.
        """
        self._due_at = None
        budget = self._limits.piece_burst
        waiting = list(self._children)
        offers = {key: offer(key) for key in {child.key for child in waiting}}
        while waiting and budget > 0:
            still: list[Child] = []
            for child in waiting:
                there = offers[child.key]
                if there is None:
                    self._context.send(child.device, Refused(child.request, "lost"))
                    self._children.remove(child)
                elif self._step(child, there, now):
                    still.append(child)
                    budget -= 1
            waiting = still
        if waiting:
            self._due_at = now

    def _step(self, child: Child, offer: Servable, now: Instant) -> bool:
        """Send a child's vouchers and its next piece; False when it must wait or has everything."""
        link = self._context.links.get(child.device)
        if link is None or link.full:
            return False
        self._send_vouchers(child, offer)
        end = offer.pieces if child.end_piece is None else min(offer.pieces, child.end_piece)
        if child.next_piece < end:
            data = offer.piece(child.next_piece)
            costs = len(data) if link.kind == "lan" else int(len(data) * self._limits.webrtc_overhead)
            if not self._bucket.take(costs, now):
                ready = self._bucket.ready_at(costs, now)
                self._due_at = ready if self._due_at is None else min(self._due_at, ready)
                return False
            out: list[Effect] = self._context.out
            out.append(Send(child.device, Piece(child.request, child.next_piece, bytes(data))))
            child.note_sent_piece(now)
            self.sent_bytes += len(data)
            if link.kind == "webrtc":
                self.sent_webrtc_bytes += len(data)
            return True
        if offer.part is not None:
            self._send_part(child, offer, offer.part, now)
        if offer.whole or child.next_piece == child.end_piece:
            self._context.send(child.device, End(child.request))
            self._end(child, now)
        return False

    def _send_part(self, child: Child, offer: Servable, voucher: PartVoucher, now: Instant) -> None:
        """Send what there is of the piece that is not whole yet, beyond what the child had of it."""
        if not voucher.index == offer.pieces == child.next_piece != child.end_piece:
            return
        index, generation, had = child.part
        begin = had if (index, generation) == (voucher.index, voucher.generation) else 0
        if begin < voucher.size_bytes and self._bucket.take(voucher.size_bytes - begin, now):
            data = bytes(offer.part_data[begin:])
            self._context.send(child.device, Part(child.request, begin, data, voucher))
            child.part = voucher.index, voucher.generation, voucher.size_bytes
            self.sent_bytes += len(data)

    def _send_vouchers(self, child: Child, offer: Servable) -> None:
        for voucher in offer.vouchers[child.vouchers_sent :]:
            vouched = Vouched(child.request, voucher, offer.origin_kbps, offer.age_ms, offer.idle_ms, offer.number)
            self._context.send(child.device, vouched)
        child.vouchers_sent = len(offer.vouchers)
