"""Where the proxy may connect to: never to this machine or its private neighbourhood, unless a laboratory says so.

Map: `Targets.check_name` (at once, by the spelling of a host) · `Targets.resolve` (after DNS; the address that was
checked is the one to connect to, so that a name cannot be rebound in between) · `TargetRefused` (with a sentence for a
page).

A browser takes whatever comes through a proxy for public. A proxy that connected to local addresses would therefore
give a web page what the browser itself would keep from it.
"""

import asyncio
import ipaddress
import socket

from ecdn_proxy.core.http.hosts import host_name, is_public
from ecdn_proxy.core.http.urls import is_local_target
from ecdn_proxy.core.settings import Settings


class TargetRefused(Exception):
    """Nobody is connected to this target through us; the text says why."""


class Targets:
    """The rules of one agent; `own_ports` are the ports that it listens on itself, its proxy's among them."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = {host_name(name): address for name, address in settings.origin_hosts.items()}
        self._allow_local = settings.allow_local_origins
        self.own_ports: set[int] = set()

    def check_name(self, host: str, port: int) -> None:
        """Refuse what needs no DNS to be refused.

        Raises:
            TargetRefused: the host is a local name or address, or this agent.
        """
        if host_name(host) in self._hosts:
            return
        literal = f"[{host}]" if ":" in host else host
        if is_local_target(f"http://{literal}/"):
            self._judge(host, "127.0.0.1" if not _is_address(host) else host, port)

    async def resolve(self, host: str, port: int) -> str:
        """The address to connect to, of all that the host has.

        Raises:
            TargetRefused: one of the host's addresses is not allowed.
            OSError: the host has no address.
        """
        fixed = self._hosts.get(host_name(host))
        if fixed is not None:
            self._judge(host, fixed, port)
            return fixed
        if _is_address(host):
            self._judge(host, host, port)
            return host
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        for _, _, _, _, place in found:
            self._judge(host, str(place[0]), port)
        # one address is tried, not all: IPv4 first, because broken IPv6 is common and the other way round is not
        return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])

    def _judge(self, host: str, address: str, port: int) -> None:
        if port in self.own_ports and _is_mine(address):
            raise TargetRefused(f"{host}:{port} is this agent itself")
        if not self._allow_local and not is_public(address):
            where = "" if host == address else f" ({address})"
            raise TargetRefused(f"{host}{where} is on this machine or in a private network")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_mine(address: str) -> bool:
    """Whether an address belongs to this machine: then, and only then, a socket can be bound to it."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_loopback or parsed.is_unspecified or (parsed.version == 6 and parsed.ipv4_mapped is not None):
        return True
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
