"""What this machine gives to others: vouchers and pieces as they become available, within the host's budget.

    Bucket      bytes that may be sent now, and when the next piece may be
    Uploads     children and what each has had; pump() sends what can be sent

A child whose link is full waits without holding up anybody; the host-wide cap is shared in turns, a piece at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ecdn_proxy.core.chooser import fan_out
from ecdn_proxy.core.happenings import Effect, Send
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.site import Site
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES, Voucher
from ecdn_proxy.wire.peer import End, Get, Piece, Refused, Vouched

FAN_OUT_SLACK = 2
"""Children beyond the fan-out that are still served: homes that do not know of each other may both have sent some."""


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
class Offer:
    """What there is of a segment now; pieces up to `len(pieces)` may be given away."""

    vouchers: list[Voucher] | tuple[Voucher, ...]
    piece: Callable[[int], bytes | memoryview]
    pieces: int
    whole: bool


@dataclass(slots=True)
class Child:
    """One agent that reads one segment from here."""

    device: str
    request: int
    key: str
    next_piece: int
    end_piece: int | None
    vouchers_sent: int = 0


class Uploads:
    """Everything that is being given to others."""

    def __init__(self, site: Site, limits: Limits, upload_mbps: float) -> None:
        self._site = site
        self._limits = limits
        self._bucket = Bucket(upload_mbps * 1e6 / 8, limits.upload_burst_s)
        self._children: list[Child] = []
        self.sent_bytes = 0
        self.sent_webrtc_bytes = 0
        """The part of it that went by WebRTC."""
        self._due_at: Instant | None = None

    def __len__(self) -> int:
        return len(self._children)

    def of(self, key: str) -> int:
        """Children of a segment."""
        return sum(1 for child in self._children if child.key == key)

    def keys(self) -> set[str]:
        """Segments that are being given to somebody."""
        return {child.key for child in self._children}

    def begin(self, device: str, get: Get) -> bool:
        """Take on a child; False when there are enough."""
        if self.of(get.key) >= fan_out(self._site.me.link, self._limits) + FAN_OUT_SLACK:
            return False
        site, most = self._site, self._limits.fan_out_webrtc
        if site.by_webrtc(device) and sum(1 for it in self._children if site.by_webrtc(it.device)) >= most:
            return False
        if sum(1 for child in self._children if child.device == device) >= self._limits.gets_per_device_max:
            return False
        end = None if get.count is None else get.first + get.count
        self._children.append(Child(device, get.request, get.key, get.first, end))
        return True

    def cancel(self, device: str, request: int) -> str | None:
        """A child needs no more; its key."""
        for child in self._children:
            if child.device == device and child.request == request:
                self._children.remove(child)
                return child.key
        return None

    def device_left(self, device: str) -> set[str]:
        """All children of a device are gone; their keys."""
        keys = {child.key for child in self._children if child.device == device}
        self._children = [child for child in self._children if child.device != device]
        return keys

    def refuse(self, key: str, reason: Literal["busy", "unknown", "lost", "policy", "private"]) -> None:
        """No more of this segment will come."""
        for child in [it for it in self._children if it.key == key]:
            self._site.send(child.device, Refused(child.request, reason))
            self._children.remove(child)

    def wake_at(self) -> Instant | None:
        """When the budget allows more."""
        return self._due_at if self._children else None

    def pump(self, offer: Callable[[str], Offer | None], now: Instant) -> None:
        """Send what can be sent now.

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
                    self._site.send(child.device, Refused(child.request, "lost"))
                    self._children.remove(child)
                elif self._step(child, there, now):
                    still.append(child)
                    budget -= 1
            waiting = still
        if waiting:
            self._due_at = now

    def _step(self, child: Child, offer: Offer, now: Instant) -> bool:
        """Send a child's vouchers and its next piece; False when it must wait or has everything."""
        link = self._site.links.get(child.device)
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
            out: list[Effect] = self._site.out
            out.append(Send(child.device, Piece(child.request, child.next_piece, bytes(data))))
            child.next_piece += 1
            self.sent_bytes += len(data)
            if link.kind == "webrtc":
                self.sent_webrtc_bytes += len(data)
            return True
        if offer.whole or child.next_piece == child.end_piece:
            self._site.send(child.device, End(child.request))
            self._children.remove(child)
        return False

    def _send_vouchers(self, child: Child, offer: Offer) -> None:
        for voucher in offer.vouchers[child.vouchers_sent :]:
            self._site.send(child.device, Vouched(child.request, voucher))
        child.vouchers_sent = len(offer.vouchers)
