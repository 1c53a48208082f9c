"""What this machine is connected to: interfaces, their networks, and what kind of link each is.

    interfaces()               every address with its prefix, link kind, and whether it looks like a tunnel
    shareable(found)           those in private networks that are neither loopback, tunnel nor a container's bridge
    private_networks(found)    the networks of these: where this agent shares unless a setting says otherwise
    parse_networks(texts)      networks as IT wrote them

A VPN is known by the name of its interface: its drivers use the same names everywhere, and no system call tells.
Sharing over a tunnel would carry the stream through the office's narrowest line, twice.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path

import ifaddr

from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import LinkKind

IPNetwork = IPv4Network | IPv6Network

_SYSFS = Path("/sys/class/net")
_TUNNEL = re.compile(
    r"^(tun|tap|wg|ppp|utun|ipsec|gpd|zt|nordlynx|proton|cscotun|vpn)\d*"
    r"|vpn|wireguard|tailscale|anyconnect|globalprotect|pangp|zscaler|fortinet|juniper|openconnect|wan miniport",
    re.IGNORECASE,
)
_VIRTUAL = re.compile(
    r"^(docker|br-|veth|virbr|vmnet|vboxnet|podman|cni|flannel|cali|lxc|lxd|awdl|llw|anpi|bridge\d)"
    r"|hyper-v|virtualbox|vmware|vethernet",
    re.IGNORECASE,
)
_WIFI_NAME = re.compile(r"^(wl|wifi)|wi-?fi|wireless", re.IGNORECASE)
_PRIVATE = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7")
)
"""RFC 1918, RFC 3927 and RFC 4193; Python's `is_private` also counts documentation and benchmark networks."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of one interface."""

    name: str
    address: str
    prefix: int
    link: LinkKind
    vpn: bool
    """Its name is a tunnel's."""
    virtual: bool
    """Its name is one of a container's or a virtual machine's bridge."""

    @property
    def network(self) -> IPNetwork:
        """The network that the address lies in."""
        return ip_interface(f"{self.address}/{self.prefix}").network


def interfaces() -> tuple[Interface, ...]:
    """Every address of this machine, except link-local addresses of IPv6.

    Raises:
        Unavailable: the system does not list its interfaces.
    """
    try:
        adapters = list(ifaddr.get_adapters())
    except OSError as error:
        raise Unavailable(f"the system does not list its interfaces: {error.strerror}") from error
    found = []
    for adapter in adapters:
        for each in adapter.ips:
            address = each.ip if isinstance(each.ip, str) else each.ip[0]
            if ip_address(address).version == 6 and ip_address(address).is_link_local:
                continue
            found.append(_interface(str(adapter.name), str(adapter.nice_name), address, int(each.network_prefix)))
    return tuple(found)


def _interface(name: str, title: str, address: str, prefix: int) -> Interface:
    vpn = any(_TUNNEL.search(text) for text in (name, title))
    virtual = any(_VIRTUAL.search(text) for text in (name, title))
    return Interface(title, address, prefix, link_kind(name, title), vpn, virtual)


def link_kind(name: str, title: str = "", sysfs: Path = _SYSFS) -> LinkKind:
    """`wifi` when the kernel or, where it does not say, the interface's name says so; else `wired`."""
    folder = sysfs / name
    if sysfs.is_dir() and "/" not in name and folder.is_dir():
        return "wifi" if (folder / "wireless").exists() or (folder / "phy80211").exists() else "wired"
    return "wifi" if any(_WIFI_NAME.search(text) for text in (name, title)) else "wired"


def is_private(address: str) -> bool:
    """Whether an address belongs to a private network (RFC 1918, RFC 3927 or RFC 4193)."""
    known = ip_address(address)
    return any(known in network for network in _PRIVATE if network.version == known.version)


def shareable(found: Iterable[Interface]) -> tuple[Interface, ...]:
    """Interfaces to share on by default."""
    return tuple(each for each in found if is_private(each.address) and not each.vpn and not each.virtual)


def private_networks(found: Iterable[Interface]) -> tuple[IPNetwork, ...]:
    """The networks of `shareable` interfaces, each once."""
    return tuple(dict.fromkeys(each.network for each in shareable(found)))


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Networks in CIDR form; host bits may be set.

    Raises:
        Unavailable: one of the texts is no network.
    """
    try:
        return tuple(ip_network(text.strip(), strict=False) for text in texts)
    except ValueError as error:
        raise Unavailable(f"not a network: {error}") from error
