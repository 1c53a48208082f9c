"""One data channel by hand: greeting, liveness, back-pressure, leaving; a stand-in takes the place of aiortc's."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from aiortc import RTCDataChannel

from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.handshake import LinkEnd
from ecdn_proxy.io.link_connection import LinkConnection
from ecdn_proxy.io.webrtc import channel as channels
from ecdn_proxy.io.webrtc.channel import Channel
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.peer import PARTING_WEBRTC, Bye, Contact, Get, Hello, PeerMessage, Ping, Pong, read_peer_message
from ecdn_proxy.wire.version import PROTOCOL

pytestmark = pytest.mark.asyncio
TENANT = "tenant-1"
GET = Get(1, "ab" * 32, "cd" * 16, 0)


def hello(device: str = "b", tenant: str = TENANT, protocol: int = PROTOCOL) -> Hello:
    return Hello(protocol, device, tenant, "test", Contact(device, ("10.1.0.12",), 7688), (), True)


class Below:
    """What a channel uses of aiortc's."""

    def __init__(self) -> None:
        self.readyState = "connecting"
        self.bufferedAmount = 0
        self.bufferedAmountLowThreshold = 0
        self.sent: list[PeerMessage] = []
        self._handlers: dict[str, Callable[..., None]] = {}

    def on(self, event: str, handler: Callable[..., None]) -> None:
        self._handlers[event] = handler

    def send(self, body: bytes) -> None:
        self.sent.append(read_peer_message(body))

    def happens(self, event: str, *what: Any) -> None:
        if event == "open":
            self.readyState = "open"
        self._handlers[event](*what)

    def brings(self, message: PeerMessage) -> None:
        self.happens("message", pack(message))


class Side:
    """A channel to `b`, its carrier, and what its owner was told."""

    def __init__(self, *, opened: bool = True, greeted: bool = True) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.on_began: Callable[[], None] = lambda: None
        self.channel = Channel(self, self, TENANT, "b", dialled=True)
        self.below = Below()
        self.channel.attach(cast("RTCDataChannel", self.below))
        if opened:
            self.below.happens("open")
        if opened and greeted:
            self.below.brings(hello())

    def hello(self) -> Hello:
        return hello("a")

    def began(self, channel: LinkConnection) -> None:
        self.told.append(("began", channel.device))
        self.on_began()

    def greeted(self, channel: LinkConnection, said: Hello) -> None:
        self.told.append(("greeted", said.device))

    def link_received(self, device: str, message: PeerMessage) -> None:
        self.told.append(("received", message))
        if message == Get(9, "ab" * 32, "cd" * 16, 0):
            raise ZeroDivisionError

    def link_passed_over(self, device: str, version: str, tag: int) -> None:
        self.told.append(("passed over", version, tag))

    def drained(self, channel: LinkConnection) -> None:
        self.told.append(("drained",))

    def ended(self, channel: LinkConnection, end: LinkEnd) -> None:
        self.told.append(("ended", end))

    def end(self) -> LinkEnd | None:
        return self.channel.end

    def has_heard(self) -> bool:
        return self.channel.heard

    def is_open(self) -> bool:
        return self.channel.open

    def is_full(self) -> bool:
        return self.channel.full


async def test_it_says_hello_first_and_counts_after_the_others() -> None:
    side = Side(opened=False)
    assert side.below.sent == []
    side.below.happens("open")
    assert side.below.sent == [hello("a")]
    assert not side.is_open()
    side.below.brings(hello())
    assert side.told == [("began", "b"), ("greeted", "b")]
    assert not side.channel.heard
    side.below.brings(GET)
    side.below.brings(Ping(7))
    assert side.told[2:] == [("received", GET)]
    assert side.has_heard()
    assert side.below.sent[-1:] == [Pong(7)]
    side.channel.close("enough")
    assert side.below.sent[-1:] == [Bye("enough")]
    assert side.told[-1] == ("ended", LinkEnd("enough"))
    side.channel.close("twice")
    side.below.brings(GET)
    assert side.told[-1] == ("ended", LinkEnd("enough"))


async def test_a_hello_that_comes_before_the_channel_is_known_to_be_open() -> None:
    side = Side(opened=False)
    side.below.readyState = "open"
    side.below.brings(hello())
    side.below.happens("open")
    assert [type(it) for it in side.below.sent] == [Hello, Ping]
    side.channel.lost("the test is over")


@pytest.mark.parametrize(
    ("message", "why", "misbehaved"),
    [
        (GET, "a Get before Hello", True),
        (hello("c"), "a Hello in the name of another device", True),
        (hello(tenant="other"), "a Hello in the name of another tenant", True),
        (hello(protocol=99), f"it speaks protocol 99, this agent {PROTOCOL}", False),
        (Bye("all links taken"), "all links taken", False),
    ],
)
async def test_what_is_no_good_greeting(message: PeerMessage, why: str, misbehaved: bool) -> None:
    side = Side(greeted=False)
    side.below.brings(message)
    assert side.end() == LinkEnd(why, misbehaved, last_word="bye" if isinstance(message, Bye) else "none")
    assert side.channel.settled.is_set()


@pytest.mark.parametrize("body", [b"", b"\xff", "text", pack(hello())])
async def test_what_no_open_channel_brings(body: bytes | str) -> None:
    side = Side()
    side.below.happens("message", body)
    end = side.end()
    assert end is not None
    assert end.misbehaved


