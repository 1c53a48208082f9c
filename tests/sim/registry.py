"""The coordinator's own tracker as the simulator's plug."""

from ipaddress import ip_address

from coordinator.core import tracker
from coordinator.core.limits import Settings
from coordinator.core.sites import read_networks
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.tracker import NeighbourList
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import Here, Neighbours, Network, Watch
from ecdn_proxy.wire.version import PROTOCOL


class Registry:
    def __init__(self) -> None:
        self._tracker = tracker.Tracker(None, {}, spacing_s=Settings().spacing_s)
        self._sessions: dict[str, int] = {}
        self._devices: dict[int, str] = {}
        self._count = 0

    def watch(self, contact: Contact, streams: tuple[str, ...], now: Instant, *, serves: bool) -> None:
        session = self._sessions.get(contact.device)
        if session is None:
            self._count += 1
            session = self._sessions[contact.device] = self._count
            self._devices[session] = contact.device
            address = f"10.0.{self._count // 250}.{self._count % 250 + 1}"
            networks = (Network(address, 16, contact.link),)
            here = Here(PROTOCOL, "1", networks, contact.port, serves)
            arrived = tracker.Arrived(session, contact.device, ip_address(address), read_networks(networks), here)
            self._tracker.handle(arrived, now)
        self._tracker.handle(tracker.Watched(session, Watch(streams, serves)), now)

    def leave(self, device: str, now: Instant) -> None:
        session = self._sessions.pop(device, None)
        if session is not None:
            self._tracker.handle(tracker.Left(session), now)

    def wake_at(self) -> Instant | None:
        return self._tracker.wake_at()

    def wake(self, now: Instant) -> list[NeighbourList]:
        told = []
        for effect in self._tracker.wake(now):
            if isinstance(effect, tracker.Send) and isinstance(effect.message, Neighbours):
                message = effect.message
                contacts = tuple((near.contact, near.why) for near in message.near)
                told.append(NeighbourList(self._devices[effect.session], message.stream, message.committee, contacts))
        return told
