"""Peer connections of the chosen engine (engine.py), one for each attempt: what may be said of them, and their end.

    PeerConnections(engine, networks, stun_servers)    new -> PeerConnection      may_run
    PeerConnection                                     describe · set_remote · close      peer

Only addresses of this machine that the agent chose are offered, and only the other's in the allowed networks are tried;
with STUN servers also what lies behind a NAT.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from ecdn_proxy.io.tls_links.sockets import Networks, allowed
from ecdn_proxy.io.webrtc import ice
from ecdn_proxy.io.webrtc.channel import Channel
from ecdn_proxy.io.webrtc.engine import Engine, Peer, SdpType
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import PeerMisbehaved, Unavailable
from ecdn_proxy.wire.signalling import SDP_CHARACTERS_MAX

CLOSE_S = 3.0
FLUSH_S = 1.0
STUN_PAUSE_S = 60.0
"""A STUN server that did not answer costs 5 s of every attempt, so it is left out for this long."""
_STUN_SILENT_S = 2.0
"""Gathering without an answer of a STUN server that takes longer than this has waited for one."""
_FLUSH_LOOK_S = 0.01


class PeerConnections:
    """Makes them; knows which STUN servers answer. Belongs to one event loop."""

    def __init__(
        self,
        engine: Engine,
        networks: Networks,
        stun_servers: tuple[str, ...],
        tasks: Tasks,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._engine = engine
        self._networks = networks
        self._stun = stun_servers
        self._stun_from = 0.0
        self.tasks = tasks
        self.failed = failed

    def new(self, channel: Channel) -> "PeerConnection":
        """A peer connection for `channel`, which hears of its loss."""
        now = asyncio.get_running_loop().time()
        peer = self._engine(self._stun if now >= self._stun_from else ())
        lost = "WebRTC found no way (ICE): UDP is blocked, or both are behind NAT"
        peer.on_lost(lambda: channel.lost(lost))
        return PeerConnection(self, peer, channel)

    def may_try(self, candidate: ice.IceCandidate) -> bool:
        """Whether to look for a way to this address."""
        return allowed(candidate.address, self._networks) or (candidate.kind == "srflx" and bool(self._stun))

    def may_run(self, ours: str, theirs: str, addresses: Sequence[str]) -> bool:
        """Whether a link may stand on this pair; "" is an address that the engine does not show."""
        if ours and ours not in addresses:
            return False
        shown = bool(ours or theirs)
        return not shown or bool(self._stun) or allowed(theirs, self._networks)

    def gathered(self, took_s: float, found: Sequence[ice.IceCandidate]) -> None:
        """Leave STUN servers out for a while if none of them answered."""
        if self._stun and took_s > _STUN_SILENT_S and not any(one.kind == "srflx" for one in found):
            self._stun_from = asyncio.get_running_loop().time() + STUN_PAUSE_S


class PeerConnection:
    """One peer connection."""

    def __init__(self, owner: PeerConnections, peer: Peer, channel: Channel) -> None:
        self._owner = owner
        self._channel = channel
        self._gathering: asyncio.Task[str] | None = None
        self.peer = peer

    async def describe(self, kind: SdpType, addresses: Sequence[str]) -> str:
        """Gather candidates; the description to send.

        Raises:
            Unavailable: there is nothing to offer, or the attempt is over.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._gathering = self._owner.tasks.start(self.peer.describe(kind, addresses), "webrtc gathering")
        whole = await asyncio.shield(self._gathering)  # sockets that are being made cannot be given up half-way
        if self._channel.end is not None:
            raise Unavailable(self._channel.end.why)
        sdp = ice.narrowed(whole, lambda it: (it.address if it.kind == "host" else it.base) in addresses)
        found = ice.candidates(sdp)
        if not found:
            raise Unavailable("this machine has no address that WebRTC may use")
        self._owner.gathered(loop.time() - begun, found)
        if len(sdp) > SDP_CHARACTERS_MAX:
            raise Unavailable("its session description is too long")
        return sdp

    async def set_remote(self, kind: SdpType, said: str) -> None:
        """Take the other side's description, narrowed to what may be tried.

        Raises:
            Unavailable: nothing of it may be tried.
            PeerMisbehaved: it cannot be used.
        """
        sdp = ice.narrowed(said, self._owner.may_try)
        if not ice.candidates(sdp):
            raise Unavailable("none of its addresses is in a network that this agent shares in")
        try:
            await self.peer.set_remote(kind, sdp)
        except Exception as error:  # a parser of what another device wrote
            raise PeerMisbehaved(f"a session description that cannot be used: {error!r}") from error

    async def close(self) -> None:
        """Let the Bye go out, then close the peer connection and all below it."""
        peer, channel = self.peer, self._channel
        if self._gathering is not None and not self._gathering.done():
            await asyncio.wait([self._gathering])
        if channel.said is not None and peer.connected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await asyncio.sleep(0)  # aiortc takes a message in a task of its own
                    while channel.waiting_bytes or peer.unacknowledged():  # noqa: ASYNC110 - no event tells
                        await asyncio.sleep(_FLUSH_LOOK_S)
        try:
            async with asyncio.timeout(CLOSE_S):
                await peer.close()
        except TimeoutError:
            self._owner.failed("closing a peer connection", TimeoutError(f"it did not close within {CLOSE_S:g} s"))
