"""Peer connections by libwebrtc, the engine of Chrome (library: wrtc), for machines where aiortc costs too much.

    WrtcPeer(stun_servers)      a `Peer` of io/webrtc/engine

libwebrtc asks every interface for candidates and has no switch for it here. So what it found elsewhere is not offered
(`describe` returns everything, the hub narrows it), and `path` shows this machine's address of the chosen pair, so that
the hub ends a link that would run over another one. What is left: its sockets on the other interfaces exist, and its
checks of the other side's addresses may leave through them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import webrtc

from ecdn_proxy.io.webrtc.engine import DataChannel, SdpType

GATHER_S = 5.0
"""A STUN server that does not answer costs no more; aiortc waits as long."""


class _Channel:
    """A data channel of wrtc under the standard's names."""

    def __init__(self, below: webrtc.RTCDataChannel) -> None:
        self._below = below

    @property
    def bufferedAmountLowThreshold(self) -> int:  # noqa: N802 - the standard's name
        """Below so many waiting bytes `bufferedamountlow` is told."""
        return self._below.buffered_amount_low_threshold

    @bufferedAmountLowThreshold.setter
    def bufferedAmountLowThreshold(self, value: int) -> None:  # noqa: N802 - the standard's name
        self._below.buffered_amount_low_threshold = value

    @property
    def readyState(self) -> str:  # noqa: N802 - the standard's name
        """`connecting`, `open`, `closing` or `closed`."""
        return self._below.ready_state.value

    @property
    def bufferedAmount(self) -> int:  # noqa: N802 - the standard's name
        """Bytes taken and not given to SCTP yet."""
        return self._below.buffered_amount

    def on(self, event: str, handler: Callable[..., object]) -> object:
        """Call `handler` at one of the events that `engine.DataChannel` names."""
        match event:
            case "message":
                return self._below.on("message", lambda it: handler(it.data))
            case "open":
                return self._below.on("open", lambda _: handler())
            case "bufferedamountlow":
                return self._below.on("bufferedamountlow", lambda _: handler())
            case _:
                return self._below.on("close", lambda _: handler())

    def send(self, data: bytes) -> None:
        """Send one message."""
        self._below.send(data)


class WrtcPeer:
    """One RTCPeerConnection of wrtc."""

    def __init__(self, stun_servers: Sequence[str]) -> None:
        servers = [webrtc.RTCIceServer(url) for url in stun_servers]
        self._peer = webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=servers))
        self._channel: _Channel | None = None

    def open_channel(self, label: str) -> DataChannel:
        """Make the data channel, on the side that offers."""
        self._channel = _Channel(self._peer.create_data_channel(label))
        return self._channel

    def on_channel(self, taken: Callable[[DataChannel], None]) -> None:
        """Call `taken` with the other side's data channel when it comes."""

        def take(event: webrtc.RTCDataChannelEvent) -> None:
            self._channel = _Channel(event.channel)
            taken(self._channel)

        self._peer.on("datachannel", take)

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call `lost` when ICE or DTLS has failed, or when the peer connection is closed."""

        def changed(_: webrtc.Event) -> None:
            if self._peer.connection_state in {
                webrtc.RTCPeerConnectionState.failed,
                webrtc.RTCPeerConnectionState.closed,
            }:
                lost()

        self._peer.on("connectionstatechange", changed)

    async def describe(self, kind: SdpType, addresses: Sequence[str]) -> str:
        """Gather candidates on every interface, since libwebrtc cannot be told the addresses; the whole description."""
        gathered = asyncio.Event()

        def changed(_: webrtc.Event) -> None:
            if self._peer.ice_gathering_state == webrtc.RTCIceGatheringState.complete:
                gathered.set()

        self._peer.on("icegatheringstatechange", changed)
        made = await (self._peer.create_offer() if kind == "offer" else self._peer.create_answer())
        await self._peer.set_local_description(made)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await gathered.wait()
        described = self._peer.local_description
        return "" if described is None else described.sdp

    async def set_remote(self, kind: SdpType, sdp: str) -> None:
        """Take the other side's description."""
        await self._peer.set_remote_description(webrtc.RTCSessionDescriptionInit(webrtc.RTCSdpType(kind), sdp))

    @property
    def connected(self) -> bool:
        """Whether ICE has chosen a pair and the DTLS handshake is over."""
        return self._peer.connection_state == webrtc.RTCPeerConnectionState.connected

    def path(self) -> tuple[str, str]:
        """The addresses of the chosen pair; the other's is "" if only ICE's checks have found it."""
        sctp = self._peer.sctp
        pair = None if sctp is None else sctp.transport.ice_transport.get_selected_candidate_pair()
        if pair is None:
            return "", ""
        local = pair.local
        at = local.address if local.type == "host" else local.related_address  # the socket behind a NAT's address
        return at or "unknown", pair.remote.address or ""

    def unacknowledged(self) -> bool:
        """Whether anything that was sent may still be lost by closing."""
        return self._channel is not None and self._channel.bufferedAmount > 0

    async def close(self) -> None:
        """Close the data channel and everything below it."""
        self._peer.close()
