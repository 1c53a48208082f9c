"""Peer connections of the chosen engine (io/webrtc/engine), one for each attempt: which addresses they use, their end.

    PeerConnections(engine, networks, stun_servers)    new · may_try · may_run
    PeerConnection                                     describe · set_remote · close      peer

Only those addresses of this machine are offered that the agent has chosen, and only those of the other machine are
tried that lie in the allowed networks. With STUN servers, the outer addresses of a NAT are offered and tried too.
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
"""How long a library may take to close a peer connection."""
FLUSH_S = 1.0
"""How long the last word may take to be acknowledged before a peer connection is closed."""
STUN_PAUSE_S = 60.0
"""A STUN server that did not answer costs 5 s of every attempt, so it is left out for this long."""
_STUN_SILENT_S = 2.0
"""If gathering takes longer than this, and no STUN server has answered, it has waited for one."""
_FLUSH_LOOK_S = 0.01


class PeerConnections:
    """Makes peer connections, and knows whether STUN servers answer; belongs to one event loop."""

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
        """A peer connection for `channel`; the channel hears when the peer connection is lost."""
        now = asyncio.get_running_loop().time()
        peer = self._engine(self._stun if now >= self._stun_from else ())
        lost = "WebRTC found no way (ICE): UDP is blocked, or both are behind NAT"
        peer.on_lost(lambda: channel.lost(lost))
        return PeerConnection(self, peer, channel)

    def may_try(self, candidate: ice.IceCandidate) -> bool:
        """Whether ICE may try this address of the other machine."""
        return allowed(candidate.address, self._networks) or (candidate.kind == "srflx" and bool(self._stun))

    def may_run(self, ours: str, theirs: str, addresses: Sequence[str]) -> bool:
        """Whether a link may run over this pair of addresses; "" is an address that the engine hides."""
        if ours and ours not in addresses:
            return False
        shown = bool(ours or theirs)
        return not shown or bool(self._stun) or allowed(theirs, self._networks)

    def gathered(self, took_s: float, found: Sequence[ice.IceCandidate]) -> None:
        """Leave STUN servers out for `STUN_PAUSE_S` if none of them has answered."""
        if self._stun and took_s > _STUN_SILENT_S and not any(one.kind == "srflx" for one in found):
            self._stun_from = asyncio.get_running_loop().time() + STUN_PAUSE_S


class PeerConnection:
    """One peer connection, and the channel that it carries."""

    def __init__(self, owner: PeerConnections, peer: Peer, channel: Channel) -> None:
        self._owner = owner
        self._channel = channel
        self._gathering: asyncio.Task[str] | None = None
        self.peer = peer

    async def describe(self, kind: SdpType, addresses: Sequence[str]) -> str:
        """Gather candidates on `addresses`; return the description to send.

        Raises:
            Unavailable: this machine has nothing to offer, or the attempt is over.
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
        """Take the other side's description, without the addresses that may not be tried.

        Raises:
            Unavailable: none of its addresses may be tried.
            PeerMisbehaved: the engine cannot read the description.
        """
        sdp = ice.narrowed(said, self._owner.may_try)
        if not ice.candidates(sdp):
            raise Unavailable("none of its addresses is in a network that this agent shares in")
        try:
            await self.peer.set_remote(kind, sdp)
        except Exception as error:  # a parser of what another device wrote
            raise PeerMisbehaved(f"a session description that cannot be used: {error!r}") from error

    async def close(self) -> None:
        """Wait for the Bye to go out, at most `FLUSH_S`, then close the peer connection and all below it."""
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
