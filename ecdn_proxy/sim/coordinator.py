"""The coordinator as the hosts of one office see it: they announce streams, it sends lists of neighbours.

    SimulatedCoordinator.announce(host)   the coordinator hears it after one way
    SimulatedCoordinator.left(host, …)    the coordinator notices that a host's socket ended
    SimulatedCoordinator.restart()        a new process that knows nobody

Who is told of whom is the `Tracker`'s to say.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ecdn_proxy.core import events
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.tracker import NeighbourList, Tracker
from ecdn_proxy.sim.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from ecdn_proxy.sim.host import Host


class SimulatedCoordinator:
    """The coordinator of one office.

    Args:
        clock: virtual time.
        hosts: by device.
        new_tracker: makes the tracker of a coordinator that has just started.
        one_way_s: from a host to the coordinator, and back.
        hidden: whether a host's lists lack a device (split views).
    """

    def __init__(
        self,
        clock: VirtualClock,
        hosts: "Mapping[str, Host]",
        new_tracker: Callable[[], Tracker],
        *,
        one_way_s: float,
        hidden: "Callable[[Host, str], bool]",
    ) -> None:
        self.connected = True
        """Whether hosts reach the coordinator at present."""
        self._clock = clock
        self._hosts = hosts
        self._new_tracker = new_tracker
        self._tracker = new_tracker()
        self._one_way_s = one_way_s
        self._hidden = hidden

    def restart(self) -> None:
        """The coordinator is back, and knows nobody."""
        self.connected = True
        self._tracker = self._new_tracker()

    def announce(self, host: "Host") -> None:
        """A host says what it watches."""
        if self.connected:
            self._clock.at(self._clock.now + self._one_way_s, self.hear, host, host.life)

    def hear(self, host: "Host", life: int) -> None:
        """The coordinator hears what a host watches, unless the machine has been off meanwhile."""
        if host.life == life and self.connected:
            serves = host.serves and not host.isolated
            self._tracker.watch(host.contact, host.streams, self._clock.now, serves=serves)
            self._arm()

    def left(self, host: "Host", noticed_s: float) -> None:
        """A host's socket ended; the coordinator notices after so long, unless the machine is back by then."""
        self._clock.at(self._clock.now + noticed_s, self._left, host, host.life)

    def _left(self, host: "Host", life: int) -> None:
        if host.life == life and self.connected:
            self._tracker.leave(host.device, self._clock.now)
            self._arm()

    def _arm(self) -> None:
        if (at := self._tracker.wake_at()) is not None:
            self._clock.at(at, self._send_lists, at)

    def _send_lists(self, at: Instant) -> None:
        if not self.connected or self._tracker.wake_at() != at:
            return
        for told in self._tracker.wake(self._clock.now):
            host = self._hosts[told.device]
            self._clock.at(self._clock.now + self._one_way_s, self._tell, host, host.life, told)
        self._arm()

    def _tell(self, host: "Host", life: int, told: NeighbourList) -> None:
        if host.life == life and self.connected:
            contacts = tuple(it for it in told.contacts if not self._hidden(host, it[0].device))
            host.feed(events.TrackerSaid(told.stream, told.committee, contacts))
