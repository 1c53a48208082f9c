"""Connections to other agents over TCP and TLS: listens, dials, and says how many there may be.

    TlsHub(ourselves, listen, contexts, networks, owner, consumer)
        start() close()                    dial(contact)        set_contexts(contexts)        port
    owner       TlsLinkOwner: hears of every connection, and decides which one carries a link
    consumer    MessageConsumer: gets what other agents' nodes say

What happens: a socket is accepted or connected inside the allowed networks only (io/tls_links/dialer); TLS shows the
certificate's device (io/tls_links/contexts); both ends say Hello (io/handshake); then the owner is told `greeted`. Both
agents may dial at the same moment: which of the two connections is kept is decided in core/connect/handover.
"""

import asyncio
from typing import Protocol

from ecdn_proxy.io.handshake import ADDRESSES_MAX, LinkEnd, Ourselves
from ecdn_proxy.io.link_connection import LinkConnection, LinkOwner, MessageConsumer
from ecdn_proxy.io.tls_links.connection import TlsConnection
from ecdn_proxy.io.tls_links.contexts import Contexts
from ecdn_proxy.io.tls_links.dialer import TcpDialer
from ecdn_proxy.io.tls_links.sockets import Networks, allowed
from ecdn_proxy.wire.peer import Contact, Hello

LINKS_MAX = 2_048
"""A home of a large site is asked by everybody; a link costs about 45 KiB on uvloop. With fewer, whoever comes later
fetches alone, and a thousand of them fill the site's line (docs/adr/0038)."""
DIALS_MAX = 64
_NO_ROOM = "this agent has all the links it may have"


class TlsLinkOwner(LinkOwner, Protocol):
    """Whoever has the links that TLS connections carry."""

    def refused(self, address: str, why: str, /) -> None:
        """A connection from this address ended before anybody had said a good Hello; "" if none could be accepted."""
        ...


class TlsHub:
    """Every TLS connection of this agent; belongs to one event loop."""

    def __init__(
        self,
        ourselves: Ourselves,
        listen: tuple[str, int],
        contexts: Contexts,
        networks: Networks,
        owner: TlsLinkOwner,
        consumer: MessageConsumer,
    ) -> None:
        self._ourselves = ourselves
        self._networks = networks
        self._owner = owner
        self._consumer = consumer
        self._dialer = TcpDialer(self, listen, contexts, networks)
        self._connections: set[TlsConnection] = set()
        """All whose sockets are not gone."""
        self._open: dict[str, set[LinkConnection]] = {}
        """Those that the owner was told of and that have not ended, by device."""
        self._closed = False
        ourselves.port = listen[1]

    @property
    def port(self) -> int:
        """Where it listens; the real one after `start`."""
        return self._dialer.port

    async def start(self) -> None:
        """Listen.

        Raises:
            Unavailable: the address cannot be listened on.
        """
        await self._dialer.start()
        self._ourselves.port = self._dialer.port

    async def close(self) -> None:
        """Say Bye everywhere, close every socket, and wait until all are gone."""
        self._closed = True
        await self._dialer.close()
        connections = list(self._connections)
        for connection in connections:
            connection.close("the agent is stopping")
        await asyncio.gather(*(connection.lost for connection in connections))

    def dial(self, contact: Contact) -> None:
        """Open a connection; ends in `greeted` or `dial_failed`. Nothing happens when one is open or on its way."""
        device = contact.device
        if device in self._open or self._dialer.is_dialling(device) or self._closed:
            return
        if device == self._ourselves.device:
            self.dial_ended(device, "that is this agent itself", False)
        elif len(self._open) >= LINKS_MAX or self._dialer.dials >= DIALS_MAX:
            self.dial_ended(device, _NO_ROOM, False)
        else:
            self._dialer.dial(contact)

    def set_contexts(self, contexts: Contexts) -> None:
        """A renewed certificate, for connections opened from now on."""
        self._dialer.contexts = contexts

    # ---- what the dialer asks and tells (TcpDialerOwner)

    def new_connection(self, expected: str | None) -> TlsConnection:
        """A connection that does not stand yet."""
        return TlsConnection(self, self._consumer, self._ourselves.tenant, expected)

    def is_linked(self, device: str) -> bool:
        """Whether a connection to this device is open."""
        return device in self._open

    def dial_ended(self, device: str, why: str, misbehaved: bool) -> None:
        """A dial came to nothing."""
        self._owner.dial_failed("lan", device, why, misbehaved)

    def refused(self, address: str, why: str) -> None:
        """An accepted connection came to nothing."""
        self._owner.refused(address, why)

    # ---- what connections tell (TlsConnectionOwner)

    def hello(self) -> Hello:
        """What we say of ourselves now."""
        return self._ourselves.hello()

    def made(self, connection: TlsConnection) -> None:
        """TLS stands: the socket is to be closed some day."""
        self._connections.add(connection)
        connection.lost.add_done_callback(lambda _: self._connections.discard(connection))

    def began(self, connection: LinkConnection) -> None:
        """The certificate's device is the right one, and our Hello is said."""
        self._owner.began(connection)

    def greeted(self, connection: LinkConnection, hello: Hello) -> None:
        """A good Hello: the connection counts, if there is room."""
        device = connection.device
        if device == self._ourselves.device or (device not in self._open and len(self._open) >= LINKS_MAX):
            connection.close(_NO_ROOM)
            if connection.dialled:
                self.dial_ended(device, _NO_ROOM, False)
            return
        self._open.setdefault(device, set()).add(connection)
        said = hello.contact
        others = (it for it in said.addresses if it != connection.address and allowed(it, self._networks))
        addresses = (connection.address, *others)[:ADDRESSES_MAX]
        self._owner.greeted(connection, Contact(said.device, addresses, said.port, said.link), hello)

    def drained(self, connection: LinkConnection) -> None:
        """A full connection can take more."""
        self._owner.drained(connection)

    def ended(self, connection: LinkConnection, end: LinkEnd) -> None:
        """A connection is over."""
        open_to = self._open.get(connection.device, set())
        open_to.discard(connection)
        if not open_to:
            self._open.pop(connection.device, None)
        if connection.said is not None:
            self._owner.ended(connection, end)
        if not connection.open and not connection.dialled and not (connection.device and end.misbehaved):
            self._owner.refused(connection.address, end.why)
