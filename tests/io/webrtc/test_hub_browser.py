"""Our WebRTC link to Chromium: what it carries is a standard data channel, and the frames go both ways."""

import asyncio
import os
import shutil
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from ecdn_proxy.io import clock
from ecdn_proxy.io.interfaces import interfaces
from ecdn_proxy.io.webrtc import ice
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.peer import Contact, Hello, Piece, Watching
from ecdn_proxy.wire.signalling import Answer, Offer, Relayed
from ecdn_proxy.wire.version import PROTOCOL
from tests.io.switching import authority, exchange, identity

pytestmark = [pytest.mark.asyncio, pytest.mark.browser]

CHROMIUM = "/usr/bin/chromium"
PIECES = 40
PAGE = """
async ([offer, hello, alive]) => {
  const bytes = text => Uint8Array.from(text.match(/../g).map(pair => parseInt(pair, 16)));
  const peer = new RTCPeerConnection({iceServers: []});
  window.seen = {label: "", messages: 0, bytes: 0, largest: 0};
  peer.ondatachannel = ({channel}) => {
    seen.label = channel.label;
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({data}) => {
      if (seen.messages++ === 0) channel.send(bytes(hello));
      seen.bytes += data.byteLength;
      seen.largest = Math.max(seen.largest, data.byteLength);
      if (data.byteLength > 1000) channel.send(data);
    };
    setInterval(() => channel.send(bytes(alive)), 400);
  };
  await peer.setRemoteDescription({type: "offer", sdp: offer});
  await peer.setLocalDescription(await peer.createAnswer());
  while (peer.iceGatheringState !== "complete") await new Promise(done => setTimeout(done, 20));
  window.peer = peer;
  return peer.localDescription.sdp;
}
"""


@pytest.mark.timeout(120)
async def test_chromium_opens_the_channel_and_carries_frames_both_ways(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.async_api")
    if shutil.which("chromium") is None:
        pytest.skip("Debian's chromium is not installed")
    own = [it.address for it in interfaces() if it.address.count(".") == 3 and not it.address.startswith("127.")]
    if not own:
        pytest.skip("Chromium offers no loopback candidate, and this machine has no other address")
    address = own[0]
    tenant = authority(tmp_path)
    browser_device = identity(tenant, "b")
    contact = Contact("b", (address,), 7688)
    hello = pack(Hello(PROTOCOL, "b", tenant.tenant, "chromium", contact, (), True)).hex()
    alive = pack(Watching((), False)).hex()
    async with exchange(tenant) as made, playwright.async_playwright() as engine:
        a = made("a", address, [ip_network(address)])
        offers: asyncio.Queue[Offer] = asyncio.Queue()

        def take(message: Relayed) -> None:
            if isinstance(message, Offer):
                offers.put_nowait(message)

        made.tamper = take
        flags = ["--no-sandbox", "--disable-features=WebRtcHideLocalIpsWithMdns"]
        browser = await engine.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = await browser.new_page()
        try:
            a.hub.dial(contact)
            offer = await offers.get()
            sdp = await page.evaluate(PAGE, [offer.sdp, hello, alive])
            blank = Answer("a", "b", offer.attempt, sdp, offer.nonce, clock.utc() + 30, bytes(64), b"")
            blank = msgspec.structs.replace(blank, certificate=browser_device.certificate_der)
            said = ice.read_sdp(sdp)
            signed = browser_device.sign(blank.signed_bytes(tenant.tenant, said.fingerprint, said.ufrag))
            a.hub.heard(msgspec.structs.replace(blank, signature=signed))
            assert (await a.record.first("opened"))[:2] == (contact, "webrtc")
            data = os.urandom(32_768)
            for index in range(PIECES):
                a.send("b", Piece(1, index, data))
            await a.record.until(lambda: len(a.messages(Piece)) == PIECES)
            assert a.messages(Piece) == [Piece(1, index, data) for index in range(PIECES)]
            seen = await page.evaluate("window.seen")
            assert seen["label"] == "ecdn/1"
            assert seen["largest"] > 32_768
            assert not a.record.all("closed")
        finally:
            await browser.close()
