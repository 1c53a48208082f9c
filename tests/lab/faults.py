"""Trouble on the network, each kind with its end. The origin's own trouble is `office.origin.fault(...)`.

Map:
    Faults(net)
      cable        a host's plug          address  its address
      isp          a site's line, cut or whole            rate     its speed
      delay, loss, jitter   of the line (needs an `rtt_ms`)          host_loss  at one host's interface, both ways
      isolation    of Wi-Fi clients: hosts reach the router and no neighbour
      multicast    filtered at the access point
      peer_port    TCP 7688 between subnets and sites
"""

import contextlib
from dataclasses import replace

from tests.demo.parts import PEER_PORT
from tests.lab import shell
from tests.lab.link import Weather
from tests.lab.net import LAN, Host, Net


class Faults:
    """Each method is told how things shall be from now on, so that the end of a fault is the same call."""

    def __init__(self, net: Net) -> None:
        self._net = net

    def cable(self, host: Host, *, plugged: bool) -> None:
        """At the switch's end: the host sees its carrier go, keeps its address and, unlike `link down`, its routes."""
        shell.batch(self._net.router(host.site), [f"link set {host.name} {'up' if plugged else 'down'}"])

    def address(self, host: Host, address: str) -> None:
        """Another address from the same network, as after a lease that ended; routes go with the old one."""
        old = shell.run("ip", "-n", host.namespace, "-4", "-o", "addr", "show", "dev", LAN).split()[3]
        prefix = old.partition("/")[2]
        shell.batch(host.namespace, [f"addr del {old} dev {LAN}", f"addr add {address}/{prefix} brd + dev {LAN}"])
        self._net.default_route(host)

    def isp(self, site: str, *, up: bool) -> None:
        """At the far end. The kernel flushes a device's routes when it goes down; they are put back with it."""
        lines = [f"link set {self._net.far(site)} {'up' if up else 'down'}"]
        if up:
            lines += [f"route replace {route}" for route in self._net.routes(site)]
        shell.batch(self._net.internet, lines)

    def rate(self, site: str, mbps: float) -> None:
        self._net.shape(site, mbps)

    def _weather(self, site: str, **changes: float) -> None:
        file = self._net.weather_file(site)
        if not file.exists():
            raise shell.Refused(f"site {site} has a short line; give the plan an rtt_ms")
        replace(Weather.read(file), **changes).write(file)

    def delay(self, site: str, ms: float) -> None:
        """One way; the line looks at it five times a second."""
        self._weather(site, delay_ms=ms)

    def jitter(self, site: str, ms: float) -> None:
        self._weather(site, jitter_ms=ms)

    def loss(self, site: str, percent: float) -> None:
        self._weather(site, loss_percent=percent)

    def host_loss(self, host: Host, percent: float) -> None:
        """Loopback is spared: the viewer and its own agent are one machine."""
        with contextlib.suppress(shell.Refused):
            shell.run(*shell.inside(host.namespace, "nft", "delete", "table", "inet", "loss"))
        if percent:
            hooks = (("in", "input", "iifname"), ("out", "output", "oifname"))
            dice = "" if percent >= 100 else f"numgen random mod 1000 < {round(percent * 10)}"
            chains = "\n".join(
                f"chain {name} {{ type filter hook {hook} priority -300; {word} != lo {dice} drop\n}}"
                for name, hook, word in hooks
            )
            shell.nft(host.namespace, f"table inet loss {{ {chains}\n}}")

    def _ports(self, hosts: list[Host], flag: str, value: str) -> None:
        for host in hosts:
            shell.run("bridge", "-n", self._net.router(host.site), "link", "set", "dev", host.name, flag, value)

    def isolation(self, hosts: list[Host], *, on: bool) -> None:
        """Isolated ports of a bridge reach the router and no other isolated port."""
        self._ports(hosts, "isolated", "on" if on else "off")

    def multicast(self, hosts: list[Host], *, filtered: bool) -> None:
        """mDNS, ARP's broadcasts apart: those have a switch of their own and go on."""
        self._ports(hosts, "mcast_flood", "off" if filtered else "on")

    def peer_port(self, *, blocked: bool) -> None:
        """At every router: within a subnet nothing changes, as the bridge does not ask the router."""
        for router in dict.fromkeys(self._net.router(site) for site in self._net.sites):
            with contextlib.suppress(shell.Refused):
                shell.run(*shell.inside(router, "nft", "delete", "table", "inet", "peers"))
            if blocked:
                drop = f"tcp dport {PEER_PORT} drop"
                rule = f"chain forward {{ type filter hook forward priority 0; {drop}\n}}"
                shell.nft(router, f"table inet peers {{ {rule}\n}}")
