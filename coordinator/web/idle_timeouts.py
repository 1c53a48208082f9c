"""How long a connection may keep its place without being of use: `IdleTimeouts`.

A machine that only connects costs the coordinator a socket and TLS, and the agents a place (`ulimit -n`).
"""

import asyncio

from coordinator.core import limits


class IdleTimeouts:
    """Closes a connection that has not been answered anything for a while."""

    def __init__(self) -> None:
        self._timers: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        """Also of connections that have ended meanwhile, until their time comes."""

    def renew(self, transport: asyncio.Transport) -> None:
        """It is new, or has been answered; as long again until the next time."""
        self.lift(transport)
        self._timers[transport] = asyncio.get_running_loop().call_later(limits.ANSWER_WITHIN_S, self._close, transport)

    def lift(self, transport: asyncio.Transport) -> None:
        """It is an agent's now, which has limits of its own."""
        if (timer := self._timers.pop(transport, None)) is not None:
            timer.cancel()

    def _close(self, transport: asyncio.Transport) -> None:
        del self._timers[transport]
        transport.close()
