"""What the WebRTC hub (io/webrtc/hub) needs of a WebRTC library, and which one it gets.

    engine(name)    "aiortc" (aiortc_engine) or "wrtc" (wrtc_engine): a function that makes peer connections
    Peer            one peer connection with one data channel
    DataChannel     that channel, as io/webrtc/channel uses it

Session descriptions go in and out as text (SDP, RFC 8866). Which addresses may be offered or tried is decided in
io/webrtc/connections; an engine gathers on the addresses that it is given, as far as its library lets it, and says
afterwards which pair of addresses ICE has chosen.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Literal, Protocol

from ecdn_proxy.wire.faults import Unavailable

SdpType = Literal["offer", "answer"]
EngineName = Literal["aiortc", "wrtc"]
PACKAGES: dict[EngineName, tuple[str, str]] = {
    "aiortc": ("aiortc", "ecdn[agent]"),
    "wrtc": ("webrtc", "ecdn[webrtc-fast]"),
}
"""The module that an engine needs, and the extra of this package that installs it."""


class DataChannel(Protocol):
    """A data channel, with the names of the W3C's RTCDataChannel."""

    bufferedAmountLowThreshold: int  # noqa: N815 - the standard's name

    @property
    def readyState(self) -> str:  # noqa: N802 - the standard's name
        """`connecting`, `open`, `closing` or `closed`."""
        ...

    @property
    def bufferedAmount(self) -> int:  # noqa: N802 - the standard's name
        """Bytes taken and not given to SCTP yet."""
        ...

    def on(self, event: str, handler: Callable[..., object]) -> object:
        """Call `handler` at `open`, `message` (with its bytes or text), `bufferedamountlow` or `close`."""
        ...

    def send(self, data: bytes) -> None:
        """Send one message."""
        ...


class Peer(Protocol):
    """One peer connection."""

    def open_channel(self, label: str) -> DataChannel:
        """Make the data channel, on the side that offers, before `describe`."""
        ...

    def on_channel(self, taken: Callable[[DataChannel], None]) -> None:
        """On the side that answers: call `taken` with the other side's data channel when it comes."""
        ...

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call `lost` when ICE or DTLS has failed, or when the peer connection is closed."""
        ...

    async def describe(self, kind: SdpType, addresses: Sequence[str]) -> str:
        """Gather candidates, on `addresses` only if the library can be told so; return the whole description."""
        ...

    async def set_remote(self, kind: SdpType, sdp: str) -> None:
        """Take the other side's description.

        Raises:
            Exception: whatever the library's parser raises.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether ICE has chosen a pair and the DTLS handshake is over."""
        ...

    def path(self) -> tuple[str, str]:
        """The addresses of the chosen pair, this machine's and the other's; "" for one that the library hides."""
        ...

    def unacknowledged(self) -> bool:
        """Whether anything that was sent may still be lost by closing."""
        ...

    async def close(self) -> None:
        """Close the data channel and everything below it."""
        ...


Engine = Callable[[Sequence[str]], Peer]
"""Given STUN servers (`stun:host:port`), makes a peer connection."""


def missing(name: EngineName) -> str | None:
    """Why an engine cannot be used here; None when it can."""
    module, brings = PACKAGES[name]
    if find_spec(module) is not None:
        return None
    return f"the WebRTC engine {name} is not installed; install {brings}, or set webrtc_engine to aiortc"


def engine(name: EngineName) -> Engine:
    """The engine of that name.

    Raises:
        Unavailable: its package is not installed.
    """
    if (why := missing(name)) is not None:
        raise Unavailable(why)
    if name == "wrtc":
        from ecdn_proxy.io.webrtc.wrtc_engine import WrtcPeer  # noqa: PLC0415 - the other engine is not loaded

        return WrtcPeer
    from ecdn_proxy.io.webrtc.aiortc_engine import AiortcPeer  # noqa: PLC0415 - as above

    return AiortcPeer
