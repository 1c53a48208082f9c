"""Whether an access point seems to keep this machine from its like, by who of them answers.

    met(), forgotten()     a device beside this one: on the same network by the same kind of link
    missed()               one of them could not be reached
    unanswered()           one lets a question go unanswered, which counts half a second later
    heard()                any of them spoke
    holds(), is_sure()     what follows: for the swarm, and for people

Client isolation (peer-to-peer blocking) lets a station reach the router, machines on cables and other networks, and no
other station. One that went away looks the same from here. So it takes two of them, and nobody heard since; or one, if
there is but one or nobody was ever heard. A mistake costs little: two machines that both say that they are isolated are
not sent to each other.
"""

import contextlib
from functools import lru_cache
from ipaddress import ip_address

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Contact

BELIEVED = 2
"""So many different devices must have been missed."""
MUTE_S = 0.5
"""A question may go unanswered for so long without meaning anything: either machine may be busy."""


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
    """See the head of this file."""

    def __init__(self) -> None:
        self._beside: set[str] = set()
        self._missing: set[str] = set()
        self._mute_at: dict[str, Instant] = {}
        """Who owes an answer, and from when on that counts."""
        self._ever_heard = False
        self.evidence = 0
        """How often one could not be reached."""

    def _count(self, now: Instant) -> int:
        if not self._mute_at:
            return len(self._missing)
        return len(self._missing | {device for device, at in self._mute_at.items() if at <= now})

    def holds(self, now: Instant) -> bool:
        """Whether this machine had better not count on any of them."""
        enough = min(BELIEVED, len(self._beside)) if self._ever_heard else 1
        return self._count(now) >= max(1, enough)

    def is_sure(self, now: Instant) -> bool:
        """Whether people should be told."""
        return self._count(now) >= BELIEVED

    def is_beside(self, device: str) -> bool:
        """Whether it is one of them."""
        return device in self._beside

    def met(self, device: str) -> None:
        """There is one more."""
        self._beside.add(device)

    def forgotten(self, device: str) -> None:
        """One is not there any more, or not beside this one."""
        self._beside.discard(device)
        self._missing.discard(device)
        self._mute_at.pop(device, None)

    def unanswered(self, device: str, now: Instant) -> None:
        """One has not answered yet; others do not count."""
        if device in self._beside:
            self._mute_at.setdefault(device, now + MUTE_S)

    def missed(self, device: str) -> None:
        """One could not be reached; others do not count."""
        if device in self._beside:
            self._missing.add(device)
            self.evidence += 1

    def heard(self, device: str) -> None:
        """A device spoke; others do not count."""
        if device in self._beside:
            self._missing.clear()
            self._mute_at.clear()
            self._ever_heard = True

    def keeps_apart(self, device: str, now: Instant) -> bool:
        """Whether this one is out of reach."""
        return device in self._beside and self.holds(now)

    def moved(self) -> None:
        """This machine is somewhere else; who is beside it is told anew."""
        self._beside.clear()
        self._missing.clear()
        self._mute_at.clear()
        self._ever_heard = False
