"""The other engine: libwebrtc links speak with aiortc's, offer only what they may, and end like them.

libwebrtc leaves loopback out, so these links use this machine's own address; the kernel keeps them inside it.
"""

import gc
import hashlib
import os
from functools import partial
from ipaddress import ip_address, ip_network

import psutil
import pytest

from coordinator.io.ca import Authority
from ecdn_proxy.io.interfaces import interfaces
from ecdn_proxy.io.tls_links.sockets import Networks
from ecdn_proxy.io.webrtc import channel as channels
from ecdn_proxy.io.webrtc import ice
from ecdn_proxy.io.webrtc.engine import EngineName, missing
from ecdn_proxy.io.webrtc.wrtc_engine import WrtcPeer
from ecdn_proxy.wire.peer import Get, Piece
from ecdn_proxy.wire.signalling import Offer
from tests.io.switching import RtcAgent, exchange, linked
from tests.io.waiting import Record

pytestmark = pytest.mark.asyncio

KEY, STREAM = "ab" * 32, "cd" * 16


def _own_address() -> str | None:
    found = (it.address for it in interfaces() if ":" not in it.address)
    return next((it for it in found if not ip_address(it).is_loopback), None)


@pytest.fixture
def here() -> tuple[str, Networks]:
    if (why := missing("wrtc")) is not None:
        pytest.skip(why)
    address = _own_address()
    if address is None:
        pytest.skip("this machine has no address besides loopback, which libwebrtc leaves out")
    return address, (ip_network(address),)


def _ready(agent: RtcAgent, than: int) -> bool:
    return len(agent.record.all("ready")) > than


@pytest.mark.parametrize(("lower", "higher"), [("wrtc", "aiortc"), ("aiortc", "wrtc"), ("wrtc", "wrtc")])
async def test_both_engines_carry_frames_both_ways_and_end_with_their_reason(
    tenant: Authority,
    here: tuple[str, Networks],
    lower: EngineName,
    higher: EngineName,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "HIGH_BYTES", 262_144)
    monkeypatch.setattr(channels, "LOW_BYTES", 65_536)
    address, networks = here
    data = os.urandom(32_768)
    async with exchange(tenant) as made:
        a, b = made("a", address, networks, engine=lower), made("b", address, networks, engine=higher)
        await linked(a, b)
        assert a.stats()["b"].address == b.stats()["a"].address == address
        b.send("a", Get(1, KEY, STREAM, 0))
        await a.record.until(lambda: a.messages(Get))
        for index in range(64):
            a.send("b", Piece(1, index, data))
            b.send("a", Piece(2, index, data))
            if a.is_full("b"):
                await a.record.until(partial(_ready, a, len(a.record.all("ready"))))
        await b.record.until(lambda: len(b.messages(Piece)) == 64)
        await a.record.until(lambda: len(a.messages(Piece)) == 64)
        for agent in (a, b):
            got = [it for it in agent.messages(Piece) if isinstance(it, Piece)]
            assert [it.index for it in got] == list(range(64))
            assert {hashlib.sha256(it.data).digest() for it in got} == {hashlib.sha256(data).digest()}
        a.hang_up("b", "enough")
        assert (await b.record.first("closed")) == ("a", "enough", False)
        await b.record.until(lambda: not b.hub._attempts and not a.hub._attempts)
    gc.collect()


async def test_only_the_chosen_address_is_offered(tenant: Authority, here: tuple[str, Networks]) -> None:
    address, networks = here
    everywhere = await _gathered()
    assert address in everywhere
    async with exchange(tenant) as made:
        a, b = made("a", address, networks, engine="wrtc"), made("b", address, networks)
        await linked(a, b)
        offers = [it for it in made.relayed if isinstance(it, Offer)]
        assert {it.address for it in ice.candidates(offers[0].sdp)} == {address}
        nowhere = made("c", "10.255.255.1", networks, engine="wrtc")
        nowhere.hub.dial(b.contact)
        b.hub.dial(nowhere.contact)
        assert "no address that WebRTC may use" in (await nowhere.record.first("closed"))[1]


async def _gathered() -> set[str]:
    """What libwebrtc finds by itself."""
    peer = WrtcPeer(())
    peer.open_channel("x")
    found = {it.address for it in ice.candidates(await peer.describe("offer", ()))}
    assert peer.path() == ("", "")
    await peer.close()
    return found


@pytest.mark.parametrize(("ours", "theirs"), [("10.255.255.1", ""), ("", "10.255.255.1"), ("", "")])
async def test_a_link_over_another_interface_or_one_that_is_hidden_is_ended(
    tenant: Authority, here: tuple[str, Networks], monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str
) -> None:
    address, networks = here
    path = (ours or address, theirs or ("" if not ours else address))
    monkeypatch.setattr(WrtcPeer, "path", lambda _: path)
    async with exchange(tenant) as made:
        a, b = made("a", address, networks, engine="wrtc"), made("b", address, networks)
        a.hub.dial(b.contact)
        assert "outside the networks" in (await b.record.first("closed"))[1]
        assert not a.record.all("opened")


async def test_leaves_no_socket_behind(tenant: Authority, here: tuple[str, Networks]) -> None:
    address, networks = here
    before = _sockets()
    for _ in range(5):
        async with exchange(tenant) as made:
            await linked(made("a", address, networks, engine="wrtc"), made("b", address, networks, engine="wrtc"))
    gc.collect()
    await Record().until(lambda: _sockets() <= before)


def _sockets() -> int:
    return len(psutil.Process().net_connections(kind="inet"))
