"""Where this machine may share: its addresses inside the allowed networks, and what its link counts as."""

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
    """This machine on its networks."""

    listen: tuple[str, int]
    addresses: tuple[str, ...]
    """Where others may dial it."""
    allowed: list[IPv4Network | IPv6Network]
    """Who may be spoken to; the site map adds the site's other subnets where IT set no peer_networks."""
    networks: tuple[Network, ...]
    """The same for the coordinator."""
    link: LinkKind
    own: tuple[IPv4Network | IPv6Network, ...] = ()
    """The allowed networks without the site map's."""

    def same_as(self, other: "Place") -> bool:
        """Whether a look at the interfaces has found nothing new."""
        return (self.addresses, self.networks, self.link, self.own) == (
            other.addresses,
            other.networks,
            other.link,
            other.own,
        )

    def become(self, found: "Place") -> "Place":
        """The place as found now, with this one's list of networks, which links and mDNS hold."""
        self.allowed[:] = found.own
        return replace(found, allowed=self.allowed)

    def allow(self, others: Iterable[IPv4Network | IPv6Network]) -> None:
        """These networks too, and none besides its own."""
        self.allowed[:] = [*self.own, *(it for it in others if it not in self.own)]


def find_place(settings: Settings, found: tuple[Interface, ...] | None = None) -> Place:
    """Read the interfaces and the settings.

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
