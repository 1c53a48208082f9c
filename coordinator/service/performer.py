"""Does what the tracker decides: the one place where an effect becomes a message, a closed socket or a row."""

from typing import Protocol, assert_never

import structlog

from coordinator.core.signalling_relay import Audit
from coordinator.core.tracker import Close, Effect, Note, Send
from coordinator.io import clock
from coordinator.io.db import Database, Sighting
from ecdn_proxy.wire.tracker import FromCoordinator, Network, Turned

LOG = structlog.get_logger("coordinator.audit")


class Socket(Protocol):
    """An agent's socket as the performer sees it; neither method waits or raises."""

    def send(self, message: FromCoordinator) -> None:
        """Queue one message."""

    def close(self, turned: Turned) -> None:
        """Say why, then end."""


class Performer:
    """Sockets by session; sightings and certificates' first uses, which wait to be written together.

    A transaction for each would make the agents of a whole company, which all come at nine, wait for one another.
    """

    def __init__(self) -> None:
        self.sockets: dict[int, Socket] = {}
        self._seen: dict[str, Sighting] = {}
        self._used: dict[str, str] = {}

    def perform(self, effect: Effect) -> None:
        """Do one thing; a socket that has ended meanwhile needs nothing."""
        match effect:
            case Send():
                if (socket := self.sockets.get(effect.session)) is not None:
                    socket.send(effect.message)
            case Close():
                if (socket := self.sockets.get(effect.session)) is not None:
                    socket.close(Turned(effect.code, effect.why, effect.retry_s))
            case Note():
                networks = tuple(Network(str(i.address), i.subnet.prefixlen, i.link, i.vpn) for i in effect.interfaces)
                seen = Sighting(effect.device, clock.utc(), str(effect.remote), networks, effect.version)
                self._seen[effect.device] = seen
            case Audit():
                LOG.warning("signal refused", device=effect.device, to=effect.to, code=effect.code, why=effect.why)
            case _ as never:
                assert_never(never)

    def used(self, device: str, key: str) -> None:
        """A device has shown its newest certificate for the first time.

        Until it is written a crash forgets it, and the certificate before it is good until the device comes again.
        """
        self._used[device] = key

    async def write(self, db: Database) -> None:
        """Write what has come since the last time, in one transaction of each kind."""
        if used := list(self._used.items()):
            await db.keys_used(used)
            for device, key in used:
                if self._used.get(device) == key:  # else it has been renewed meanwhile
                    del self._used[device]
        if seen := list(self._seen.values()):
            await db.put_sightings(seen)
            for one in seen:
                if self._seen.get(one.device) is one:  # else it has been seen again meanwhile
                    del self._seen[one.device]
