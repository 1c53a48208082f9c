"""Closes HTTP connections that ask nothing: `IdleTimeouts`.

A machine that only connects costs the coordinator a socket and TLS, and takes one of the places that agents may have
(`ulimit -n`).
"""

import asyncio

from coordinator.core import limits


class IdleTimeouts:
    """Closes each connection `ANSWER_WITHIN_S` after it was opened or had its last answer, unless it is an agent's."""

    def __init__(self) -> None:
        self._timers: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        """A connection that has ended stays here until its time comes."""

    def restart(self, transport: asyncio.Transport) -> None:
        """The connection is new, or has been answered: its time begins anew."""
        self.stop(transport)
        self._timers[transport] = asyncio.get_running_loop().call_later(limits.ANSWER_WITHIN_S, self._close, transport)

    def stop(self, transport: asyncio.Transport) -> None:
        """The connection has become an agent's socket, which has limits of its own."""
        if (timer := self._timers.pop(transport, None)) is not None:
            timer.cancel()

    def _close(self, transport: asyncio.Transport) -> None:
        del self._timers[transport]
        transport.close()
