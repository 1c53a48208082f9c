"""An agent's WebSocket: Here first, then whatever comes; what the tracker decides goes out at once (library: wsproto).

    AgentSocket     one socket, from its opening request to its end
    AgentSockets    all of them

Agents stay connected for days, so nothing but this object and its timer lives as long: no task, no request. A socket
that stays silent, breaks the protocol, says too much or reads too slowly is closed with its reason. Losing an agent is
everyday business: INFO.
"""

import asyncio
import math

import structlog
from aiohttp import web
from wsproto import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.frame_protocol import Opcode
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from coordinator.core import limits
from coordinator.core.registry import No
from coordinator.core.sites import read_address, read_networks
from coordinator.core.tracker import Arrived, Beaten, Left, Signalled, Watched
from coordinator.service.system import System
from coordinator.web import frames, tls
from coordinator.web.frames import Frames
from coordinator.web.idle_timeouts import IdleTimeouts
from coordinator.web.responses import no_certificate, refusal, refused, written
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire import signalling
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, pack
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.tracker import Alive, Beat, FromAgent, FromCoordinator, Here, Turned, Watch, read_from_agent

LOG = structlog.get_logger("coordinator.socket")
CLOSE_WITHIN_S = 1.0
LOOKS_PER_S = 4
"""Sockets are looked at together: to wake an idle process takes longer than to look at ten."""


