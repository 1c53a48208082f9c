"""Sockets to and from other agents, from `accept` or `connect` until TLS stands and both have said Hello.

    TcpDialer(owner, listen, contexts, networks)    start · dial · is_dialling · close      port · contexts · dials
    TcpDialerOwner                                  makes the connections, and hears which came to nothing

Only addresses in the allowed networks are dialled, and only those are let in. A contact's addresses are tried one after
the other. Who has been accepted and has not said a good Hello is a stranger; those are counted, and bounded.
"""

import asyncio
import socket
from typing import Protocol

from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.handshake import LinkEnd
from ecdn_proxy.io.tls_links.connection import HELLO_S, SHUTDOWN_S, TlsConnection
from ecdn_proxy.io.tls_links.contexts import Contexts
from ecdn_proxy.io.tls_links.sockets import Networks, allowed, listening, towards, why
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.peer import Contact

CONNECT_S = 1.5
"""One address of a contact gets this long for TCP and TLS; a LAN answers in milliseconds or not at all."""
STRANGERS_MAX = 256
"""Accepted connections that have not said a good Hello yet."""


class TcpDialerOwner(Protocol):
    """Whoever wants connections; asked and told on the event loop, never awaited."""

    def new_connection(self, expected: str | None, /) -> TlsConnection:
        """A connection that does not stand yet, to the device that is dialled; None for one that is accepted."""
        ...

    def is_linked(self, device: str, /) -> bool:
        """Whether there is a connection to this device meanwhile."""
        ...

    def dial_ended(self, device: str, why: str, misbehaved: bool, /) -> None:
        """A dial came to nothing."""
        ...

    def refused(self, address: str, why: str, /) -> None:
        """An accepted connection ended before a good Hello."""
        ...


class TcpDialer:
    """Listens and dials; belongs to one event loop."""

    def __init__(self, owner: TcpDialerOwner, listen: tuple[str, int], contexts: Contexts, networks: Networks) -> None:
        self._owner = owner
        self._listen = listen
        self._networks = networks
        self._tasks = Tasks(self._failed)
        self._dials: set[str] = set()
        self._strangers = 0
        self._listener: socket.socket | None = None
        self.port = listen[1]
        self.contexts = contexts
        """For connections from now on."""

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards.

        Raises:
            Unavailable: the address cannot be listened on.
        """
        listener = self._listener = listening(*self._listen)
        self.port = listener.getsockname()[1]
        self._tasks.start(self._accept(listener), "accept")

    async def close(self) -> None:
        """Break off dials and handshakes, and accept no more; connections that stand are the hub's."""
        await self._tasks.close()
        if self._listener is not None:
            self._listener.close()

    @property
    def dials(self) -> int:
        """How many devices are being dialled."""
        return len(self._dials)

    def is_dialling(self, device: str) -> bool:
        """Whether this device is being dialled."""
        return device in self._dials

    def dial(self, contact: Contact) -> None:
        """Try its addresses; ends in an open connection or in the owner's `dial_ended`."""
        self._dials.add(contact.device)
        self._tasks.start(self._dial(contact), f"dial {contact.device}")

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, or the peer gave up: never stop listening
                self._owner.refused("", f"accept: {error.strerror}")
                await asyncio.sleep(0.1)
                continue
            address = peer[0]
            if not allowed(address, self._networks):
                self._refuse(accepted, address, "outside the networks that this agent shares in")
            elif self._strangers >= STRANGERS_MAX:
                self._refuse(accepted, address, "too many connections that have not said who they are")
            else:
                self._strangers += 1
                self._tasks.start(self._welcome(accepted, address), f"accept {address}")

    def _refuse(self, accepted: socket.socket, address: str, why: str) -> None:
        accepted.close()
        self._owner.refused(address, why)

    async def _welcome(self, accepted: socket.socket, address: str) -> None:
        connection = self._owner.new_connection(None)
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self.contexts.server,
                ssl_handshake_timeout=HELLO_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as error:
            accepted.close()
            self._owner.refused(address, why(error))
        else:
            await connection.settled.wait()
        finally:
            self._strangers -= 1

    async def _dial(self, contact: Contact) -> None:
        reason = "none of its addresses is in a network that this agent shares in"
        try:
            for address in contact.addresses:
                if not allowed(address, self._networks):
                    continue
                outcome = await self._try(contact.device, address, contact.port)
                if outcome is None or self._owner.is_linked(contact.device):
                    return
                reason = outcome.why
                if outcome.misbehaved:
                    self._owner.dial_ended(contact.device, reason, True)
                    return
        finally:
            self._dials.discard(contact.device)
        self._owner.dial_ended(contact.device, reason, False)

    async def _try(self, device: str, address: str, port: int) -> LinkEnd | None:
        """One address; None when the link is open."""
        loop = asyncio.get_running_loop()
        connection = self._owner.new_connection(device)
        dialler = towards(address, self._listen[0])
        if dialler is None:
            return LinkEnd("not reachable from the address that this agent listens on")
        try:
            async with asyncio.timeout(CONNECT_S):
                begun = monotonic()
                await loop.sock_connect(dialler, (address, port))
                connection.handshake.rtt_ms = (monotonic() - begun) * 1_000
                await loop.create_connection(
                    lambda: connection,
                    sock=dialler,
                    ssl=self.contexts.client,
                    server_hostname="",
                    ssl_shutdown_timeout=SHUTDOWN_S,
                )
        except TimeoutError:
            dialler.close()
            return LinkEnd(f"TCP {port} to {address} timed out")
        except OSError as error:
            dialler.close()
            return LinkEnd(f"TCP {port} to {address}: {why(error)}")
        except asyncio.CancelledError:
            dialler.close()
            raise
        await connection.settled.wait()
        return None if connection.open else connection.end

    def _failed(self, name: str, error: BaseException) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": f"{name} failed", "exception": error})
