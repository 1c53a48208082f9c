"""Where every connection begins: `ProtocolSwitch` gives agents' sockets to AgentSockets, all others to aiohttp."""

import asyncio
from collections.abc import Callable
from typing import cast

from coordinator.web.idle_timeouts import IdleTimeouts
from coordinator.web.socket import AgentSockets

AGENTS_LINE = b"GET /v1/agent "
HEAD_BYTES_MAX = 8_192
"""Longest head of a request for an agent's socket; a longer one goes to aiohttp, which refuses it."""
_END = b"\r\n\r\n"


class ProtocolSwitch(asyncio.BufferedProtocol):
    """Keeps the first bytes of a connection until they tell who is to answer it."""

    __slots__ = ("_agents", "_held", "_idle_timeouts", "_others", "_transport")

    def __init__(
        self, agents: AgentSockets, others: Callable[[], asyncio.Protocol], idle_timeouts: IdleTimeouts
    ) -> None:
        self._agents = agents
        self._others = others
        self._idle_timeouts = idle_timeouts
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TLS handshake is done."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._idle_timeouts.restart(self._transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the event loop puts the bytes that come next."""
        return self._agents.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come: hand the connection on as soon as it is clear what it asks for."""
        self._held += self._agents.buffer[:nbytes]
        line = self._held[: len(AGENTS_LINE)]
        head, end, early = self._held.partition(_END)
        if line == AGENTS_LINE and end and len(head) <= HEAD_BYTES_MAX:
            self._agents.open_socket(self._transport, head + end, early)
        elif not AGENTS_LINE.startswith(line) or len(self._held) > HEAD_BYTES_MAX:
            protocol = self._others()
            self._transport.set_protocol(protocol)
            protocol.connection_made(self._transport)
            protocol.data_received(self._held)
