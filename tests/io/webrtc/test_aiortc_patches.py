"""The patches of aiortc: written for certain versions, in place there, and the same to the other end."""

import asyncio
import os
import random
import sys
from importlib import metadata

import pytest
from aioice.ice import StunProtocol
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import RTCSctpTransport

from ecdn_proxy.io.webrtc import aiortc_engine as rtc_aiortc
from ecdn_proxy.io.webrtc import aiortc_patches, udp_batch

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize("library", aiortc_patches.TESTED)
def test_the_versions_are_those_that_the_patches_were_written_for(library: str) -> None:
    tested, installed = aiortc_patches.TESTED[library], metadata.version(library)
    assert installed == tested, (
        f"{library} is {installed}; io/webrtc/aiortc_patches.py was written for {tested} and is OFF with any other, "
        f"so WebRTC links cost four times the CPU. Compare the functions that it replaces with the new version's, run "
        f"'python -m tests.bench rtc', and change TESTED."
    )


def test_another_version_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc_patches, "_applied", False)
    monkeypatch.setitem(aiortc_patches.TESTED, "aiortc", "0.0")
    before = RTCSctpTransport._transmit
    assert not aiortc_patches.apply()
    assert RTCSctpTransport._transmit is before


def test_once_is_enough() -> None:
    assert aiortc_patches.apply()
    assert aiortc_patches.apply()
    assert RTCSctpTransport._transmit is aiortc_patches._transmit


async def _pair(drop: float, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """Two megabytes over a channel whose packets are lost now and then, one way and the other."""
    chance = random.Random(7)
    one, two = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    got = bytearray()
    done, opened = asyncio.Event(), asyncio.Event()
    data = os.urandom(1_000_000)
    channel = one.createDataChannel("test")
    channel.on("open", opened.set)

    def message(body: bytes) -> None:
        got.extend(body)
        if len(got) >= len(data):
            done.set()

    two.on("datachannel", lambda it: it.on("message", message))
    with rtc_aiortc.only_from(("127.0.0.1",)):
        await one.setLocalDescription(await one.createOffer())
        await two.setRemoteDescription(RTCSessionDescription(one.localDescription.sdp, "offer"))
        await two.setLocalDescription(await two.createAnswer())
        await one.setRemoteDescription(RTCSessionDescription(two.localDescription.sdp, "answer"))
    await opened.wait()
    arrived = StunProtocol.datagram_received

    def lossy(self: StunProtocol, packet: bytes | str, address: tuple[str, int]) -> None:
        if chance.random() >= drop:
            arrived(self, packet, address)

    monkeypatch.setattr(StunProtocol, "datagram_received", lossy)
    for at in range(0, len(data), 50_000):
        channel.send(data[at : at + 50_000])
    try:
        async with asyncio.timeout(60):
            await done.wait()
    finally:
        await one.close()
        await two.close()
    return data, bytes(got)


@pytest.mark.asyncio
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("drop", [0.0, 0.02])
async def test_every_byte_arrives_in_order_also_when_packets_are_lost(
    drop: float, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_batch, "_able", together and sys.platform == "linux")
    assert aiortc_patches.apply()
    data, got = await _pair(drop, monkeypatch)
    assert got == data
    assert udp_batch._able == (together and sys.platform == "linux"), "the kernel refused"
