"""One virtual world for the core's tests: the simulator's hosts and links, an origin that follows a script.

    World(n)                  n machines on one LAN, linked on demand
    world.play(device, …)     a viewer at a machine asks for a segment
    world.run(seconds)        lets virtual time pass
    world.answers             what each viewer got: bytes, source, how it ended
    world.kill, world.pull    a machine dies, a cable is pulled
    world.tamper              what really leaves a machine in place of a message

Nodes are the shipped ones, with real Ed25519 keys; the simulator's `Host` performs their effects, checks `Node.check()`
after every event, and reads every message as its receiver would. No socket, no sleep.
"""

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ecdn_proxy.core import events, values
from ecdn_proxy.core.http.answers import http_date
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim import origin as origin_side
from ecdn_proxy.sim.coordinator import SimulatedCoordinator
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.lan import Lan
from ecdn_proxy.sim.links import Flow, NetworkCard, SharedLink
from ecdn_proxy.sim.origin import OriginResource, OriginResponse, respond
from ecdn_proxy.sim.tracker import SeniorityTracker
from ecdn_proxy.sim.virtual_clock import UTC_MINUS_NOW, VirtualClock
from ecdn_proxy.wire import peer
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PartVoucher, SegmentHead, Voucher
from ecdn_proxy.wire.sharing_rules import SharingRule

UTC = UTC_MINUS_NOW
STREAM = "ab" * 16
TENANT = "tenant-1"
DELAY_S = 0.001
"""From one machine to another."""
CHUNK_BYTES = 20_000
"""What the origin's bytes arrive in: no multiple of a piece, as with a real origin."""


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

    def check(self, voucher: Voucher | PartVoucher) -> None:
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
class Answer:
    """One viewer's answer, a `HostViewer`; a byte that differs from `expected` fails the test at once."""

    world: "World"
    device: str
    asked_at: Instant
    expected: bytes | None
    """The segment; None where the origin sends each viewer other bytes."""
    head_at: Instant | None = None
    ended_at: Instant | None = None
    data: bytearray = field(default_factory=bytearray)
    came: list[tuple[Instant, int]] = field(default_factory=list)
    """When how many bytes were there."""
    end: str = ""
    source: str = ""
    why: str = ""
    head: SegmentHead | None = None
    pace_kbps: int = 0

    def answer_begins(self, effect: events.BeginAnswer) -> None:
        assert self.head_at is None
        self.head_at, self.source, self.why = self.world.now, effect.source, effect.why
        self.pace_kbps, self.head = effect.pace_kbps, effect.head

    def bytes_came(self, data: bytes | memoryview) -> None:
        assert self.head_at is not None
        assert self.expected is None or self.expected.startswith(bytes(data), len(self.data))
        self.data += data
        self.came.append((self.world.now, len(self.data)))

    def answer_finished(self) -> None:
        assert self.expected is None or len(self.data) == len(self.expected)
        self._end("finished")

    def answer_failed(self, status: int, why: str) -> None:
        self._end(f"status {status}" if status else "aborted", why)

    def passed_on(self, why: str) -> None:
        self._end("passed", why)

    def handed_over(self, fetch: int, why: str) -> None:
        self.world.origin_side.hand_over(self.world.hosts[self.device], fetch, lambda: None)
        self._end("handed over", why)

    def _end(self, how: str, why: str = "") -> None:
        assert not self.end
        self.end, self.ended_at = how, self.world.now
        self.why = why or self.why


