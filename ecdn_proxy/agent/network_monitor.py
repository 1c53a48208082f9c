"""Where this machine is, as it changes: links, mDNS, node and coordinator follow its addresses.

    NetworkMonitor(place, look, hub, announced, tells)
        open() close()                      site_said(networks)     announce(streams, serves)
        seen                                who is shown by mDNS now, for a node that begins anew

Addresses are asked for every `LOOK_S`, which works alike on every system. When they are others (a dock, another Wi-Fi,
an address that ended), connections from addresses that are gone and links outside the new networks end, what was
learnt of who is reached how begins anew, mDNS moves, and the coordinator places the machine again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from ecdn_proxy.agent.addresses import Place
from ecdn_proxy.agent.links import Links
from ecdn_proxy.core import events
from ecdn_proxy.io.dead_sockets import end_connections
from ecdn_proxy.io.interfaces import parse_networks
from ecdn_proxy.io.mdns import Announced, LanEvents, MdnsBrowser
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import Network

LOOK_S = 2.0
"""A look takes 0.7 ms; a dock or another Wi-Fi is met within what a player has buffered."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NetworkEvents:
    """Calls that it makes."""

    feed: Callable[[events.Event], None]
    moved: Callable[[tuple[Network, ...]], None]
    """Other networks to report to the coordinator."""
    raise_condition: Callable[[str, str], None]
    clear_condition: Callable[[str], None]


class NetworkMonitor:
    """See the head of this file."""

    def __init__(
        self,
        place: Place,
        look: Callable[[], tuple[Place, frozenset[str]]],
        hub: Links,
        device: str,
        tag: str | None,
        tells: NetworkEvents,
    ) -> None:
        """`look` tells the place and every address of this machine; `tag` is the tenant's for mDNS, None for none."""
        self.place = place
        self.seen: dict[str, events.LanSeen] = {}
        self._look = look
        self._addresses: frozenset[str] = frozenset()
        self._hub = hub
        self._device = device
        self._tag = tag
        self._tells = tells
        self._tasks = Tasks(lambda name, error: log.error("a task failed", task=name, exc_info=error))
        self._lan: MdnsBrowser | None = None
        self._announced: tuple[tuple[str, ...], bool] = ((), True)

    @property
    def contact(self) -> Contact:
        """How others reach this machine."""
        return Contact(self._device, self.place.addresses or ("127.0.0.1",), self._hub.port or 1, self.place.link)

    async def open(self) -> None:
        """Announce by mDNS, and watch the addresses from now on.

        Raises:
            Unavailable: the system does not tell its addresses.
        """
        await self._open_lan()
        _, self._addresses = await asyncio.to_thread(self._look)
        self._tasks.start(self._watch(), "place")

    async def close(self) -> None:
        """Stop both."""
        await self._tasks.close()
        await self._close_lan()

    def announce(self, streams: tuple[str, ...], serves: bool) -> None:
        """What is watched here."""
        self._announced = (streams, serves)
        if self._lan is not None:
            self._lan.set_streams(streams, serves)

    def site_said(self, networks: tuple[str, ...]) -> None:
        """The site's subnets, by IT's map over the pinned link: they may be dialled until it says otherwise."""
        self.place.allow(parse_networks(networks))
        self._hub.confine()

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
        self._hub.confine()
        self._tells.feed(events.Moved(self.contact))
        self._hub.moved(found.addresses, found.link)
        self._tells.moved(found.networks)
        await self._close_lan()
        for device in list(self.seen):
            self._lost(device)
        await self._open_lan()

    # ---- mDNS

    async def _open_lan(self) -> None:
        if self._tag is None or not self.place.addresses:
            return
        lan = self._lan = MdnsBrowser(  # known before it starts: whoever ends this half-way closes its sockets
            Announced(self._device, self._tag, self._hub.port, self.place.link),
            self.place.addresses,
            self.place.allowed,
            LanEvents(seen=self._seen, lost=self._lost),
        )
        try:
            await lan.start()
        except (Unavailable, OSError) as fault:
            self._lan = None
            self._tells.raise_condition("mdns-unavailable", str(fault))
            return
        lan.set_streams(*self._announced)
        self._tells.clear_condition("mdns-unavailable")

    async def _close_lan(self) -> None:
        if self._lan is not None:
            await self._lan.close()
            self._lan = None

    def _seen(self, contact: Contact, tags: tuple[str, ...], serves: bool) -> None:
        event = self.seen[contact.device] = events.LanSeen(contact, tags, serves)
        self._tells.feed(event)

    def _lost(self, device: str) -> None:
        self.seen.pop(device, None)
        self._tells.feed(events.LanLost(device))
