"""An agent's WebSocket: Here first, then whatever comes; what the tracker decides goes out by its own queue.

A socket that stays silent, breaks the protocol, says too much or reads too slowly is closed with its reason. Losing an
agent is everyday business: INFO.
"""

import asyncio
from collections import deque
from typing import Any

import structlog
from aiohttp import WSMsgType, web

from coordinator.core import limits
from coordinator.core.registry import No
from coordinator.core.sites import read_address, read_networks
from coordinator.core.tracker import Arrived, Beaten, Left, Signalled, Watched
from coordinator.service.system import System
from coordinator.web.answers import refused
from coordinator.web.keys import PATIENCE, SHOWN, SYSTEM
from ecdn_proxy.wire import signalling
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, pack
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.tracker import Alive, Beat, FromAgent, FromCoordinator, Here, Turned, Watch, read_from_agent

LOG = structlog.get_logger("coordinator.socket")
CLOSE_WITHIN_S = 1.0


class AgentSocket:
    """The sending half of one socket; a `performer.Socket`."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._ws = ws
        self._transport = transport
        self._queue: deque[bytes] = deque()
        self._more = asyncio.Event()
        self.closing = False
        self.why = "the agent closed it"

    def send(self, message: FromCoordinator) -> None:
        """Queue one message; an agent with too many waiting is let go."""
        if self.closing:
            return
        if len(self._queue) >= limits.QUEUE_MESSAGES_MAX:
            self._queue.clear()
            self.close(Turned("slow", f"{limits.QUEUE_MESSAGES_MAX} messages wait for this agent", 5))
            return
        self._queue.append(pack(message))
        self._more.set()

    def close(self, turned: Turned) -> None:
        """Say why, then end."""
        if not self.closing:
            self._queue.append(pack(turned))
            self.closing, self.why = True, turned.why
            self._more.set()

    async def write(self) -> None:
        """Send what is queued until told to close."""
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                async with asyncio.timeout(CLOSE_WITHIN_S if self.closing else None):
                    while self._queue:
                        await self._ws.send_bytes(self._queue.popleft())
                    if self.closing:
                        await self._ws.close()
                        return
            except (ConnectionError, TimeoutError, RuntimeError):
                self._abort()
                return

    def _abort(self) -> None:
        """End a socket that does not take what it is sent."""
        if (transport := self._ws._req.transport if self._ws._req else None) is not None:
            transport.abort()


async def agent(request: web.Request) -> web.StreamResponse:
    """GET /v1/agent: the socket of one admitted device."""
    system, shown = request.app[SYSTEM], request[SHOWN]
    admitted = await system.admit(shown)
    if isinstance(admitted, No):
        return refused(admitted)
    ws = web.WebSocketResponse(
        heartbeat=limits.HEARTBEAT_S, max_msg_size=FRAME_BYTES_MAX, compress=False, timeout=CLOSE_WITHIN_S
    )
    await ws.prepare(request)
    request.app[PATIENCE].lift(request.protocol)
    session = system.next_session()
    socket = AgentSocket(ws, request.transport)
    system.performer.sockets[session] = socket
    writer = system.tasks.start(socket.write(), f"writer {session}")
    log = LOG.bind(device=shown.device, remote=request.remote)
    log.info("agent connected")
    try:
        await _read(system, ws, session, shown.device, request.remote or "", log)
    except PeerMisbehaved as error:
        log.warning("agent misbehaved", why=error.why)
        socket.close(Turned("misbehaved", sentence(error.why), 60))
    except TimeoutError:
        socket.close(Turned("silent", f"no Here within {limits.HERE_WITHIN_S:g} s", 5))
    finally:
        system.driver.feed(Left(session))
        del system.performer.sockets[session]
        if socket.closing:
            await asyncio.wait([writer], timeout=CLOSE_WITHIN_S)
        writer.cancel()
        log.info("agent left", why=socket.why)
    return ws


async def _read(system: System, ws: web.WebSocketResponse, session: int, device: str, remote: str, log: Any) -> None:
    loop = asyncio.get_running_loop()
    version, told = "", False
    async with asyncio.timeout(limits.HERE_WITHIN_S) as patience:
        async for frame in ws:
            if frame.type is WSMsgType.ERROR:
                raise PeerMisbehaved(f"the socket's framing broke: {ws.exception()}")
            if frame.type is not WSMsgType.BINARY:
                raise PeerMisbehaved("a text message where MessagePack belongs")
            if system.messages.wait_s(device, loop.time()) > 0:
                raise PeerMisbehaved("more messages than any agent needs")
            try:
                message = read_from_agent(frame.data)
            except UnknownMessage as unknown:
                system.passed_over += 1
                if not told:
                    log.info("a message of a later agent is passed over", version=version, tag=unknown.tag)
                    told = True
                continue
            if isinstance(message, Here):
                version = message.version
            if patience.when() is not None:
                if not isinstance(message, Here):
                    raise PeerMisbehaved(f"{type(message).__name__} before Here")
                patience.reschedule(None)
            _tell(system, session, device, remote, message)


def _tell(system: System, session: int, device: str, remote: str, message: FromAgent) -> None:
    match message:
        case Here():
            interfaces = read_networks(message.networks)
            system.driver.feed(Arrived(session, device, read_address(remote), interfaces, message))
        case Watch():
            system.driver.feed(Watched(session, message))
        case Beat():
            system.driver.feed(Beaten(session, message))
        case signalling.Call() | signalling.Offer() | signalling.Answer() | signalling.Bye():
            system.driver.feed(Signalled(session, message))
        case Alive():
            if (socket := system.performer.sockets.get(session)) is not None:
                socket.send(Alive())
