"""An agent's WebSocket: the agent says Here first; what the tracker decides goes out at once (library: wsproto).

    AgentSocket     one socket, from its opening request to its end
    AgentSockets    the sockets of all agents, and what they share

Agents stay connected for days, so only this object and its timer live as long: no task, no request. A socket that stays
silent, breaks the protocol, says too much or reads too slowly is closed, and the agent is told why. Agents come and go
all the time, so their leaving is logged as INFO.
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
from coordinator.core.registry import Refusal
from coordinator.core.sites import read_address, read_networks
from coordinator.core.tracker import Arrived, BeatReceived, Left, Signalled, Watched
from coordinator.service.system import System
from coordinator.web import frames, tls
from coordinator.web.frames import FrameReader
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
"""How long an agent may take to close its side."""
CHECKS_PER_S = 4
"""Times of checks are rounded up to quarters of a second, so that sockets are checked together: to wake an idle process
takes longer than to check ten of them."""


class AgentSocket(asyncio.BufferedProtocol):
    """One agent's socket; to the performer a `service.performer.Socket`."""

    __slots__ = (
        "_all", "_closing", "_early", "_frames", "_heard_at", "_here", "_passed_over", "_pinged", "_session",
        "_timer", "_transport", "_version", "_waiting", "device", "remote", "why",
    )  # fmt: skip

    def __init__(self, all_sockets: "AgentSockets", transport: asyncio.Transport, remote: str) -> None:
        self._all = all_sockets
        self._transport = transport
        self._frames: FrameReader | None = None
        """None until the device is admitted."""
        self._early = b""
        """Bytes that came before that."""
        self._waiting: list[bytes] | None = None
        """Messages for an agent that reads slowly; None while it keeps up."""
        self._session = 0
        self._here = False
        self._heard_at: Instant = 0.0
        self._version = ""
        """The agent's release, by its own word."""
        self._passed_over = False
        """Has the agent sent a message that only later releases know?"""
        self._pinged = False
        """Has the agent been pinged, and nothing come since?"""
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self.device = ""
        self.remote = remote
        self.why = "the agent closed it"
        """Why the socket has ended, for the log."""

    async def open(self, head: bytes, early: bytes) -> None:
        """Answer the request for a socket: `head` up to its empty line; `early` are the bytes that came behind it."""
        self._early = early
        system = self._all.system
        try:
            answer = await self._handshake_or_refusal(system, head)
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

    async def _handshake_or_refusal(self, system: System, head: bytes) -> H11Handshake | web.Response:
        shown = tls.device_certificate(self._transport, system.authority.tenant)
        if shown is None:
            return no_certificate()
        self.device = shown.device
        admitted = await system.admit(shown)
        if isinstance(admitted, Refusal):
            return refused(admitted)
        handshake = H11Handshake(ConnectionType.SERVER)
        try:
            handshake.receive_data(head)
        except (RemoteProtocolError, UnicodeError) as error:
            return refusal(400, "no-websocket", f"this path is a WebSocket's: {error}")
        return handshake

    def _begin(self, handshake: H11Handshake) -> None:
        self._transport.write(handshake.send(AcceptConnection()))
        self._frames = FrameReader()
        self._check_in(limits.HERE_WITHIN_S)
        self._session = self._all.begun(self, self._transport)
        LOG.info("agent connected", device=self.device, remote=self.remote)
        early, self._early = self._early, b""
        if early:
            self._receive(early)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the event loop puts the bytes that come next."""
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come from the agent."""
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
                self._frame_came(opcode, payload)
        except PeerMisbehaved as error:
            if not self._closing:
                LOG.warning("agent misbehaved", device=self.device, remote=self.remote, why=error.why)
                self.close(Turned("misbehaved", sentence(error.why), 60))
        except Exception as error:
            self._all.system.faults += 1
            LOG.error("a message failed", device=self.device, exc_info=error)
            self._transport.abort()

    def _frame_came(self, opcode: Opcode, payload: bytes) -> None:
        if opcode == Opcode.CLOSE:
            if not self._closing:
                self._closing = True
                self._transport.write(frames.close(int.from_bytes(payload)))
                self._check_in(CLOSE_WITHIN_S)
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
        self._message_came(message)

    def _message_came(self, message: FromAgent) -> None:
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
                feed(BeatReceived(self._session, message))
            case signalling.Call() | signalling.Offer() | signalling.Answer() | signalling.Bye():
                feed(Signalled(self._session, message))
            case Alive():
                self.send(Alive())

    def send(self, message: FromCoordinator) -> None:
        """Send one message, or queue it; an agent for which too many wait is disconnected."""
        if self._closing:
            return
        self._write(pack(message))

    def _write(self, body: bytes) -> None:
        if self._waiting is None:
            self._transport.write(frames.message(body))
        elif len(self._waiting) < limits.QUEUE_MESSAGES_MAX:
            self._waiting.append(body)
        else:
            self.close(Turned("slow", f"{limits.QUEUE_MESSAGES_MAX} messages wait for this agent", 5))

    def close(self, turned: Turned) -> None:
        """Tell the agent why, then end the socket."""
        if not self._closing:
            self._closing, self.why, self._waiting = True, turned.why, None
            self._transport.write(frames.message(pack(turned)) + frames.close())
            self._check_in(CLOSE_WITHIN_S)

    def pause_writing(self) -> None:
        """The agent reads more slowly than it is sent messages; asyncio calls this."""
        if not self._closing:
            self._waiting = []

    def resume_writing(self) -> None:
        """The agent has caught up; asyncio calls this."""
        waiting, self._waiting = self._waiting or [], None
        for body in waiting:
            self._write(body)

    def _check_in(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = math.ceil((self._all.loop.time() + wait_s) * CHECKS_PER_S) / CHECKS_PER_S
        self._timer = self._all.loop.call_at(when, self._check)

    def _check(self) -> None:
        """Is the agent still there, and has it said Here?"""
        silent_s = self._all.loop.time() - self._heard_at
        if self._closing or self._pinged:
            self.why = self.why if self._closing else "it did not answer a ping"
            self._transport.abort()
        elif not self._here:
            self.close(Turned("silent", f"no Here within {limits.HERE_WITHIN_S:g} s", 5))
        elif silent_s < limits.HEARTBEAT_S:
            self._check_in(limits.HEARTBEAT_S - silent_s)
        else:
            self._pinged = True
            self._transport.write(frames.ping())
            self._check_in(limits.HEARTBEAT_S / 2)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._session:
            self._all.ended(self._session)
            LOG.info("agent left", device=self.device, remote=self.remote, why=self.why)


class AgentSockets:
    """The sockets of all agents: they share a buffer, and their sessions are numbered here."""

    def __init__(self, system: System, idle_timeouts: IdleTimeouts) -> None:
        self.system = system
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(FRAME_BYTES_MAX))
        """Where bytes of all connections are put: each connection takes its own out at once."""
        self._idle_timeouts = idle_timeouts
        self._none_left = asyncio.Event()

    def open_socket(self, transport: asyncio.Transport, head: bytes, early: bytes) -> None:
        """A connection has asked for an agent's socket: `head` is its request, `early` the bytes behind that."""
        peer = transport.get_extra_info("peername")
        if peer is None:  # the agent has gone already
            transport.abort()
            return
        socket = AgentSocket(self, transport, peer[0])
        transport.set_protocol(socket)
        self.system.tasks.begin(socket.open(head, early), "an agent's opening")

    def begun(self, socket: AgentSocket, transport: asyncio.Transport) -> int:
        """A socket has been admitted; the answer is the number of its session."""
        self._idle_timeouts.stop(transport)
        session = self.system.next_session()
        self.system.performer.sockets[session] = socket
        return session

    def ended(self, session: int) -> None:
        """A socket has ended."""
        del self.system.performer.sockets[session]
        self.system.driver.feed(Left(session))
        if not self.system.performer.sockets:
            self._none_left.set()

    async def all_gone(self) -> None:
        """Wait until no agent has a socket."""
        self._none_left.clear()
        if self.system.performer.sockets:
            await self._none_left.wait()
