"""WebRTC links in one process: opening, carrying, refusing, closing, and leaving nothing behind."""

import asyncio
import gc
import hashlib
import os
from functools import partial

import psutil
import pytest

from coordinator.io.ca import Authority
from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.webrtc import channel as channels
from ecdn_proxy.io.webrtc import hub as webrtc_hub
from ecdn_proxy.io.webrtc.aiortc_engine import AiortcPeer
from ecdn_proxy.wire.peer import Get, Piece, Watching
from ecdn_proxy.wire.signalling import Answer, Call, Offer, Undeliverable
from tests.io.switching import RtcAgent, exchange, linked
from tests.io.waiting import DEADLINE_S, Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]

KEY, STREAM = "ab" * 32, "cd" * 16


async def test_the_lower_id_dials_and_both_are_told(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b", "127.0.0.2")
        a.ourselves.streams = (STREAM,)
        a.hub.dial(b.contact)
        contact, kind, streams, serves, rtt = await b.record.first("opened")
        assert (contact, kind, streams, serves) == (a.contact, "webrtc", (STREAM,), True)
        assert rtt > 0
        assert (await a.record.first("opened"))[:2] == (b.contact, "webrtc")
        assert [type(it) for it in made.relayed] == [Offer, Answer]
        assert a.stats()["b"].address == "127.0.0.2"
        assert a.stats()["b"].dialled
        assert not b.stats()["a"].dialled
        assert b.stats()["a"].kind == "webrtc"
        a.send("b", Watching((), False))
        await b.record.until(lambda: b.messages(Watching))
        a.hang_up("b", "enough")
        assert (await b.record.first("closed")) == ("a", "enough", False)
        assert a.record.all("closed") == [("b", "enough", False)]
        assert not a.stats()


async def test_the_higher_id_calls_and_is_dialled(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        b.hub.dial(a.contact)
        await b.record.first("opened")
        await a.record.first("opened")
        assert [type(it) for it in made.relayed] == [Call, Offer, Answer]
        assert a.record.all("called") == [(b.contact,)]


async def test_both_want_it_at_once_and_one_link_comes_of_it(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        a.hub.dial(b.contact)
        b.hub.dial(a.contact)
        await linked(a, b)
        await asyncio.sleep(0.1)
        assert len(a.record.all("opened")) == len(b.record.all("opened")) == 1
        assert not a.record.all("closed")
        assert not b.record.all("closed")


async def test_pieces_both_ways_with_back_pressure(tenant: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "HIGH_BYTES", 262_144)
    monkeypatch.setattr(channels, "LOW_BYTES", 65_536)
    data = os.urandom(32_768)
    async with exchange(tenant) as made:
        begun = monotonic()
        a, b = made("a"), made("b")
        await linked(a, b)
        b.send("a", Get(1, KEY, STREAM, 0))
        await a.record.until(lambda: a.messages(Get))
        waited = 0
        for index in range(64):
            a.send("b", Piece(1, index, data))
            b.send("a", Piece(2, index, data))
            if a.is_full("b"):
                ready = len(a.record.all("ready"))
                await a.record.until(partial(_more_ready, a, ready))
                waited += 1
                assert not a.is_full("b")
        await b.record.until(lambda: len(b.messages(Piece)) == 64)
        await a.record.until(lambda: len(a.messages(Piece)) == 64)
        assert waited > 2
        got = [it for it in b.messages(Piece) if isinstance(it, Piece)]
        assert [it.index for it in got] == list(range(64))
        assert {hashlib.sha256(it.data).digest() for it in got} == {hashlib.sha256(data).digest()}
        assert a.stats()["b"].bytes_out > 64 * 32_768
        assert 0 < a.stats()["b"].rtt_ms < 1_000 * (monotonic() - begun)


def _more_ready(agent: RtcAgent, than: int) -> bool:
    return len(agent.record.all("ready")) > than


async def test_what_cannot_be_delivered_ends_the_attempt_with_the_reason(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        made.tamper = lambda message: None
        a.hub.dial(b.contact)
        await a.record.until(lambda: made.relayed)
        a.hub.heard(Undeliverable("b", made.relayed[0].attempt, "other-site", "the two are not of one site"))
        assert "not of one site" in (await a.record.first("closed"))[1]
        b.connected = False
        b.hub.dial(a.contact)
        assert "no coordinator" in (await b.record.first("closed"))[1]


async def test_silence_ends_an_attempt(tenant: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_hub, "ANSWER_S", 0.2)
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        made.tamper = lambda message: None
        a.hub.dial(b.contact)
        b.hub.dial(a.contact)
        assert "did not answer" in (await a.record.first("closed"))[1]
        assert "did not offer" in (await b.record.first("closed"))[1]


async def test_a_peer_that_dies_is_noticed_and_within_three_seconds(tenant: Authority, quiet_machine: bool) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        await linked(a, b)
        peering = b.hub._attempts["a"].peering
        assert peering is not None
        peer = peering.peer
        assert isinstance(peer, AiortcPeer)
        assert peer._peer.sctp is not None
        connection = peer._peer.sctp.transport.transport._connection
        died = monotonic()
        for protocol in connection._protocols:
            protocol.transport.sendto = lambda *_: None  # type: ignore[method-assign]
        device, why, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", False)
        assert "nothing was heard" in why
        if quiet_machine:  # else by the constants: test_channel.py
            assert monotonic() - died <= 3.0


async def test_frames_that_are_none_are_the_others_fault(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        await linked(a, b)
        channel = a.links["b"]
        assert isinstance(channel, channels.Channel)
        below = channel._below
        assert below is not None
        below.send(b"\xff\xff")
        device, why, misbehaved = await b.record.first("closed")
        assert (device, misbehaved) == ("a", True)
        assert "no message of this protocol" in why


async def test_what_a_later_release_says_is_passed_over(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        a.hub.dial(b.contact)
        await linked(a, b)
        channel = a.links["b"]
        assert isinstance(channel, channels.Channel)
        below = channel._below
        assert below is not None
        a.send("b", Get(1, KEY, STREAM, 0))
        below.send(b"\x92\xcc\xfa\x01")
        a.send("b", Get(2, KEY, STREAM, 0))
        await b.record.until(lambda: len(b.messages(Get)) == 2)
        assert b.record.all("passed_over") == [("a", "test", 250)]
        assert (b.stats()["a"].version, b.stats()["a"].passed_over) == ("test", 1)
        assert not b.record.all("closed")


async def test_stopping_says_bye(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        await linked(a, b)
        await a.hub.close()
        assert (await b.record.first("closed")) == ("a", "the agent is stopping", False)


async def test_a_restarted_agent_replaces_its_old_link(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b")
        await linked(a, b)
        again = made("a")
        again.hub.dial(b.contact)
        await again.record.first("opened")
        await b.record.until(lambda: len(b.record.all("opened")) == 2)
        assert b.record.all("closed") == [("a", "replaced by a newer link", False)]
        await a.hub.close()


async def test_two_hundred_links_leave_nothing(tenant: Authority) -> None:
    """Ten at a time, for a link takes a second to say its last word."""
    process = psutil.Process()
    async with exchange(tenant) as made:
        a, others = made("a"), {name: made(name) for name in (f"b{number}" for number in range(10))}
        begun = (0, 0, 0)
        for turn in range(20):
            for each in (a, *others.values()):
                each.record = Record()
            opened = len(made.relayed)
            for other in others.values():
                (a if turn % 2 else other).hub.dial((other if turn % 2 else a).contact)
            async with asyncio.timeout(DEADLINE_S):
                while a.stats().keys() != others.keys() or not all(it.stats() for it in others.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                for name in others:
                    a.hang_up(name, "next")
                while a.hub._attempts or any(it.hub._attempts for it in others.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            assert len(made.relayed) > opened
            made.relayed.clear()
            if turn == 2:
                gc.collect()
                begun = (process.num_fds(), len(asyncio.all_tasks()), process.memory_info().rss)
        gc.collect()
        await a.record.until(lambda: process.num_fds() <= begun[0] and len(asyncio.all_tasks()) <= begun[1])
        assert process.memory_info().rss - begun[2] < 24_000_000
