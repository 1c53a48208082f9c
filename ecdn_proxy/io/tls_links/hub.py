"""Links to other agents over TCP and TLS: listens, dials, and keeps one link per device.

    TlsHub(ourselves, listen, contexts, networks, told)
        start() close()                    dial(contact)  hang_up(device, why)
        send(device, message)              is_full(device)
        set_streams(streams, serves)       set_contexts(contexts)      stats()
    told    opened closed received ready refused: calls on the event loop, never awaited

What happens: a socket is accepted or connected inside the allowed networks only (io/tls_links/dialer); TLS shows the
certificate's device (io/tls_links/contexts); both ends say Hello (io/handshake); then the link counts and `opened` is
told.

**Two links at once.** Both agents may dial at the same moment. The link that the lower device id dialled wins, on both
sides and without a word lost: whoever sees the second Hello sends on the winner from then on, says Bye on the loser,
and reads the winner only after the loser's last byte. A newcomer beside a link older than `SAME_TIME_S` is no race:
the other agent has started anew, so the old link is closed and the new one opened.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ecdn_proxy.io.handshake import LinkEnd
from ecdn_proxy.io.tls_links.connection import Connection
from ecdn_proxy.io.tls_links.contexts import Contexts
from ecdn_proxy.io.tls_links.dialer import TcpDialer, TcpDialerEvents
from ecdn_proxy.io.tls_links.sockets import Networks, allowed
from ecdn_proxy.wire.peer import Contact, Hello, LinkKind, PeerMessage, Watching
from ecdn_proxy.wire.version import PROTOCOL

LINKS_MAX = 2_048
"""A home of a large site is asked by everybody; a link costs about 45 KiB on uvloop. With fewer, whoever comes later
fetches alone, and a thousand of them fill the site's line (docs/adr/0038)."""
DIALS_MAX = 64
SAME_TIME_S = 5.0
"""Links that open within this time of each other are a race of two dials, bounded by the dials' own time-outs."""
DUPLICATE = "another link between these two is kept"
_NO_ROOM = "this agent has all the links it may have"
_PENDING_MAX = 1_024
"""Messages kept while a link moves from one connection to the other; it takes one round trip."""
_ADDRESSES_MAX = 8


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What a Hello says of this device, streams apart."""

    device: str
    tenant: str
    version: str
    addresses: tuple[str, ...]
    """Where others may dial it."""
    link: LinkKind = "wired"


@dataclass(frozen=True, slots=True)
class LinkEvents:
    """Calls that the hub makes as things happen."""

    opened: Callable[[Contact, str, tuple[str, ...], bool, float], None]
    """contact, kind ("lan"), streams, serves, rtt_ms"""
    closed: Callable[[str, str, bool], None]
    """device, why, misbehaved: of a link that was open, or of a dial that came to nothing"""
    received: Callable[[str, PeerMessage], None]
    ready: Callable[[str], None]
    """A link that was full can take more."""
    refused: Callable[[str, str], None] = lambda address, why: None
    """address, why: an accepted connection ended before a good Hello"""
    passed_over: Callable[[str, str, int], None] = lambda device, version, tag: None
    """device, its release ("" before Hello), tag: the first message on a connection that this release does not know"""


@dataclass(frozen=True, slots=True)
class LinkStats:
    """One link as the status page shows it."""

    address: str
    rtt_ms: float
    bytes_in: int
    bytes_out: int
    dialled: bool
    kind: Literal["lan", "webrtc"] = "lan"
    why: str = ""
    """Why it is of this kind."""
    version: str = ""
    """The other end's release."""
    passed_over: int = 0
    """Messages of it that only a later release knows."""


@dataclass(slots=True)
class _Link:
    """All connections that serve one device; `current` is None only while the link moves."""

    current: Connection | None
    leaving: Connection | None = None
    pending: list[PeerMessage] = field(default_factory=list)


