"""What is read out of session descriptions, and which addresses ICE may use."""

import asyncio

import aioice.ice
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.io.webrtc import ice
from ecdn_proxy.io.webrtc.aiortc_engine import AiortcPeer
from ecdn_proxy.wire.faults import PeerMisbehaved

PRINT = ":".join(["AB"] * 32)
SDP = "\r\n".join(
    [
        "v=0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=candidate:1 1 udp 2130706431 10.1.0.12 40000 typ host",
        "a=candidate:2 1 udp 1694498815 198.51.100.6 40000 typ srflx raddr 10.1.0.12 rport 40000",
        "a=candidate:3 1 tcp 1518280447 10.1.0.12 9 typ host tcptype active",
        "a=candidate:4 1 udp 2122260223 4c1c-8d3b.local 50000 typ host",
        "a=candidate:5 1 udp broken",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789012345678901",
        f"a=fingerprint:sha-256 {PRINT.lower()}",
        "a=fingerprint:sha-384 00:11",
        "",
    ]
)


def test_fingerprint_and_ufrag() -> None:
    assert ice.read_sdp(SDP) == ice.SdpIdentity(PRINT, "abcd")
    assert ice.read_sdp(SDP.replace("\r\n", "\n")) == ice.SdpIdentity(PRINT, "abcd")


@pytest.mark.parametrize(
    "sdp",
    [
        "",
        SDP.replace("m=application", "m=audio"),
        SDP + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        SDP.replace("a=ice-ufrag:abcd\r\n", ""),
        SDP + "a=ice-ufrag:efgh\r\n",
        SDP.replace("sha-256", "sha-1"),
        SDP + f"a=fingerprint:sha-256 {PRINT.replace('AB', 'CD')}\r\n",
    ],
)
def test_anything_ambiguous_is_refused(sdp: str) -> None:
    with pytest.raises(PeerMisbehaved):
        ice.read_sdp(sdp)


@given(st.text(max_size=400))
def test_text_of_a_stranger_raises_nothing_else(text: str) -> None:
    with pytest.raises(PeerMisbehaved):
        ice.read_sdp(text)
    assert isinstance(ice.narrowed(text, lambda _: True), str)


def test_candidates_that_may_not_be_tried_are_taken_out() -> None:
    assert [(it.address, it.kind) for it in ice.candidates(SDP)] == [
        ("10.1.0.12", "host"), ("198.51.100.6", "srflx")
    ]  # fmt: skip
    narrow = ice.narrowed(SDP, lambda it: it.address.startswith("10."))
    assert [it.address for it in ice.candidates(narrow)] == ["10.1.0.12"]
    assert "tcptype" not in narrow
    assert ice.read_sdp(narrow) == ice.read_sdp(SDP)


@pytest.mark.asyncio
async def test_only_chosen_addresses_are_gathered() -> None:
    assert aioice.ice.get_host_addresses(True, True) == [], "nothing chosen, nothing told"

    async def gathered(*addresses: str) -> set[str]:
        peer = AiortcPeer(())
        peer.open_channel("test")
        found = {it.address for it in ice.candidates(await peer.describe("offer", addresses))}
        assert not peer.unacknowledged()
        assert peer.path() == ("", "")
        await peer.close()
        return found

    both = await asyncio.gather(gathered("127.0.0.2"), gathered("127.0.0.3", "127.0.0.4"))
    assert list(both) == [{"127.0.0.2"}, {"127.0.0.3", "127.0.0.4"}]
