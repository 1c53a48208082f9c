"""Peer connections by aiortc: in Python, patched for its common case (aiortc_patches), on chosen addresses only.

    AiortcPeer(stun_servers)    a `Peer` of io/webrtc/engine
    only_from(addresses)        within it, aioice gathers on these addresses and on no other interface

aioice asks every interface for candidates, VPN and container bridges included, and has no option for it. The function
that lists them is replaced once, here; a version without that function stops the import, so it cannot fail open.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import aioice.ice
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription

from ecdn_proxy.io.webrtc import aiortc_patches
from ecdn_proxy.io.webrtc.engine import DataChannel, SdpType

_chosen: ContextVar[tuple[str, ...]] = ContextVar("addresses that ICE may use", default=())


def _addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Stands in for `aioice.ice.get_host_addresses`."""
    return [address for address in _chosen.get() if (use_ipv6 if ":" in address else use_ipv4)]


if not hasattr(aioice.ice, "get_host_addresses"):  # pragma: no cover - another version of aioice
    raise ImportError("this version of aioice does not let its host candidates be chosen")
aioice.ice.get_host_addresses = _addresses


@contextlib.contextmanager
def only_from(addresses: Sequence[str]) -> Iterator[None]:
    """Gather on these addresses only; tasks begun within inherit it."""
    token = _chosen.set(tuple(addresses))
    try:
        yield
    finally:
        _chosen.reset(token)


class AiortcPeer:
    """One RTCPeerConnection of aiortc."""

    def __init__(self, stun_servers: Sequence[str]) -> None:
        aiortc_patches.apply()
        # Always explicit: the default asks a public STUN server.
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[RTCIceServer(urls=url) for url in stun_servers]))

    def open_channel(self, label: str) -> DataChannel:
        """Make the data channel, on the side that offers."""
        return self._peer.createDataChannel(label)

    def on_channel(self, taken: Callable[[DataChannel], None]) -> None:
        """Call `taken` with the other side's data channel when it comes."""
        self._peer.on("datachannel", taken)

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call `lost` when ICE or DTLS has failed, or when the peer connection is closed."""

        def changed() -> None:
            if self._peer.connectionState in {"failed", "closed"}:
                lost()

        self._peer.on("connectionstatechange", changed)

    async def describe(self, kind: SdpType, addresses: Sequence[str]) -> str:
        """Gather candidates on `addresses` and nowhere else; the whole description."""
        made = await (self._peer.createOffer() if kind == "offer" else self._peer.createAnswer())
        with only_from(addresses):
            await self._peer.setLocalDescription(made)
        return str(self._peer.localDescription.sdp)

    async def set_remote(self, kind: SdpType, sdp: str) -> None:
        """Take the other side's description."""
        await self._peer.setRemoteDescription(RTCSessionDescription(sdp, kind))

    @property
    def connected(self) -> bool:
        """Whether ICE has chosen a pair and the DTLS handshake is over."""
        return self._peer.connectionState == "connected"

    def path(self) -> tuple[str, str]:
        """The other's address of the chosen pair; this machine's is one of those it was given, so "" stands for it."""
        below: Any = getattr(
            getattr(self._peer.sctp and self._peer.sctp.transport.transport, "_connection", None), "_nominated", {}
        )
        pair = next(iter(below.values()), None)
        return "", str(pair.remote_addr[0]) if pair is not None else ""

    def unacknowledged(self) -> bool:
        """Whether anything that was sent may still be lost by closing; False when this aiortc does not show it."""
        sctp = self._peer.sctp
        return bool(getattr(sctp, "_outbound_queue", None) or getattr(sctp, "_sent_queue", None))

    async def close(self) -> None:
        """Close the data channel and everything below it."""
        await self._peer.close()
