"""How long a connection may keep its place without being of use: `Patience`.

A machine that only connects costs the coordinator a socket and TLS, and the agents a place (`ulimit -n`).
"""

import asyncio

from aiohttp import web

from coordinator.core import limits


class Patience:
    """Closes a connection that has not been answered anything for a while."""

    def __init__(self) -> None:
        self._timers: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        """Also of connections that have ended meanwhile, until their time comes."""

    def renew(self, protocol: web.RequestHandler) -> None:
        """It is new, or has been answered; as long again until the next time."""
        self.lift(protocol)
        self._timers[protocol] = asyncio.get_running_loop().call_later(limits.ANSWER_WITHIN_S, self._close, protocol)

    def lift(self, protocol: web.RequestHandler) -> None:
        """It is an agent's now, which has limits of its own."""
        if (timer := self._timers.pop(protocol, None)) is not None:
            timer.cancel()

    def _close(self, protocol: web.RequestHandler) -> None:
        del self._timers[protocol]
        protocol.force_close()
