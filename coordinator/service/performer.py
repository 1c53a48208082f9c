"""Does what the tracker decides.

Here an effect becomes a message, a closed socket, a row of the database or a line in the audit log.
"""

from typing import Protocol, assert_never

import structlog

from coordinator.core.signalling_relay import Audit
from coordinator.core.tracker import Close, Effect, RecordSighting, Send
from coordinator.io import clock
from coordinator.io.db import Database, Sighting
from ecdn_proxy.wire.tracker import FromCoordinator, Network, Turned

LOG = structlog.get_logger("coordinator.audit")


class Socket(Protocol):
    """An agent's socket, as the performer uses it; neither method waits or raises."""

    def send(self, message: FromCoordinator) -> None:
        """Send one message, now or when the agent has read what was sent before."""

    def close(self, turned: Turned) -> None:
        """Tell the agent why, then end the socket."""


class Performer:
    """Performs effects. `sockets` are those of all agents, by the number of the session.

    Sightings and first uses of certificates are collected and written together by `write`. With a transaction for each,
    the agents of a whole company, which all come at nine, would wait for one another.
    """

    def __init__(self) -> None:
        self.sockets: dict[int, Socket] = {}
        self._seen: dict[str, Sighting] = {}
        self._used: dict[str, str] = {}

    def perform(self, effect: Effect) -> None:
        """Do one thing. When the socket that it is for has ended meanwhile, nothing is left to do."""
        match effect:
            case Send():
                if (socket := self.sockets.get(effect.session)) is not None:
                    socket.send(effect.message)
            case Close():
                if (socket := self.sockets.get(effect.session)) is not None:
                    socket.close(Turned(effect.code, effect.why, effect.retry_s))
            case RecordSighting():
                networks = tuple(Network(str(i.address), i.subnet.prefixlen, i.link, i.vpn) for i in effect.interfaces)
                seen = Sighting(effect.device, clock.utc(), str(effect.remote), networks, effect.version)
                self._seen[effect.device] = seen
            case Audit():
                LOG.warning("signal refused", device=effect.device, to=effect.to, code=effect.code, why=effect.why)
            case _ as never:
                assert_never(never)

    def first_use(self, device: str, fingerprint: str) -> None:
        """A device has shown its newest certificate for the first time.

        A crash before this is written forgets it; the certificate before that one is then good until the device comes
        again.
        """
        self._used[device] = fingerprint

    async def write(self, db: Database) -> None:
        """Write to the database what has come since the last time, in one transaction of each kind."""
        if used := list(self._used.items()):
            await db.keys_used(used)
            for device, fingerprint in used:
                if self._used.get(device) == fingerprint:  # otherwise it has been renewed meanwhile
                    del self._used[device]
        if seen := list(self._seen.values()):
            await db.put_sightings(seen)
            for one in seen:
                if self._seen.get(one.device) is one:  # otherwise it has been seen again meanwhile
                    del self._seen[one.device]