class TlsHub:
    """Every TLS link of this agent; belongs to one event loop."""

    def __init__(
        self, ourselves: Ourselves, listen: tuple[str, int], contexts: Contexts, networks: Networks, told: LinkEvents
    ) -> None:
        self._ourselves = ourselves
        self._networks = networks
        self._told = told
        self._reach = TcpDialer(
            lambda expected: Connection(self, ourselves.tenant, expected),
            listen,
            contexts,
            networks,
            TcpDialerEvents(lambda device: device in self._links, told.closed, told.refused),
        )
        self._connections: set[Connection] = set()
        self._links: dict[str, _Link] = {}
        self._streams: tuple[str, ...] = ()
        self._serves = True
        self._closed = False

    @property
    def port(self) -> int:
        """Where it listens; the real one after `start`."""
        return self._reach.port

    async def start(self) -> None:
        """Listen.

        Raises:
            Unavailable: the address cannot be listened on.
        """
        await self._reach.start()

    async def close(self) -> None:
        """Say Bye everywhere, close every socket, and wait until all are gone."""
        self._closed = True
        await self._reach.close()
        connections = list(self._connections)
        for connection in connections:
            connection.close("the agent is stopping")
        await asyncio.gather(*(connection.lost for connection in connections))

    # ---- what the node wants

    def dial(self, contact: Contact) -> None:
        """Open a link; ends in `opened` or `closed`. Nothing happens when one is open or on its way."""
        device = contact.device
        if device in self._links or self._reach.dialling(device) or self._closed:
            return
        if device == self._ourselves.device:
            self._told.closed(device, "that is this agent itself", False)
        elif len(self._links) >= LINKS_MAX or self._reach.dials >= DIALS_MAX:
            self._told.closed(device, _NO_ROOM, False)
        else:
            self._reach.dial(contact)

    def hang_up(self, device: str, why: str) -> None:
        """Close a link; `closed` is told."""
        link = self._links.get(device)
        if link is not None and link.current is not None:
            link.current.close(why)
        elif link is not None:
            self._drop(device, LinkEnd(why))
            for connection in [each for each in self._connections if each.device == device]:
                connection.close(why)

    def send(self, device: str, message: PeerMessage) -> None:
        """Send one message; it is dropped when the link has closed meanwhile."""
        link = self._links.get(device)
        if link is None:
            return
        if link.current is not None:
            link.current.send(message)
        elif len(link.pending) < _PENDING_MAX:
            link.pending.append(message)
        else:
            self._drop(device, LinkEnd("the link was lost while it moved"))

    def is_full(self, device: str) -> bool:
        """Whether a link holds more than `WRITE_HIGH_BYTES` unsent; `ready` follows."""
        link = self._links.get(device)
        return link is not None and link.current is not None and link.current.full

    def set_streams(self, streams: tuple[str, ...], serves: bool) -> None:
        """What Hello says from now on; open links are told."""
        if (streams, serves) == (self._streams, self._serves):
            return
        self._streams, self._serves = streams, serves
        for device in list(self._links):
            self.send(device, Watching(streams, serves))

    def set_ourselves(self, ourselves: Ourselves) -> None:
        """This machine has other addresses; what Hello says from now on."""
        self._ourselves = ourselves

    def set_contexts(self, contexts: Contexts) -> None:
        """A renewed certificate, for links opened from now on."""
        self._reach.contexts = contexts

    def stats(self) -> Mapping[str, LinkStats]:
        """Open links by device."""
        return {
            device: LinkStats(
                now.address,
                now.talk.rtt_ms,
                now.bytes_in,
                now.bytes_out,
                now.dialled,
                version=now.talk.version,
                passed_over=now.talk.passed_over,
            )
            for device, link in self._links.items()
            if (now := link.current) is not None
        }

    # ---- what connections tell (io.connection.ConnectionOwner)

    def hello(self) -> Hello:
        """What we say of ourselves now."""
        us = self._ourselves
        contact = Contact(us.device, us.addresses[:_ADDRESSES_MAX], self.port, us.link)
        return Hello(PROTOCOL, us.device, us.tenant, us.version, contact, self._streams, self._serves)

    def made(self, connection: Connection) -> None:
        """A connection has begun."""
        self._connections.add(connection)
        connection.lost.add_done_callback(lambda _: self._connections.discard(connection))

    def greeted(self, connection: Connection, hello: Hello) -> None:
        """A good Hello: the connection becomes the device's link, or loses against the one that is."""
        device = connection.device
        if device == self._ourselves.device or (device not in self._links and len(self._links) >= LINKS_MAX):
            connection.close(_NO_ROOM)
            if connection.dialled:
                self._told.closed(device, _NO_ROOM, False)
            return
        said = connection.said
        if said is not None and (said.streams, said.serves) != (self._streams, self._serves):
            connection.send(Watching(self._streams, self._serves))
        link = self._links.get(device)
        if link is None:
            self._open(connection, hello)
        elif link.current is None:  # the other side has moved already
            self._move(link, connection)
        elif link.current.dialled == connection.dialled or (
            connection.opened_at - link.current.opened_at > SAME_TIME_S
        ):
            self._drop(device, LinkEnd("replaced by a newer link"))
            self._open(connection, hello)
        elif connection.dialled == (self._ourselves.device < device):
            self._move(link, connection)
        else:
            self._leave(link, link.current, connection)

    def received(self, connection: Connection, message: PeerMessage) -> None:
        """A message of an open link."""
        self._told.received(connection.device, message)

    def passed_over(self, connection: Connection, tag: int) -> None:
        """A message of a later release."""
        self._told.passed_over(connection.device, connection.talk.version, tag)

    def drained(self, connection: Connection) -> None:
        """A full link can take more."""
        link = self._links.get(connection.device)
        if link is not None and link.current is connection:
            self._told.ready(connection.device)

    def ended(self, connection: Connection, end: LinkEnd) -> None:
        """A connection is over."""
        device = connection.device
        link = self._links.get(device)
        if link is not None and link.leaving is connection:
            link.leaving = None
            if end.misbehaved:
                self._drop(device, end)
            elif link.current is not None:
                link.current.go_on()
        elif link is not None and link.current is connection:
            if end.why == DUPLICATE and self._on_its_way(device):
                link.current = None
            else:
                self._drop(device, end)
        elif link is not None and link.current is None and not self._on_its_way(device):
            self._drop(device, end)
        elif link is not None and end.misbehaved and link.current is not None:
            link.current.close(end.why, misbehaved=True)
        elif device and end.misbehaved and not connection.dialled:
            self._told.closed(device, end.why, True)
        elif not connection.open and not connection.dialled:
            self._told.refused(connection.address, end.why)

    # ---- links

    def _open(self, connection: Connection, hello: Hello) -> None:
        self._links[connection.device] = _Link(connection)
        said = hello.contact
        others = (
            address for address in said.addresses if address != connection.address and allowed(address, self._networks)
        )
        addresses = (connection.address, *others)[:_ADDRESSES_MAX]
        contact = Contact(said.device, addresses, said.port, said.link)
        self._told.opened(contact, "lan", hello.streams, hello.serves, connection.talk.rtt_ms)

    def _move(self, link: _Link, winner: Connection) -> None:
        """Send on `winner` from now on; read it once the loser's last byte has been read."""
        loser, link.current = link.current, winner
        if loser is not None:
            self._leave(link, winner, loser)
        pending, link.pending = link.pending, []
        for message in pending:
            winner.send(message)

    def _leave(self, link: _Link, winner: Connection, loser: Connection) -> None:
        link.leaving = loser
        winner.hold()
        loser.leave(DUPLICATE)

    def _on_its_way(self, device: str) -> bool:
        """Whether another connection to this device waits for its Hello."""
        return any(each.device == device and not each.open and each.end is None for each in self._connections)

    def _drop(self, device: str, end: LinkEnd) -> None:
        link = self._links.pop(device)
        for connection in (link.leaving, link.current):
            if connection is not None:
                connection.close(end.why, misbehaved=end.misbehaved)
        self._told.closed(device, end.why, end.misbehaved)
