"""Where this machine is, as it changes: links, mDNS, node and coordinator follow its addresses.

    NetworkMonitor(place, look, links, device, tenant_tag, node, follower, conditions)
        open() close()                      allow_site_networks(networks)      announce(streams, serves)
        place · contact · seen              where this machine is, how others reach it, whom mDNS shows
    NodeFeed, NetworkFollower               who is told: the node, and the session with the coordinator

The system is asked for its addresses every `LOOK_S`, which works alike on Linux, macOS and Windows. When they have
changed (a dock, another Wi-Fi, an address that ended), this happens in order: connections from addresses that are gone
end; links outside the new networks end; the node hears of it; what was learnt of how each neighbour is reached is
forgotten; the coordinator places the machine anew; mDNS starts again on the new addresses.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from ecdn_proxy.agent.addresses import Place
from ecdn_proxy.agent.condition_log import ConditionSink
from ecdn_proxy.agent.links import Links
from ecdn_proxy.core import events
from ecdn_proxy.io.dead_sockets import end_connections
from ecdn_proxy.io.interfaces import parse_networks
from ecdn_proxy.io.mdns import Announced, MdnsBrowser
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import Network

LOOK_S = 2.0
"""A look takes 0.7 ms. A player has more than 2 s buffered, so a dock or another Wi-Fi is met before it runs dry."""

log = structlog.get_logger(__name__)


class NodeFeed(Protocol):
    """The node, as the monitor tells it what it sees."""

    def feed(self, event: events.Event) -> None:
        """Other agents came or went on the LAN, or this machine moved."""
        ...


class NetworkFollower(Protocol):
    """Who must know in which networks this machine is."""

    def moved(self, networks: tuple[Network, ...]) -> None:
        """This machine is in these networks from now on."""
        ...


class NetworkMonitor:
    """Watches this machine's addresses and the LAN; belongs to one event loop."""

    def __init__(
        self,
        place: Place,
        look: Callable[[], tuple[Place, frozenset[str]]],
        links: Links,
        device: str,
        tenant_tag: str | None,
        *,
        node: NodeFeed,
        follower: NetworkFollower,
        conditions: ConditionSink,
    ) -> None:
        """Watch nothing yet.

        Args:
            place: where this machine is now.
            look: tells the place, and every address of this machine; runs in a thread.
            links: follow the addresses.
            device: this machine's id.
            tenant_tag: what mDNS shows of the tenant; None switches mDNS off.
            node: is told who is seen on the LAN, and of moves.
            follower: is told the networks after each move.
            conditions: is told when mDNS cannot be used.
        """
        self.place = place
        self.seen: dict[str, events.LanSeen] = {}
        """Whom mDNS shows now, by device."""
        self._look = look
        self._addresses: frozenset[str] = frozenset()
        self._links = links
        self._device = device
        self._tenant_tag = tenant_tag
        self._node = node
        self._follower = follower
        self._conditions = conditions
        self._tasks = Tasks(lambda name, error: log.error("a task failed", task=name, exc_info=error))
        self._mdns: MdnsBrowser | None = None
        self._announced: tuple[tuple[str, ...], bool] = ((), True)

    @property
    def contact(self) -> Contact:
        """How other agents reach this machine."""
        return Contact(self._device, self.place.addresses or ("127.0.0.1",), self._links.port or 1, self.place.link)

    async def open(self) -> None:
        """Announce by mDNS, and watch the addresses from now on.

        Raises:
            Unavailable: the system does not tell its addresses.
        """
        await self._open_mdns()
        _, self._addresses = await asyncio.to_thread(self._look)
        self._tasks.start(self._watch(), "place")

    async def close(self) -> None:
        """Watch no longer, and take back what mDNS announced."""
        await self._tasks.close()
        await self._close_mdns()

    def announce(self, streams: tuple[str, ...], serves: bool) -> None:
        """Tell the LAN what is watched here, and whether this machine serves others."""
        self._announced = (streams, serves)
        if self._mdns is not None:
            self._mdns.set_streams(streams, serves)

    def allow_site_networks(self, networks: tuple[str, ...]) -> None:
        """Besides its own, this machine may share in the site's subnets and in no others; the coordinator tells them.

        They come from IT's site map, over TLS with the coordinator whose certificate enrolment pinned.
        """
        self.place.allow(parse_networks(networks))
        self._links.confine()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                found, addresses = await asyncio.to_thread(self._look)
            except Unavailable as fault:
                log.warning("this machine's addresses cannot be told", why=fault.why)
                continue
            gone, self._addresses = self._addresses - addresses, addresses
            if gone:
                ended = await asyncio.to_thread(end_connections, gone)
                log.info("addresses are gone", addresses=sorted(gone), connections=ended)
            if not found.same_as(self.place):
                await self._move(found)

    async def _move(self, found: Place) -> None:
        log.info("this machine's network changed", addresses=found.addresses, before=self.place.addresses)
        self.place = self.place.become(found)
        self._links.confine()
        self._node.feed(events.Moved(self.contact))
        self._links.moved(found.addresses, found.link)
        self._follower.moved(found.networks)
        await self._close_mdns()
        for device in list(self.seen):
            self.lan_lost(device)
        await self._open_mdns()

    # ---- mDNS

    async def _open_mdns(self) -> None:
        if self._tenant_tag is None or not self.place.addresses:
            return
        browser = self._mdns = MdnsBrowser(  # set before it starts, so that a close half-way closes its sockets
            Announced(self._device, self._tenant_tag, self._links.port, self.place.link),
            self.place.addresses,
            self.place.allowed,
            self,
        )
        try:
            await browser.start()
        except (Unavailable, OSError) as fault:
            self._mdns = None
            self._conditions.raise_condition("mdns-unavailable", str(fault))
            return
        browser.set_streams(*self._announced)
        self._conditions.clear_condition("mdns-unavailable")

    async def _close_mdns(self) -> None:
        if self._mdns is not None:
            await self._mdns.close()
            self._mdns = None

    def lan_seen(self, contact: Contact, tags: tuple[str, ...], serves: bool) -> None:
        """An agent is on the link, or announces something else than before (`mdns.LanConsumer`)."""
        event = self.seen[contact.device] = events.LanSeen(contact, tags, serves)
        self._node.feed(event)

    def lan_lost(self, device: str) -> None:
        """An agent is no longer on the link (`mdns.LanConsumer`)."""
        self.seen.pop(device, None)
        self._node.feed(events.LanLost(device))