async def test_what_a_later_release_says_is_passed_over() -> None:
    side = Side()
    for body in (pack(GET), b"\x92\xcc\xfa\x01", pack(GET), b"\x91\xcc\xfb", pack(GET)):
        side.below.happens("message", body)
    got = ("received", GET)
    assert side.told[2:] == [got, ("passed over", "test", 250), got, got], "told once"
    assert side.channel.handshake.passed_over == 2
    assert side.end() is None
    side.channel.lost("the test is over")


async def test_a_second_channel_is_one_too_many() -> None:
    side = Side()
    side.channel.attach(cast("RTCDataChannel", Below()))
    assert side.end() == LinkEnd("it opened a second channel", misbehaved=True)


def tick(channel: Channel) -> None:
    """What its timer does, now."""
    if channel._timer is not None:
        channel._timer.cancel()
    channel._tick()


async def test_silence_ends_it_and_any_word_keeps_it() -> None:
    side = Side()
    for _ in range(4 * channels.SILENT_TICKS):
        tick(side.channel)
        side.below.brings(Pong(0))
    assert side.end() is None
    asked = [it for it in side.below.sent if isinstance(it, Ping)]
    assert len(asked) == 1 + 4 * channels.SILENT_TICKS
    for _ in range(channels.SILENT_TICKS - 1):
        tick(side.channel)
    assert side.end() is None
    tick(side.channel)
    end = side.end()
    assert end is not None
    assert "nothing was heard" in end.why


async def test_silence_is_noticed_within_three_seconds() -> None:
    assert channels.TICK_S <= 1.0
    assert channels.TICK_S * channels.SILENT_TICKS <= 2.7, "a busy machine and a look at the status need the rest"


async def test_a_late_tick_delays_none_after_it_and_hurries_none() -> None:
    channel, loop = Side().channel, asyncio.get_running_loop()
    now = loop.time()
    for late_s, next_in_s in ((0.1, channels.TICK_S - 0.1), (5.0, channels.TICK_S)):
        assert channel._timer is not None
        channel._timer.cancel()
        channel._due = now - late_s
        channel._tick()
        due = channel._timer.when()
        assert now + next_in_s - 1e-6 <= due <= loop.time() + next_in_s + 1e-6
    channel.close("enough")


async def test_full_and_drained() -> None:
    side = Side()
    side.below.bufferedAmount = channels.HIGH_BYTES + 1
    side.channel.send(GET)
    assert side.is_full()
    side.below.bufferedAmount = channels.LOW_BYTES
    side.below.happens("bufferedamountlow")
    assert not side.is_full()
    assert side.told[-1] == ("drained",)
    side.below.bufferedAmount = channels.LIMIT_BYTES + 1
    assert side.channel.waiting_bytes == channels.LIMIT_BYTES + 1
    side.channel.send(GET)
    assert side.end() == LinkEnd("it no longer reads what it is sent")


async def test_the_round_trip_is_measured() -> None:
    begun = monotonic()
    side = Side()
    ping = side.below.sent[-1]
    assert isinstance(ping, Ping)
    side.below.brings(Pong(ping.number + 1))
    await asyncio.sleep(0.02)
    side.below.brings(Pong(ping.number))
    assert 15 < side.channel.handshake.rtt_ms <= 1_000 * (monotonic() - begun)
    side.channel.lost("the test is over")


async def test_leaving_reads_on_until_the_other_says_the_same() -> None:
    side = Side()
    side.channel.leave()
    side.channel.leave()
    side.channel.send(GET)
    assert [it for it in side.below.sent if isinstance(it, Bye | Get)] == [Bye(PARTING_WEBRTC)]
    side.below.brings(GET)
    assert side.told[-1] == ("received", GET)
    side.below.brings(Bye(PARTING_WEBRTC))
    assert side.end() == LinkEnd(PARTING_WEBRTC, last_word="parting")


async def test_who_is_left_answers_with_its_last_word() -> None:
    side = Side()
    side.below.brings(Bye(PARTING_WEBRTC))
    assert side.below.sent[-1] == Bye(PARTING_WEBRTC)
    assert side.end() == LinkEnd(PARTING_WEBRTC, last_word="parting")


async def test_who_has_left_says_nothing_more_and_may_be_ended() -> None:
    side = Side()
    side.channel.leave()
    side.channel.close("enough")
    assert side.below.sent[-1] == Bye(PARTING_WEBRTC)
    assert side.end() == LinkEnd("enough")
    side.channel.leave()
    assert side.below.sent[-1] == Bye(PARTING_WEBRTC)


async def test_webrtc_ranks_lowest_and_is_never_held() -> None:
    side = Side()
    for hold_or_resume in (side.channel.hold_reading, side.channel.resume_reading):
        with pytest.raises(Impossible):
            hold_or_resume()
    side.channel.lost("the test is over")


async def test_an_owner_that_ends_a_channel_as_it_begins_has_no_open_one() -> None:
    side = Side(opened=False)
    side.on_began = lambda: side.channel.close("no room")
    side.below.readyState = "open"
    side.below.brings(hello())
    assert side.told == [("began", "b"), ("ended", LinkEnd("no room"))]
    assert not side.is_open()


async def test_a_fault_of_ours_ends_the_link_and_is_told() -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    side = Side()
    side.below.brings(Get(9, "ab" * 32, "cd" * 16, 0))
    assert side.end() == LinkEnd("a fault of this agent's own")
    assert [type(it) for it in faults] == [ZeroDivisionError]
