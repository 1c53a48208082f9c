"""Where an origin's name may lead: never to this machine or its neighbours.

    forbidden(address)     why a socket to this address is not made, or None
    GuardedResolver        names to addresses; a fixed map first, as in a hosts file
    guarded_socket(...)    the last gate: asked for every address right before a socket to it is made

The last gate sees the address that is really connected to, whatever a name, a redirect, an address in decimal or in
IPv6 form, or a second answer of a DNS server has made of it (docs/security.md: open proxy, SSRF).
"""

import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = ip_network("64:ff9b::/96")
KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds, and a count: a silent connection whose other end is gone ends after half a minute. An origin that thinks for
minutes is waited for, one that has died is not. macOS calls the first TCP_KEEPALIVE."""


class Forbidden(OSError):
    """An origin's name led to an address that is none of an origin's."""


def forbidden(address: str) -> str | None:
    """Why this address cannot be an origin's; None when it may be one."""
    try:
        known: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return "not an address"
    if isinstance(known, IPv6Address) and known in _NAT64:  # what an IPv6-only network makes of an IPv4 origin
        return forbidden(str(IPv4Address(int(known) & 0xFFFF_FFFF)))
    if isinstance(known, IPv6Address):
        inner = known.ipv4_mapped or known.sixtofour or (known.teredo[1] if known.teredo else None)
        if inner is not None:
            return forbidden(str(inner)) or "an IPv4 address in disguise"
    for name, found in (
        ("unspecified", known.is_unspecified),
        ("loopback", known.is_loopback),
        ("link-local", known.is_link_local),
        ("multicast", known.is_multicast),
        ("private", known.is_private),
        ("reserved", known.is_reserved or not known.is_global),
    ):
        if found:
            return f"a {name} address"
    return None


class GuardedResolver(AbstractResolver):
    """The system's resolver behind a fixed map of names; whether an address may be used is the socket's business."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self._hosts = {name.lower().rstrip("."): address for name, address in hosts.items()}
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of a name."""
        fixed = self._hosts.get(host.lower().rstrip("."))
        if fixed is None:
            return await self._system.resolve(host, port, family)
        kind = socket.AF_INET6 if ":" in fixed else socket.AF_INET
        return [ResolveResult(hostname=host, host=fixed, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        """Close the system's resolver."""
        await self._system.close()


def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket towards `info` (as getaddrinfo gives it).

    Raises:
        Forbidden: the address is none of an origin's.
    """
    family, kind, protocol, _, where = info
    why = forbidden(str(where[0]))
    if why is not None:
        raise Forbidden(f"its name leads to {why}")
    return open_socket((family, kind, protocol, "", where))


def open_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket towards any address, for tests and laboratories (setting `allow_local_origins`)."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