@dataclass
class Origin:
    """What the origin has and does: it answers with each segment's bytes; what it does wrong is set by the test."""

    first_byte_s: float = 0.05
    bytes_per_s: float = 2_500_000.0
    sizes: dict[str, int] = field(default_factory=dict)
    """By URL, where it is not 300,000 bytes."""
    status: Callable[[str, int], int] = lambda _url, _nth: 200
    """Of the n-th request (from 0)."""
    headers: dict[str, str] = field(default_factory=lambda: {"cache-control": "public, max-age=3600"})
    per_viewer: bool = False
    """Each device is sent other bytes (watermarks)."""
    stall_after: dict[int, int] = field(default_factory=dict)
    """Bytes after which the n-th request's answer says nothing more."""
    hangs_s: dict[int, float] = field(default_factory=dict)
    """By how much longer the n-th request waits for its first byte, on a connection that is no good."""
    etag: bool = True
    modified: bool = False
    """Whether it says when each segment was last modified."""
    versions: dict[str, int] = field(default_factory=dict)
    """By URL: how often the segment there was replaced by another (an encoder's ring of names)."""
    vary_cors: Callable[[values.Headers], dict[str, str]] = lambda _request: {}
    """The CORS fields by the fields of the request."""
    heads: list[tuple[str, str, int]] = field(default_factory=list)
    """Which device asked for which URL, and with which status it was answered."""
    chunks: tuple[int, float] | None = None
    """A body is made while it is sent, as by an encoder: so many bytes each so many seconds, without length or ETag."""
    stops_after_chunks: dict[int, int] = field(default_factory=dict)
    """Chunks after which the n-th request's growing body says nothing more."""
    requests: list[tuple[Instant, str, str, int]] = field(default_factory=list)
    """When, by which device, for which URL, from which byte on."""
    at_once: dict[str, int] = field(default_factory=dict)
    """Most fetches of a URL that were under way at the same time."""
    resources: dict[tuple[str, str], OriginResource] = field(default_factory=dict)
    """By URL and device; the device is empty unless each has bytes of its own."""

    def body(self, url: str) -> bytes:
        return self._resource(url, "").body

    def sent(self, url: str) -> float:
        """Bytes of a URL that the office's link has carried."""
        return sum(it.origin_bytes for it in self.resources.values() if it.url == url)

    def respond(self, now: Instant, device: str, fetch: events.FetchOrigin) -> OriginResponse:
        url, nth = fetch.request.url, len(self.requests)
        self.requests.append((now, device, url, fetch.first_byte))
        wait_s = self.first_byte_s + self.hangs_s.get(nth, 0.0)
        headers = {"content-type": "video/mp2t", **self.headers, **self.vary_cors(fetch.request.headers)}
        if (status := self.status(url, nth)) >= 300:
            self.heads.append((device, url, status))
            nothing = OriginResource(url="", body=b"")
            return OriginResponse(status, (*headers.items(), ("content-length", "0")), nothing, 0, wait_s)
        resource = self._resource(url, device if self.per_viewer else "")
        if self.etag:
            headers.setdefault("etag", f'"{sha256(resource.body).hexdigest()[:12]}"')
        if self.modified:
            headers["last-modified"] = http_date(UTC - 86_400 + self.versions.get(url, 0) * 3_600)
            headers["date"] = http_date(UTC + now)
        held = dict(fetch.conditions)
        if held.get("if-none-match", "-") == headers.get("etag") or (
            held.get("if-modified-since", "-") == headers.get("last-modified")
        ):
            self.heads.append((device, url, 304))
            nothing = OriginResource(url="", body=b"")
            return OriginResponse(304, tuple(headers.items()), nothing, 0, wait_s)
        self.heads.append((device, url, 206 if fetch.ranged else 200))
        response = respond(fetch, resource, tuple(headers.items()), first_byte_s=wait_s)
        response.stalls_after_bytes = self.stall_after.get(nth)
        response.hangs = nth in self.hangs_s
        return response

    def replace(self, url: str) -> None:
        """Another segment stands at this URL from now on."""
        self.versions[url] = self.versions.get(url, 0) + 1
        self.resources.pop((url, ""), None)

    def counts(self, url: str) -> tuple[int, int]:
        """Bodies and confirmations (304) that the origin has sent for a URL."""
        statuses = [status for _, its_url, status in self.heads if its_url == url]
        return sum(it in (200, 206) for it in statuses), statuses.count(304)

    def _resource(self, url: str, device: str) -> OriginResource:
        found = self.resources.get((url, device))
        if found is None:
            version = 1_000 * self.versions.get(url, 0)
            body = body_of(int(url.rsplit("/", 1)[1]) + version, self.sizes.get(url, 300_000))
            if device:
                body = sha256(device.encode()).digest() + body[32:]
            found = self.resources[url, device] = OriginResource(url=url, body=body, chunk_bytes=CHUNK_BYTES)
        return found


class LoggedNode(Node):
    """The shipped node; every event and effect is a line of `log`."""

    log: list[str]

    def handle(self, event: events.Event, now: Instant) -> list[events.Effect]:
        self._note(now, "", event)
        effects = super().handle(event, now)
        self._note(now, "  -> ", *effects)
        return effects

    def wake(self, now: Instant) -> list[events.Effect]:
        effects = super().wake(now)
        self._note(now, "  -> ", *effects)
        return effects

    def _note(self, now: Instant, mark: str, *what: events.Event | events.Effect) -> None:
        self.log += [f"{now:.4f} {self.context.me.device} {mark}{it!r}"[:300] for it in what]


