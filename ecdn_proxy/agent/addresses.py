"""Where this machine may share: its addresses inside the allowed networks, and what kind of link it has.

find_place(settings) -> Place      reads the interfaces once
look(settings)                     the same, with every address of this machine, for `agent/network_monitor.py`
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address

from ecdn_proxy.core.http.hosts import place
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.io.interfaces import Interface, interfaces, parse_networks, private_networks, shareable
from ecdn_proxy.wire.peer import LinkKind
from ecdn_proxy.wire.tracker import Network


@dataclass(frozen=True, slots=True)
class Place:
    """This machine on its networks, as found at one moment."""

    listen: tuple[str, int]
    """Where links are accepted: the address and port of the setting `peer_listen`."""
    addresses: tuple[str, ...]
    """Where others may dial this machine."""
    allowed: list[IPv4Network | IPv6Network]
    """Networks whose machines may be spoken to. Where IT has set no peer_networks, the site map adds the site's others.

    Links and mDNS hold this very list, so it is changed in place.
    """
    networks: tuple[Network, ...]
    """The networks of this machine, as the coordinator is told them."""
    link: LinkKind
    own: tuple[IPv4Network | IPv6Network, ...] = ()
    """The allowed networks without those of the site map."""

    def same_as(self, other: "Place") -> bool:
        """Whether `other`, found later, shows nothing new."""
        return (self.addresses, self.networks, self.link, self.own) == (
            other.addresses,
            other.networks,
            other.link,
            other.own,
        )

    def become(self, found: "Place") -> "Place":
        """The place as `found` now, with the list of allowed networks that links and mDNS hold."""
        self.allowed[:] = found.own
        return replace(found, allowed=self.allowed)

    def allow(self, others: Iterable[IPv4Network | IPv6Network]) -> None:
        """Allow these networks besides this machine's own, and no others."""
        self.allowed[:] = [*self.own, *(it for it in others if it not in self.own)]


def find_place(settings: Settings, found: tuple[Interface, ...] | None = None) -> Place:
    """Read the interfaces, unless they are `found` already, and the settings.

    Raises:
        Unavailable: the interfaces cannot be listed or a network is malformed.
    """
    found = interfaces() if found is None else found
    allowed = list(parse_networks(settings.peer_networks) if settings.peer_networks else private_networks(found))
    host, port = place(settings.peer_listen)
    concrete = not ip_address(host).is_unspecified
    usable = [
        it
        for it in (found if settings.peer_networks else shareable(found))
        if not it.vpn and any(_inside(it.address, network) for network in allowed)
    ]
    if concrete:
        addresses: tuple[str, ...] = (host,)
        networks = tuple(
            Network(host, network.prefixlen, _link(settings, usable), vpn=False)
            for network in allowed
            if _inside(host, network)
        )[:1]
    else:
        addresses = tuple(dict.fromkeys(it.address for it in usable))[:8]
        networks = tuple(Network(it.address, it.prefix, it.link, it.vpn) for it in usable)[:16]
    return Place((host, port), addresses, allowed, networks, _link(settings, usable), tuple(allowed))


def look(settings: Settings) -> tuple[Place, frozenset[str]]:
    """The place now, and every address of this machine.

    Raises:
        Unavailable: as `find_place`.
    """
    found = interfaces()
    return find_place(settings, found), frozenset(it.address for it in found)


def _inside(address: str, network: IPv4Network | IPv6Network) -> bool:
    known = ip_address(address)
    return known.version == network.version and known in network


def _link(settings: Settings, usable: list[Interface]) -> LinkKind:
    if settings.link != "auto":
        return settings.link
    kinds = {it.link for it in usable}
    return "wired" if "wired" in kinds or not kinds else "wifi"
