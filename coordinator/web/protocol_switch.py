"""Where every connection begins: `ProtocolSwitch` keeps agents' sockets and gives all other requests to aiohttp."""

import asyncio
from collections.abc import Callable
from typing import cast

from coordinator.web.idle_timeouts import IdleTimeouts
from coordinator.web.socket import AgentSockets

AGENTS_LINE = b"GET /v1/agent "
HEAD_BYTES_MAX = 8_192
"""Of a request for an agent's socket; aiohttp refuses what is longer."""
_END = b"\r\n\r\n"


class ProtocolSwitch(asyncio.BufferedProtocol):
    """Holds what a connection says first until it is clear who is to answer."""

    __slots__ = ("_agents", "_held", "_others", "_patience", "_transport")

    def __init__(self, agents: AgentSockets, others: Callable[[], asyncio.Protocol], patience: IdleTimeouts) -> None:
        self._agents = agents
        self._others = others
        self._patience = patience
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._patience.renew(self._transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where what comes next is put."""
        return self._agents.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read no more than is needed to tell."""
        self._held += self._agents.buffer[:nbytes]
        line = self._held[: len(AGENTS_LINE)]
        head, end, early = self._held.partition(_END)
        if line == AGENTS_LINE and end and len(head) <= HEAD_BYTES_MAX:
            self._agents.take(self._transport, head + end, early)
        elif not AGENTS_LINE.startswith(line) or len(self._held) > HEAD_BYTES_MAX:
            protocol = self._others()
            self._transport.set_protocol(protocol)
            protocol.connection_made(self._transport)
            protocol.data_received(self._held)