class AgentSocket(asyncio.BufferedProtocol):
    """One socket; a `performer.Socket`."""

    __slots__ = (
        "_all", "_closing", "_early", "_frames", "_heard_at", "_here", "_passed_over", "_pinged", "_session",
        "_timer", "_transport", "_version", "_waiting", "device", "remote", "why",
    )  # fmt: skip

    def __init__(self, all_sockets: "AgentSockets", transport: asyncio.Transport, remote: str) -> None:
        self._all = all_sockets
        self._transport = transport
        self._frames: Frames | None = None
        """None until it is admitted."""
        self._early = b""
        """What came before that."""
        self._waiting: list[bytes] | None = None
        """What an agent that reads slowly will be told; None while it keeps up."""
        self._session = 0
        self._here = False
        self._heard_at: Instant = 0.0
        self._version = ""
        """As it said itself."""
        self._passed_over = False
        """Has a message been that only later releases know?"""
        self._pinged = False
        """Has nothing come since a ping?"""
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self.device = ""
        self.remote = remote
        self.why = "the agent closed it"

    async def open(self, head: bytes, early: bytes) -> None:
        """Answer the request `head`; `early` came behind it."""
        self._early = early
        system = self._all.system
        try:
            answer = await self._answer(system, head)
        except Exception as error:
            system.faults += 1
            LOG.error("a request failed", path="/v1/agent", exc_info=error)
            answer = refusal(500, "fault", "a fault of the coordinator; its log says more")
        if self._transport.is_closing():
            return
        if isinstance(answer, web.Response):
            self._transport.write(written(answer))
            self._transport.close()
            return
        self._begin(answer)

    async def _answer(self, system: System, head: bytes) -> H11Handshake | web.Response:
        shown = tls.shown_device(self._transport, system.authority.tenant)
        if shown is None:
            return no_certificate()
        self.device = shown.device
        admitted = await system.admit(shown)
        if isinstance(admitted, No):
            return refused(admitted)
        handshake = H11Handshake(ConnectionType.SERVER)
        try:
            handshake.receive_data(head)
        except (RemoteProtocolError, UnicodeError) as error:
            return refusal(400, "no-websocket", f"this path is a WebSocket's: {error}")
        return handshake

    def _begin(self, handshake: H11Handshake) -> None:
        self._transport.write(handshake.send(AcceptConnection()))
        self._frames = Frames()
        self._look_in(limits.HERE_WITHIN_S)
        self._session = self._all.begun(self, self._transport)
        LOG.info("agent connected", device=self.device, remote=self.remote)
        early, self._early = self._early, b""
        if early:
            self._receive(early)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where what comes next is put."""
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """The agent says something."""
        self._receive(bytes(self._all.buffer[:nbytes]))

    def _receive(self, data: bytes) -> None:
        if self._frames is None:
            self._early += data
            if len(self._early) > FRAME_BYTES_MAX:
                self._transport.abort()
            return
        self._heard_at, self._pinged = self._all.loop.time(), False
        try:
            for opcode, payload in self._frames.feed(data):
                self._hear(opcode, payload)
        except PeerMisbehaved as error:
            if not self._closing:
                LOG.warning("agent misbehaved", device=self.device, remote=self.remote, why=error.why)
                self.close(Turned("misbehaved", sentence(error.why), 60))
        except Exception as error:
            self._all.system.faults += 1
            LOG.error("a message failed", device=self.device, exc_info=error)
            self._transport.abort()

    def _hear(self, opcode: Opcode, payload: bytes) -> None:
        if opcode == Opcode.CLOSE:
            if not self._closing:
                self._closing = True
                self._transport.write(frames.close(int.from_bytes(payload)))
                self._look_in(CLOSE_WITHIN_S)
            self._transport.close()
        elif self._closing:
            return
        elif self._all.system.messages.wait_s(self.device, self._heard_at) > 0:
            raise PeerMisbehaved("more messages than any agent needs")
        elif opcode == Opcode.BINARY:
            self._read(payload)
        elif opcode == Opcode.TEXT:
            raise PeerMisbehaved("a text message where MessagePack belongs")
        elif opcode == Opcode.PING:
            self._transport.write(frames.pong(payload))

    def _read(self, body: bytes) -> None:
        try:
            message = read_from_agent(body)
        except UnknownMessage as unknown:
            self._all.system.passed_over += 1
            if not self._passed_over:
                why = {"device": self.device, "version": self._version, "tag": unknown.tag}
                LOG.info("a message of a later agent is passed over", **why)
                self._passed_over = True
            return
        self._take(message)

    def _take(self, message: FromAgent) -> None:
        if not self._here and not isinstance(message, Here):
            raise PeerMisbehaved(f"{type(message).__name__} before Here")
        self._here = True
        feed = self._all.system.driver.feed
        match message:
            case Here():
                self._version = message.version
                interfaces = read_networks(message.networks)
                feed(Arrived(self._session, self.device, read_address(self.remote), interfaces, message))
            case Watch():
                feed(Watched(self._session, message))
            case Beat():
                feed(Beaten(self._session, message))
            case signalling.Call() | signalling.Offer() | signalling.Answer() | signalling.Bye():
                feed(Signalled(self._session, message))
            case Alive():
                self.send(Alive())

    def send(self, message: FromCoordinator) -> None:
        """Send one message, or queue it; an agent with too many waiting is let go."""
        if self._closing:
            return
        self._pass_on(pack(message))

    def _pass_on(self, body: bytes) -> None:
        if self._waiting is None:
            self._transport.write(frames.message(body))
        elif len(self._waiting) < limits.QUEUE_MESSAGES_MAX:
            self._waiting.append(body)
        else:
            self.close(Turned("slow", f"{limits.QUEUE_MESSAGES_MAX} messages wait for this agent", 5))

    def close(self, turned: Turned) -> None:
        """Say why, then end."""
        if not self._closing:
            self._closing, self.why, self._waiting = True, turned.why, None
            self._transport.write(frames.message(pack(turned)) + frames.close())
            self._look_in(CLOSE_WITHIN_S)

    def pause_writing(self) -> None:
        """The agent reads more slowly than it is told."""
        if not self._closing:
            self._waiting = []

    def resume_writing(self) -> None:
        """It has caught up."""
        waiting, self._waiting = self._waiting or [], None
        for body in waiting:
            self._pass_on(body)

    def _look_in(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = math.ceil((self._all.loop.time() + wait_s) * LOOKS_PER_S) / LOOKS_PER_S
        self._timer = self._all.loop.call_at(when, self._look)

    def _look(self) -> None:
        """Is it still there, and does it say what it should?"""
        silent_s = self._all.loop.time() - self._heard_at
        if self._closing or self._pinged:
            self.why = self.why if self._closing else "it did not answer a ping"
            self._transport.abort()
        elif not self._here:
            self.close(Turned("silent", f"no Here within {limits.HERE_WITHIN_S:g} s", 5))
        elif silent_s < limits.HEARTBEAT_S:
            self._look_in(limits.HEARTBEAT_S - silent_s)
        else:
            self._pinged = True
            self._transport.write(frames.ping())
            self._look_in(limits.HEARTBEAT_S / 2)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._session:
            self._all.ended(self._session)
            LOG.info("agent left", device=self.device, remote=self.remote, why=self.why)


class AgentSockets:
    """What all of them share."""

    def __init__(self, system: System, patience: IdleTimeouts) -> None:
        self.system = system
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(FRAME_BYTES_MAX))
        """Of all connections: each takes out at once what has been put in."""
        self._patience = patience
        self._none_left = asyncio.Event()

    def take(self, transport: asyncio.Transport, head: bytes, early: bytes) -> None:
        """A connection has asked for an agent's socket."""
        peer = transport.get_extra_info("peername")
        if peer is None:  # it has gone already
            transport.abort()
            return
        socket = AgentSocket(self, transport, peer[0])
        transport.set_protocol(socket)
        self.system.tasks.begin(socket.open(head, early), "an agent's opening")

    def begun(self, socket: AgentSocket, transport: asyncio.Transport) -> int:
        """One has been admitted; the answer is the number of its session."""
        self._patience.lift(transport)
        session = self.system.next_session()
        self.system.performer.sockets[session] = socket
        return session

    def ended(self, session: int) -> None:
        """One is gone."""
        del self.system.performer.sockets[session]
        self.system.driver.feed(Left(session))
        if not self.system.performer.sockets:
            self._none_left.set()

    async def all_gone(self) -> None:
        """Wait until the last has ended."""
        self._none_left.clear()
        if self.system.performer.sockets:
            await self._none_left.wait()
