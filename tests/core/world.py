"""An office under a virtual clock: real nodes, an origin, links with delay; no socket, no sleep.

    World(n)            n nodes that watch one stream, linked on demand
    world.play(...)     a viewer at a node asks for a segment
    world.run(until)    lets virtual time pass
    world.answers       what each viewer got: bytes, head, how it ended

The world performs effects as the performer does, and ends every step with `node.check()`.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ecdn_proxy.core import events, values
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.wire import peer
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import Voucher

UTC = 1_800_000_000.0
STREAM = "ab" * 16
TENANT = "tenant-1"


def key_of(number: int) -> str:
    return sha256(f"segment {number}".encode()).hexdigest()


def body_of(number: int, size: int = 300_000) -> bytes:
    return random.Random(number).randbytes(size)


class Seals:
    """Everybody's signing keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Ed25519PrivateKey] = {}


class Seal:
    """One device's real Ed25519 key; certificates are their owner's name."""

    def __init__(self, seals: Seals, device: str) -> None:
        self.device = device
        self.tenant = TENANT
        self._seals = seals
        seals.keys[device] = Ed25519PrivateKey.from_private_bytes(sha256(device.encode()).digest())

    def sign(self, data: bytes) -> bytes:
        return self._seals.keys[self.device].sign(data)

    def certificate(self) -> bytes:
        return self.device.encode()

    def check(self, voucher: Voucher) -> None:
        key = self._seals.keys.get(voucher.signer)
        if key is None:
            raise PeerMisbehaved("an unknown signer")
        if voucher.certificate != voucher.signer.encode():
            raise PeerMisbehaved("a voucher without its signer's certificate")
        try:
            key.public_key().verify(voucher.signature, voucher.signed_bytes(self.tenant))
        except InvalidSignature:
            raise PeerMisbehaved("a voucher with a wrong signature") from None


@dataclass
class Got:
    """One viewer's answer."""

    asked_at: float
    head_at: float | None = None
    ended_at: float | None = None
    data: bytearray = field(default_factory=bytearray)
    end: str = ""
    source: str = ""
    why: str = ""
    pace_kbps: int = 0