class World:
    """One office; what its hosts stand in (`HostSurroundings`).

    Args:
        count: machines, `dev000` and so on.
        seed: of `random`, for tests that roll dice.
        origin: what the origin has and does.
        uploads_mbps: what each node may give to others.
        tracker_spacing_s: the coordinator sends lists no more often.
        address: of the machine with this number.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int = 1,
        origin: Origin | None = None,
        uploads_mbps: float = 1000.0,
        tracker_spacing_s: float = 0.0,
        address: Callable[[int], str] = lambda number: f"10.0.0.{number % 250 + 1}",
    ) -> None:
        self.random = random.Random(seed)
        self.limits = Limits()
        self.origin = origin or Origin()
        self.cut: set[frozenset[str]] = set()
        """Pairs between which nothing passes; links that stood before stay."""
        self.dead: set[str] = set()
        self.answers: dict[int, Answer] = {}
        self.numbers: dict[int, int] = {}
        """Viewer -> the segment that it asked for."""
        self.made_since: dict[str, Instant] = {}
        """Growing segment, by its URL -> when its first chunk was made."""
        self.rules: dict[str, SharingRule] = {}
        """By device what its administrator permits for this origin."""
        self.conditions: list[tuple[str, str, str]] = []
        self.log: list[str] = []
        self.tamper: Callable[[str, str, peer.PeerMessage], list[peer.PeerMessage]] | None = None
        """What really leaves a machine (the first) for another in place of a message."""
        self.clock = VirtualClock()
        self.lan = Lan(self.clock, links_max=2_048, apart=lambda *pair: frozenset(pair) in self.cut)
        self.hosts = self.lan.hosts
        link = SharedLink(self.clock, self.origin.bytes_per_s, chunk_bytes=CHUNK_BYTES)
        self.origin_side = origin_side.Origin(self.clock, link)
        self.coordinator = SimulatedCoordinator(
            self.clock,
            self.hosts,
            lambda: SeniorityTracker(spacing_s=tracker_spacing_s),
            one_way_s=0.0,
            hidden=lambda _host, _device: False,
        )
        self.nodes: dict[str, Node] = {}
        self._asked: dict[str, list[tuple[Host, int]]] = {}
        seals = Seals()
        for number in range(count):
            device = f"dev{number:03d}"
            contact = peer.Contact(device, (address(number),), 7688, "wired")
            card = NetworkCard(self.clock, math.inf, math.inf, DELAY_S, 1.0)
            host = self.hosts[device] = Host(self, number, contact, card, checked=True)
            host.tamper = functools.partial(self._tampered, device)
            node = self.nodes[device] = LoggedNode(
                contact,
                Seal(seals, device),
                limits=self.limits,
                memory_bytes=64_000_000,
                disk_bytes=0,
                upload_mbps=uploads_mbps,
                share_after_watching_s=60.0,
            )
            node.log = self.log
            host.start(node)

    # ---- time

    @property
    def now(self) -> Instant:
        return self.clock.now

    def at(self, when: Instant, what: Callable[[], None]) -> None:
        self.clock.at(when, what)

    def run(self, for_s: float) -> None:
        self.clock.run(self.now + for_s)

    # ---- what tests do

    def watch_all(self) -> None:
        """Everybody has opened the stream and knows everybody."""
        for device in self.nodes:
            self.feed(device, events.TrackerChanged(connected=True))
            self.feed(device, events.StreamOpened(STREAM))
        self.run(0.5)

    def play(
        self,
        device: str,
        number: int,
        *,
        duration_s: float = 2.0,
        best_kbps: int = 0,
        page: str | None = None,
        max_age_s: float | None = None,
        listed_at: int | None = None,
        fields: values.Headers = (),
    ) -> int:
        """A viewer asks for a segment; returns the viewer's number.

        Args:
            device: at which machine.
            number: which segment; the origin's URL and the key follow from it.
            duration_s: how long it plays.
            best_kbps: of the stream's best picture.
            page: the site of the page whose player asks.
            max_age_s: how old a copy the player takes.
            listed_at: its place in the playlist; the segment's number if None.
            fields: further header fields of the request.
        """
        viewer = len(self.answers) + 1
        url = f"https://origin.test/{number}"
        expected = None if self.origin.per_viewer else self.origin.body(url)
        answer = self.answers[viewer] = Answer(self, device, self.now, expected)
        self.numbers[viewer] = number
        self.hosts[device].ask(
            events.Wanted(
                viewer=viewer,
                stream=STREAM,
                rendition="v1",
                key=key_of(number),
                number=number if listed_at is None else listed_at,
                duration_s=duration_s,
                live=True,
                resource_range=None,
                origin=values.OriginRequest(
                    url,
                    (("cookie", f"user={device}"), *((("origin", page),) if page is not None else ()), *fields),
                    self.rules.get(device),
                ),
                utc=UTC + self.now,
                best_kbps=best_kbps,
                max_age_s=max_age_s,
            ),
            answer,
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

    def feed(self, device: str, event: events.Event) -> None:
        """Something happens at a machine; nothing does at a dead one."""
        self.hosts[device].feed(event)

    def kill(self, device: str) -> None:
        """A machine dies; its links break at once."""
        host = self.hosts[device]
        self.dead.add(device)
        host.stop()
        self.lan.unplug(host, 0.0)
        self.coordinator.left(host, 0.0)

    def pull(self, pair: frozenset[str]) -> None:
        """The cable between two machines is pulled and stays out; both notice at once."""
        self.cut.add(pair)
        for device in sorted(pair):
            (other,) = pair - {device}
            if other in self.hosts[device].wires:
                self.lan.silence(self.hosts[device], other, 0.0)

    # ---- what came of it

    def copies(self, number: int) -> float:
        """How often the origin sent a segment to this office."""
        url = f"https://origin.test/{number}"
        return self.origin.sent(url) / len(self.origin.body(url))

    @property
    def frames(self) -> dict[str, int]:
        """Messages between machines, by kind."""
        return self.lan.frames

    # ---- what hosts want of their surroundings

    def fetch(self, host: Host, effect: events.FetchOrigin) -> None:
        nth, response = len(self.origin.requests), self.origin.respond(self.now, host.device, effect)
        if self.origin.chunks is None:
            self.origin_side.answer(host, effect.fetch, response)
        else:
            self._grow(host, effect.fetch, nth, response, *self.origin.chunks)
        url = effect.request.url
        asked = self._asked.setdefault(url, [])
        asked.append((host, effect.fetch))
        under_way = sum(fetch in one.fetches for one, fetch in asked)
        self.origin.at_once[url] = max(self.origin.at_once.get(url, 0), under_way)

    def _grow(self, host: Host, fetch: int, nth: int, response: OriginResponse, size: int, every_s: float) -> None:
        """Answer with a body that is made since somebody first asked for it; what was made before comes at once."""
        resource = response.resource
        flow = host.fetches[fetch] = Flow(self.origin_side.link, len(resource.body), lambda _: None, lambda _: None)
        began_at = self.made_since.setdefault(resource.url, self.now + response.first_byte_s)
        stops = self.origin.stops_after_chunks.get(nth)
        headers = tuple(it for it in response.headers if it[0] not in ("content-length", "etag"))
        chunks = [resource.body[at : at + size] for at in range(0, len(resource.body), size)]

        def send(event: events.Event) -> None:
            if flow.wanted:
                host.feed(event)

        def sends(data: bytes) -> None:
            if flow.wanted:
                resource.origin_bytes += len(data)
                host.feed(events.OriginSent(fetch, data))

        def ends() -> None:
            if flow.wanted:
                host.fetches.pop(fetch, None)
                host.feed(events.OriginEnded(fetch))

        def at(when: Instant) -> Instant:
            return max(when, self.now + response.first_byte_s)

        answered = events.OriginAnswered(fetch, 200, (*headers, ("transfer-encoding", "chunked")), UTC + self.now)
        self.at(self.now + response.first_byte_s, lambda: send(answered))
        for number, chunk in enumerate(chunks[:stops]):
            self.at(at(began_at + number * every_s), functools.partial(sends, chunk))
        if stops is None:
            self.at(at(began_at + (len(chunks) - 1) * every_s), ends)

    def announce(self, host: Host) -> None:
        self.lan.announce(host)
        self.coordinator.announce(host)

    def served(self, host: Host, served: events.Served) -> None:
        """Tests look at the answers themselves."""

    def condition(self, host: Host, code: str, detail: str) -> None:
        self.conditions.append((host.device, code, detail))

    def _tampered(self, sender: str, to: str, message: peer.PeerMessage) -> list[peer.PeerMessage]:
        return [message] if self.tamper is None else self.tamper(sender, to, message)
