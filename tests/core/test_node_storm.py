"""Whatever happens, in whatever order: no fault of ours, what `check` asserts holds, and every wait ends.

A storm is a node among three neighbours, an origin and a disk that answer by dice: rightly, wrongly, late or never.
Steps that a download's table does not hold raise `Impossible` here.
"""

import random

import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.lease_request import Reason
from ecdn_proxy.core.download.timeouts import GIVE_UP_S, ORIGIN_THINKS_S
from ecdn_proxy.wire import peer
from tests.core.makers import contact, fetched, head, seal, wanted
from tests.core.test_node_alone import One
from tests.core.world import STREAM, UTC, Seals, key_of

DEVICES = ("ann", "bob", "cat")
KEYS = [key_of(number) for number in range(6)]
BODY = bytes(range(256)) * 128 * 3
OTHER = BODY[::-1]
REASONS: tuple[Reason, ...] = ("first", "parent slow", "hedge", "elder")
STEPS = 400


class Storm(One):
    def __init__(self, seed: int) -> None:
        super().__init__(disk_bytes=1_000_000)
        self.dice = random.Random(seed)
        self.seals = Seals()
        self.node.context.seal = seal("me", self.seals)
        self.sources: dict[tuple[str, str, str], Assembly] = {}
        self.viewers: set[int] = set()
        self.asks: list[tuple[str, peer.Ask]] = []
        self.gets: list[tuple[str, peer.Get]] = []
        self.fetches: dict[int, int] = {}
        """Number of each fetch, and the bytes that its origin has sent."""
        self.numbers = 0
        for key in KEYS[:2]:
            self.node.remember_on_disk(key, 10_000)
        self.feed(events.StreamOpened(STREAM))

    def feed(self, *happened: events.Event) -> list[events.Effect]:
        super().feed(*happened)
        self.note()
        return self.did

    def note(self) -> None:
        """What a world would answer by and by."""
        for effect in self.did:
            match effect:
                case events.Send(device, peer.Ask() as ask):
                    self.asks.append((device, ask))
                case events.Send(device, peer.Get() as get):
                    self.gets.append((device, get))
                case events.FetchOrigin(fetch=fetch):
                    self.fetches[fetch] = 0
                case events.AbortOrigin(fetch) | events.HandOver(fetch=fetch):
                    self.fetches.pop(fetch, None)
                case _:
                    pass
            if isinstance(effect, events.Finish | events.Abort | events.PassOn | events.HandOver | events.AnswerStatus):
                self.viewers.remove(effect.viewer)  # each viewer's answer ends once

    def source(self, device: str, key: str) -> Assembly:
        """What a neighbour has of a segment: mostly the same as all others."""
        body, etag = (BODY, '"v1"') if self.dice.random() < 0.95 else (OTHER, '"v2"')
        if (device, key, etag) not in self.sources:
            self.sources[device, key, etag] = fetched(seal(device, self.seals), body, key=key, etag=etag)
        return self.sources[device, key, etag]

    def step(self) -> None:
        dice = self.dice
        device, key = dice.choice(DEVICES), dice.choice(KEYS)
        what = dice.randrange(20)
        match what:
            case 0 | 1 | 2:
                self.numbers += 1
                self.viewers.add(self.numbers)
                self.feed(wanted(self.numbers, key=key, number=KEYS.index(key)))
            case 3 if self.viewers:
                viewer = dice.choice(sorted(self.viewers))
                self.viewers.discard(viewer)
                self.feed(events.ViewerLeft(viewer))
            case 4 | 5 | 6 if self.asks:
                self.home_answers(*self.asks.pop(dice.randrange(len(self.asks))))
            case 7 | 8 | 9 | 10 if self.gets:
                self.parent_sends(*dice.choice(self.gets[-4:]))
            case 11 | 12 | 13 if self.fetches:
                self.origin_does(dice.choice(list(self.fetches)))
            case 14:
                self.neighbour_asks(device, key)
            case 15:
                self.neighbourhood(device)
            case 16:
                self.feed(events.Loaded(key, self.stored(key) if dice.random() < 0.5 else None))
            case _:
                self.now += dice.choice((0.01, 0.01, 0.05, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 9.0))
                self.after(0.0)
                self.note()

    def stored(self, key: str) -> values.StoredSegment:
        return self.source("me", key).stored(STREAM, UTC, self.now)

    def home_answers(self, home: str, ask: peer.Ask) -> None:
        answer: peer.PeerMessage
        others = tuple(contact(it) for it in self.dice.sample((*DEVICES, "me", "gone"), 2))
        match self.dice.randrange(8):
            case 0 | 1 | 2:
                answer = peer.Granted(ask.request, ask.key, 5, hedge=self.dice.random() < 0.2)
            case 3 | 4 | 5:
                answer = peer.Follow(ask.request, ask.key, others, "so")
            case 6:
                answer = peer.GoAlone(ask.request, ask.key, "so", self.dice.choice((0, 200)))
            case _:
                answer = peer.Redirect(ask.request, ask.key, others[0])
        self.feed(events.Received(home, answer))

    def parent_sends(self, device: str, get: peer.Get) -> None:
        source = self.source(device, get.key)
        message: peer.PeerMessage
        match self.dice.randrange(13):
            case 0:
                message = peer.Noted(get.request)
            case 10:
                message = peer.Awaiting(get.request)
            case 11 | 12:
                self.parent_sends_parts(device, get)
                return
            case 1:
                message = peer.Refused(get.request, self.dice.choice(("busy", "lost", "private")))
            case 2:
                message = peer.End(get.request)
            case 3 if self.dice.random() < 0.2:  # whoever lies is banned
                message = peer.Piece(get.request, self.dice.randrange(3), b"lie")
            case _:
                for voucher in source.vouchers:
                    self.feed(events.Received(device, peer.Vouched(get.request, voucher, 900)))
                for index in range(get.first, 3):
                    self.feed(events.Received(device, peer.Piece(get.request, index, source.pieces[index])))
                return
        self.feed(events.Received(device, message))

    def parent_sends_parts(self, device: str, get: peer.Get) -> None:
        """A segment that grows at its fetcher, as far as it has come there."""
        source = Assembly(get.key, seal(device, self.seals))
        source.begin_origin(head(None, etag=None), 0, UTC)
        here = self.dice.choice((5_000, 32_768 + 5_000, 2 * 32_768 + 5_000))
        source.take_origin((BODY if self.dice.random() < 0.95 else OTHER)[:here], 0.0)
        source.sign_due(1.0)
        for voucher in source.vouchers:
            self.feed(events.Received(device, peer.Vouched(get.request, voucher)))
        for index in range(get.first, len(source.pieces)):
            self.feed(events.Received(device, peer.Piece(get.request, index, source.pieces[index])))
        part = source.open_piece
        if part.voucher is not None and get.first <= part.voucher.index:
            self.feed(events.Received(device, peer.Part(get.request, 0, bytes(part.data), part.voucher)))

    def origin_does(self, fetch: int) -> None:
        sent = self.fetches[fetch]
        length = ("content-length", str(len(BODY))) if fetch % 3 else ("transfer-encoding", "chunked")
        headers = (("content-type", "video/mp2t"), length, ("etag", '"v1"'))
        match self.dice.randrange(7):
            case 6:
                self.feed(events.OriginReached(fetch))
            case 0:
                del self.fetches[fetch]
                self.feed(events.OriginFailed(fetch, "connection lost"))
            case 1 if not sent:
                status = self.dice.choice((404, 503, 403))
                self.feed(events.OriginAnswered(fetch, status, headers, UTC))
            case _:
                if not sent:
                    self.feed(events.OriginAnswered(fetch, 200, headers, UTC))
                upto = self.dice.choice((sent + 1_000, len(BODY)))
                if fetch in self.fetches:
                    self.fetches[fetch] = upto
                    self.feed(events.OriginSent(fetch, BODY[sent:upto]))
                if fetch in self.fetches and upto == len(BODY):
                    del self.fetches[fetch]
                    self.feed(events.OriginEnded(fetch))

    def neighbour_asks(self, device: str, key: str) -> None:
        self.numbers += 1
        match self.dice.randrange(3):
            case 0:
                errand = self.dice.choice((None, *DEVICES))
                self.feed(events.Received(device, peer.Get(self.numbers, key, STREAM, 0, errand=errand)))
            case 1:
                self.feed(events.Received(device, peer.Cancel(self.numbers - 1)))
            case _:
                reason = self.dice.choice(REASONS)
                self.feed(events.Received(device, peer.Ask(self.numbers, key, STREAM, reason, (), 0, 0)))

    def neighbourhood(self, device: str) -> None:
        match self.dice.randrange(6):
            case 0:
                self.feed(events.LinkClosed(device, "connection lost"))
            case 1:
                self.feed(events.DevicesDenied(frozenset({device} if self.dice.random() < 0.3 else ())))
            case 2:
                keepers = tuple(self.dice.sample(("me", *DEVICES), 2))
                self.feed(events.TrackerSaid(STREAM, keepers, tuple((contact(it), "so") for it in DEVICES)))
            case 3:
                self.feed(events.PolicyChanged(True, self.dice.random() < 0.6, "so"))
            case _ if device not in self.node.context.links:
                self.feed(events.LinkOpened(contact(device), "lan", (STREAM,), serves=True, rtt_ms=1.0))
            case _:
                pass


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_events_is_a_fault_of_ours_and_every_wait_ends(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(STEPS):
        storm.step()
    for _ in range(60 + int(ORIGIN_THINKS_S / GIVE_UP_S)):  # nothing answers any more
        storm.fetches.clear()
        storm.after(GIVE_UP_S)
        storm.note()
    assert storm.viewers == set()
    assert storm.node.downloading() == {}