@dataclass
class Origin:
    """Answers with each segment's bytes; what it does wrong is set by the test."""

    first_byte_s: float = 0.05
    bytes_per_s: float = 2_500_000.0
    sizes: dict[str, int] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    status: Callable[[str, int], int] = lambda _url, _nth: 200
    headers: dict[str, str] = field(default_factory=lambda: {"cache-control": "public, max-age=3600"})
    per_viewer: bool = False
    stall_after: dict[int, int] = field(default_factory=dict)
    """Bytes after which the n-th request (from 0) says nothing more."""
    hangs_s: dict[int, float] = field(default_factory=dict)
    """So much longer does the n-th request wait for its first byte."""
    etag: bool = True
    requests: list[tuple[float, str, str, int]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    at_once: dict[str, int] = field(default_factory=dict)
    """Most fetches of a URL that were under way at the same time."""
    link_free_at: float = 0.0

    def body(self, url: str) -> bytes:
        if url not in self.bodies:
            self.bodies[url] = body_of(int(url.rsplit("/", 1)[1]), self.sizes.get(url, 300_000))
        return self.bodies[url]


class World:
    def __init__(
        self,
        count: int,
        *,
        seed: int = 1,
        delay_s: float = 0.001,
        limits: Limits | None = None,
        origin: Origin | None = None,
        uploads_mbps: float = 1000.0,
        memory_bytes: int = 64_000_000,
        tracker: bool = True,
        tracker_spacing_s: float = 0.0,
        links: str = "wired",
        address: Callable[[int], str] = lambda number: f"10.0.0.{number % 250 + 1}",
    ) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self.delay_s = delay_s
        self.origin = origin or Origin()
        self.limits = limits or Limits()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.seals = Seals()
        self.nodes: dict[str, Node] = {}
        self.dead: set[str] = set()
        self.open_links: set[frozenset[str]] = set()
        self.cut: set[frozenset[str]] = set()
        self.answers: dict[int, Got] = {}
        self.numbers: dict[int, int] = {}
        self.conditions: list[tuple[str, str, str]] = []
        self.log: list[str] = []
        self.frames: dict[str, int] = {}
        self.served: list[tuple[str, events.Served]] = []
        self.tamper: Callable[[str, str, peer.PeerMessage], list[peer.PeerMessage]] | None = None
        self._fetches: dict[tuple[str, int], bool] = {}
        self._under_way: dict[str, set[tuple[str, int]]] = {}
        self._watching: dict[str, tuple[str, ...]] = {}
        self._tracker = tracker
        self._spacing_s = tracker_spacing_s
        self._told_at = 0.0
        self._viewer = 0
        for number in range(count):
            device = f"dev{number:03d}"
            contact = peer.Contact(device, (address(number),), 7688, links)  # type: ignore[arg-type]
            self.nodes[device] = Node(
                contact,
                Seal(self.seals, device),
                limits=self.limits,
                memory_bytes=memory_bytes,
                disk_bytes=0,
                upload_mbps=uploads_mbps,
                share_after_watching_s=60.0,
            )

    # ---- time

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, what))

    def run(self, for_s: float) -> None:
        until = self.now + for_s
        while True:
            due = self._events[0][0] if self._events else until + 1
            wakes = [(at, device) for device, node in self.nodes.items() if (at := node.wake_at()) is not None
                     and device not in self.dead]  # fmt: skip
            wake = min(wakes, default=(until + 1, ""))
            if min(due, wake[0]) > until:
                break
            if due <= wake[0]:
                self.now = max(self.now, due)
                heapq.heappop(self._events)[2]()
            else:
                self.now = max(self.now, wake[0])
                self._perform(wake[1], self.nodes[wake[1]].wake(self.now))
        self.now = until

    # ---- what tests do

    def watch_all(self) -> None:
        """Everybody has opened the stream and knows everybody."""
        for device in self.nodes:
            self.feed(device, events.TrackerChanged(connected=True))
            self.feed(device, events.StreamOpened(STREAM))
        self.run(0.5)

    def play(self, device: str, number: int, *, duration_s: float = 2.0, best_kbps: int = 0) -> int:
        self._viewer += 1
        viewer = self._viewer
        self.answers[viewer] = Got(self.now)
        self.numbers[viewer] = number
        self.feed(
            device,
            events.Wanted(
                viewer=viewer,
                stream=STREAM,
                rendition="v1",
                key=key_of(number),
                number=number,
                duration_s=duration_s,
                live=True,
                resource_range=None,
                origin=values.OriginRequest(f"https://origin.test/{number}", (("cookie", f"user={device}"),)),
                utc=UTC + self.now,
                best_kbps=best_kbps,
            ),
        )
        return viewer

    def watch(self, device: str, first: int, segments: int, *, every_s: float = 2.0) -> None:
        """A player: three segments one after another, then one at each interval."""
        self.feed(device, events.TrackerChanged(connected=True))
        self.feed(device, events.StreamOpened(STREAM))

        def ask(number: int) -> None:
            if number >= first + segments or device in self.dead:
                return
            viewer = self.play(device, number)

            def after() -> None:
                if not self.answers[viewer].end:
                    self.at(self.now + 0.005, after)
                elif number < first + 2:
                    ask(number + 1)

            after()
            if number >= first + 2:
                self.at(self.now + every_s, lambda: ask(number + 1))

        self.at(self.now + 0.01, lambda: ask(first))

    def kill(self, device: str) -> None:
        self.dead.add(device)
        for under_way in self._under_way.values():
            under_way -= {it for it in under_way if it[0] == device}
        for pair in [pair for pair in self.open_links if device in pair]:
            self._close(pair, "connection lost")

    def pull(self, pair: frozenset[str]) -> None:
        """The cable between two hosts is pulled and stays out."""
        self.cut.add(pair)
        self._close(pair, "cable pulled")

    def copies(self, number: int) -> float:
        url = f"https://origin.test/{number}"
        return self.origin.sent.get(url, 0) / len(self.origin.body(url))

    def feed(self, device: str, event: events.Event) -> None:
        if device in self.dead:
            return
        node = self.nodes[device]
        self.log.append(f"{self.now:.4f} {device} {event!r}"[:300])
        self._perform(device, node.handle(event, self.now))
        node.check()

    # ---- effects

    def _perform(self, device: str, effects: list[events.Effect]) -> None:
        for effect in effects:
            self.log.append(f"{self.now:.4f} {device}   -> {effect!r}"[:300])
            self._do(device, effect)

    def _do(self, device: str, effect: events.Effect) -> None:  # noqa: C901
        match effect:
            case events.BeginAnswer(viewer, _, source, why, pace_kbps):
                got = self.answers[viewer]
                assert got.head_at is None
                assert not got.end
                got.head_at, got.source, got.why, got.pace_kbps = self.now, source, why, pace_kbps
            case events.Deliver(viewer, data):
                got = self.answers[viewer]
                assert got.head_at is not None
                assert not got.end
                got.data += data
            case events.Finish(viewer):
                self._end(viewer, "finished")
            case events.Abort(viewer, why):
                self._end(viewer, "aborted", why)
            case events.PassOn(viewer, why):
                self._end(viewer, "passed", why)
            case events.HandOver(viewer, _, why):
                self._end(viewer, "handed over", why)
            case events.AnswerStatus(viewer, status, why):
                self._end(viewer, f"status {status}", why)
            case events.FetchOrigin():
                self._fetch(device, effect)
            case events.AbortOrigin(fetch):
                self._fetches[device, fetch] = False
                self._fetch_over(device, fetch)
            case events.Dial(contact):
                self._dial(device, contact.device)
            case events.HangUp(other, why):
                self._close(frozenset((device, other)), why)
            case events.Send(other, message):
                self._send(device, other, message)
            case events.AnnounceStreams(streams):
                self._announce(device, streams)
            case events.RaiseCondition(code, detail):
                self.conditions.append((device, code, detail))
            case events.Served():
                self.served.append((device, effect))
            case events.ClearCondition() | events.Save() | events.Load() | events.Erase():
                pass

    def _end(self, viewer: int, how: str, why: str = "") -> None:
        got = self.answers[viewer]
        assert not got.end
        got.end, got.ended_at = how, self.now
        got.why = why or got.why

    def _fetch(self, device: str, effect: events.FetchOrigin) -> None:
        origin = self.origin
        nth = len(origin.requests)
        origin.requests.append((self.now, device, effect.request.url, effect.first_byte))
        self._fetches[device, effect.fetch] = True
        under_way = self._under_way.setdefault(effect.request.url, set())
        under_way.add((device, effect.fetch))
        origin.at_once[effect.request.url] = max(origin.at_once.get(effect.request.url, 0), len(under_way))
        body = origin.body(effect.request.url)
        if origin.per_viewer:
            body = sha256(device.encode()).digest() + body[32:]
        status = origin.status(effect.request.url, nth)
        fields = dict(origin.headers)
        part = body[effect.first_byte :] if effect.ranged else body
        if status == 200 and effect.ranged:
            status = 206
            fields["content-range"] = f"bytes {effect.first_byte}-{len(body) - 1}/{len(body)}"
        fields["content-length"] = str(len(part))
        fields.setdefault("content-type", "video/mp2t")
        if origin.etag:
            fields.setdefault("etag", f'"{sha256(body).hexdigest()[:12]}"')
        fetch = effect.fetch

        def alive() -> bool:
            return self._fetches[device, fetch] and device not in self.dead

        begin = self.now + origin.first_byte_s + origin.hangs_s.get(nth, 0.0)
        self.at(
            begin,
            lambda: (
                self.feed(device, events.OriginAnswered(fetch, status, tuple(fields.items()), UTC + self.now))
                if alive()
                else None
            ),
        )
        if status >= 300:
            self.at(begin, lambda: self._fetch_over(device, fetch))
            return
        self._stream(device, fetch, effect.request.url, part, begin, origin.stall_after.get(nth), alive)

    def _fetch_over(self, device: str, fetch: int) -> None:
        for under_way in self._under_way.values():
            under_way.discard((device, fetch))

    def _stream(
        self,
        device: str,
        fetch: int,
        url: str,
        part: bytes,
        begin: float,
        stall: int | None,
        alive: Callable[[], bool],
    ) -> None:
        """The origin's link is shared: chunks leave it one after another."""
        chunk = 20_000

        def send(offset: int) -> None:
            if not alive() or (stall is not None and offset >= stall):
                return
            data = part[offset : offset + chunk]
            start = max(self.now, self.origin.link_free_at)
            done = start + len(data) / self.origin.bytes_per_s
            self.origin.link_free_at = done
            self.origin.sent[url] = self.origin.sent.get(url, 0) + len(data)

            def arrived() -> None:
                if not alive():
                    return
                self.feed(device, events.OriginSent(fetch, data))
                if offset + chunk < len(part):
                    send(offset + chunk)
                else:
                    self._fetch_over(device, fetch)
                    self.feed(device, events.OriginEnded(fetch))

            self.at(done, arrived)

        self.at(begin, lambda: send(0))

    # ---- links

    def _dial(self, device: str, other: str) -> None:
        pair = frozenset((device, other))

        def up() -> None:
            if other in self.dead or other not in self.nodes or pair in self.cut:
                self.feed(device, events.LinkClosed(other, "could not be reached"))
                return
            if pair in self.open_links:
                return
            self.open_links.add(pair)
            for one, two in ((device, other), (other, device)):
                contact = self.nodes[two].context.me
                self.feed(one, events.LinkOpened(contact, "lan", self._watching.get(two, ()), serves=True, rtt_ms=1.0))

        self.at(self.now + 3 * self.delay_s, up)

    def _close(self, pair: frozenset[str], why: str) -> None:
        if pair not in self.open_links:
            return
        self.open_links.discard(pair)
        for device in pair:
            other = next(iter(pair - {device}))
            self.at(self.now, lambda device=device, other=other: self.feed(device, events.LinkClosed(other, why)))  # type: ignore[misc]

    def _send(self, device: str, other: str, message: peer.PeerMessage) -> None:
        encode(message)
        self.frames[type(message).__name__] = self.frames.get(type(message).__name__, 0) + 1
        pair = frozenset((device, other))
        messages = [message] if self.tamper is None else self.tamper(device, other, message)

        def deliver() -> None:
            if pair in self.open_links and other not in self.dead:
                for one in messages:
                    if pair in self.open_links:
                        self.feed(other, events.Received(device, one))

        if pair in self.open_links:
            self.at(self.now + self.delay_s, deliver)

    def _announce(self, device: str, streams: tuple[str, ...]) -> None:
        self._watching[device] = streams
        for pair in list(self.open_links):
            if device in pair:
                self._send(device, next(iter(pair - {device})), peer.Watching(streams, serves=True))
        if self._tracker:
            self.at(max(self.now + 0.01, self._told_at + self._spacing_s), self._tell)

    def _tell(self) -> None:
        self._told_at = self.now
        watching = [
            device for device, streams in self._watching.items() if STREAM in streams and device not in self.dead
        ]
        committee = tuple(watching[:7])
        for device in watching:
            near = tuple((self.nodes[other].context.me, "same subnet") for other in watching if other != device)
            self.feed(device, events.TrackerSaid(STREAM, committee, near[:30]))
