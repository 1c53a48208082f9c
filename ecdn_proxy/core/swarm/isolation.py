"""Whether an access point seems to keep this machine from the machines beside it, by which of those answer.

    met(), forgotten()     a device turns out to be beside this one, or elsewhere
    missed()               a device beside this one could not be reached
    unanswered()           a device beside this one lets a question go unanswered, which counts half a second later
    heard()                a device beside this one spoke
    holds()                whether this machine is isolated, for the swarm
    is_sure()              the same for people, who are told only what is nearly certain

Two machines are *beside* each other when they hang on the same network by the same kind of link. A machine is
*isolated* when it reaches none of the machines beside it. Access points do that on purpose (client isolation,
peer-to-peer blocking): a station reaches the router, machines on cables and other networks, and no other station.

A device that went away looks the same from here as one that is kept away. So it takes two devices that are missed, and
nobody heard since; or one, if only one is beside this machine or nobody was ever heard. A mistake costs little: two
machines that both say that they are isolated are not sent to each other.
"""

import contextlib
from functools import lru_cache
from ipaddress import ip_address

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Contact

BELIEVED = 2
"""So many different devices must have been missed."""
MUTE_S = 0.5
"""A question may go unanswered for so many seconds without meaning anything: either machine may be busy."""


def is_beside(one: Contact, other: Contact) -> bool:
    """Whether two devices seem to hang on the same network by the same kind of link: same /24 (IPv4) or /64 (IPv6)."""
    return one.link == other.link and not _networks(one.addresses).isdisjoint(_networks(other.addresses))


@lru_cache(maxsize=8_192)
def _networks(addresses: tuple[str, ...]) -> frozenset[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for text in addresses:
        with contextlib.suppress(ValueError):  # a neighbour may say anything
            address = ip_address(text)
            if not (address.is_link_local or address.is_loopback):
                found.add((address.version, int(address) >> (64 if address.version == 6 else 8)))
    return frozenset(found)


class Isolation:
    """Concludes from who answers whether this machine is isolated. Only devices beside this one count."""

    def __init__(self) -> None:
        self._beside: set[str] = set()
        self._missing: set[str] = set()
        """Devices beside this one that could not be reached since one of them was heard last."""
        self._mute_at: dict[str, Instant] = {}
        """Which device owes an answer, and from when on that counts."""
        self._ever_heard = False
        """Whether any device beside this one ever spoke."""
        self.evidence = 0
        """How often a device beside this one could not be reached."""

    def _count(self, now: Instant) -> int:
        if not self._mute_at:
            return len(self._missing)
        return len(self._missing | {device for device, at in self._mute_at.items() if at <= now})

    def holds(self, now: Instant) -> bool:
        """Whether this machine is isolated: it had better not count on any device beside it."""
        enough = min(BELIEVED, len(self._beside)) if self._ever_heard else 1
        return self._count(now) >= max(1, enough)

    def is_sure(self, now: Instant) -> bool:
        """Whether people should be told that this machine is isolated."""
        return self._count(now) >= BELIEVED

    def is_beside(self, device: str) -> bool:
        """Whether a device is beside this one."""
        return device in self._beside

    def met(self, device: str) -> None:
        """A device is beside this one."""
        self._beside.add(device)

    def forgotten(self, device: str) -> None:
        """A device is not known any more, or not beside this one."""
        self._beside.discard(device)
        self._missing.discard(device)
        self._mute_at.pop(device, None)

    def unanswered(self, device: str, now: Instant) -> None:
        """A device has not answered yet."""
        if device in self._beside:
            self._mute_at.setdefault(device, now + MUTE_S)

    def missed(self, device: str) -> None:
        """A device could not be reached."""
        if device in self._beside:
            self._missing.add(device)
            self.evidence += 1

    def heard(self, device: str) -> None:
        """A device spoke; if it is beside this one, whoever was missed before counts no longer."""
        if device in self._beside:
            self._missing.clear()
            self._mute_at.clear()
            self._ever_heard = True

    def keeps_apart(self, device: str, now: Instant) -> bool:
        """Whether an access point seems to keep a device from this one."""
        return device in self._beside and self.holds(now)

    def moved(self) -> None:
        """This machine has other addresses; which devices are beside it will be told anew."""
        self._beside.clear()
        self._missing.clear()
        self._mute_at.clear()
        self._ever_heard = False
