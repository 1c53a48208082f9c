"""The network of an office on one machine: a namespace for each host, a bridge and a router for each site, an internet.

    async with Net(NetPlan((SitePlan("a", 6), SitePlan("b", 4))), directory) as net: ...

Map:
    SitePlan, NetPlan    what to build; a site `on` another's router is a second subnet there
    Host                 one machine: its namespace and address
    Net                  builds it, counts it, takes it away (`guard` does, whatever happened to us)
      .internet .router .host .hosts_of .site_at
      .line(site)        bytes that crossed the site's ISP line      .between_sites   from one site to another
      .shape             the speed of that line

         origin .10, coordinator .20, STUN .30 .31 of 203.0.113.0/24
             (internet)---ISP line 198.51.100.4n/30---(router n)===bridge===(host) 10.n.1.1, 10.n.1.2 ...

Names begin with a word of this run, so several offices stand side by side and nothing of the machine's own is touched.
"""

import contextlib
import itertools
import json
import secrets
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tests.demo import pki
from tests.demo.processes import REPOSITORY, Processes, Whole
from tests.lab import shell
from tests.lab.guard import ETC
from tests.lab.link import Weather

ORIGIN, COORDINATOR, STUN = "203.0.113.10", "203.0.113.20", ("203.0.113.30", "203.0.113.31")
HOSTS = {pki.ORIGIN: ORIGIN, f"coordinator.{pki.DOMAIN}": COORDINATOR, f"stun.{pki.DOMAIN}": STUN[0]}
HOSTS[TRACKER := f"tracker.{pki.DOMAIN}"] = COORDINATOR  # of WebTorrent, for what we compare ourselves with
_BETWEEN = "between"
NEAR, LAN, WAN = "isp0", "eth0", "wan0"
MADE: list[str] = []
"""Every namespace that this process has made."""
type Nat = Literal["none", "independent", "symmetric"]


@dataclass(frozen=True)
class SitePlan:
    """One office, or (`on`) a second subnet of one. `name` is short and ends in no digit: hosts are name1, name2 ..."""

    name: str
    hosts: int
    on: str = ""
    nat: Nat = "none"


@dataclass(frozen=True)
class NetPlan:
    """Speeds in Mbit/s; 0 is as fast as it goes. With a `rtt_ms`, ISP lines are `link`'s, else the kernel's."""

    sites: tuple[SitePlan, ...]
    isp_mbps: float = 0.0
    rtt_ms: float = 0.0
    lan_mbps: float = 0.0
    wan_mbps: float = 0.0
    ipv6: bool = False


class Host(NamedTuple):
    """One machine in a site."""

    name: str
    namespace: str
    address: str
    site: str


class Traffic(NamedTuple):
    """Bytes and packets over a line since it was made, as the wire carries them; `dropped` on the way down."""

    down: int
    up: int
    dropped: int

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(*(now - then for now, then in zip(self, before, strict=True)))


class Net(Whole):
    """Knows every name and address of its plan, also without having built it (`prefix` of another's)."""

    def __init__(self, plan: NetPlan, directory: Path, prefix: str = "") -> None:
        self.plan, self.directory = plan, directory
        self.prefix = prefix or f"lab{secrets.token_hex(2)}"
        self.internet = f"{self.prefix}-net"
        self.sites = {site.name: site for site in plan.sites}
        self._numbers = {site.name: number for number, site in enumerate(plan.sites, 1)}
        self._processes = Processes(directory)
        self._guard: subprocess.Popen[str] | None = None

    # Names

    def network(self, site: str) -> str:
        return f"10.{self._numbers[site]}.0.0/16"

    def main_site(self, site: str) -> str:
        """The site whose router this subnet hangs on."""
        return self.sites[site].on or site

    def router(self, site: str) -> str:
        return f"{self.prefix}-r{self.main_site(site)}"

    def hosts_of(self, *sites: str) -> list[Host]:
        """Every machine of these sites, of all without an argument."""
        return [
            Host(f"{site}{i}", f"{self.prefix}-{site}{i}", f"10.{self._numbers[site]}.1.{i}", site)
            for site in sites or self.sites
            for i in range(1, self.sites[site].hosts + 1)
        ]

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts_of() if host.name == name)

    def site_at(self, address: str) -> str:
        """Whose site (not subnet) an address of the origin's log belongs to; "" for none."""
        first, second, _, last = address.split(".")
        number = int(second) if first == "10" else (int(last) // 4 if first == "198" else 0)
        return next((self.main_site(site) for site, n in self._numbers.items() if n == number), "")

    def far(self, site: str) -> str:
        """The ISP's end of a site's line, in the internet."""
        return f"isp{site}"

    def weather_file(self, site: str) -> Path:
        return self.directory / f"line-{site}.json"

    def routes(self, site: str) -> list[str]:
        """What the internet must know to answer a site; behind NAT nothing."""
        by = f"198.51.100.{self._numbers[site] * 4 + 2}"
        return [
            f"{self.network(name)} via {by}"
            for name in self.sites
            if self.main_site(name) == site and self.sites[name].nat == "none" and self.sites[site].nat == "none"
        ]

    # Building

    async def close(self) -> None:
        await self._processes.close()
        if self._guard is not None:
            self._guard.communicate()  # its input ends, and it takes the namespaces away
            self._guard = None

    def _namespace(self, name: str, forwards: bool) -> None:
        if self._guard is None:
            command = [sys.executable, "-m", "tests.lab.guard"]
            self._guard = subprocess.Popen(
                command, stdin=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True
            )
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{name}\n")
        self._guard.stdin.flush()
        MADE.append(name)
        shell.run("ip", "netns", "add", name)
        etc = ETC / name
        etc.mkdir(parents=True, exist_ok=True)
        rows = ["127.0.0.1 localhost", "::1 localhost", *(f"{address} {host}" for host, address in HOSTS.items())]
        (etc / "hosts").write_text("\n".join(rows) + "\n")
        (etc / "resolv.conf").write_text("nameserver 203.0.113.10\noptions timeout:1 attempts:1\n")
        settings = {"net/ipv4/ip_forward": int(forwards), "net/ipv6/conf/all/forwarding": int(forwards)}
        # Without the wait for duplicate addresses an IPv6 address can be used at once.
        settings |= {"net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0}
        settings |= {"net/ipv6/conf/default/disable_ipv6": int(not self.plan.ipv6)}
        # A machine that runs containers sends bridged packets through the router's rules; a switch does not.
        bridge = "/proc/sys/net/bridge/bridge-nf-call-"
        script = "; ".join(f"echo {value} > /proc/sys/{key}" for key, value in settings.items())
        script += f"; for file in {bridge}*tables; do [ ! -e $file ] || echo 0 > $file; done"
        shell.run(*shell.inside(name, "sh", "-c", script))

    async def start(self) -> None:
        self._namespace(self.internet, forwards=True)
        # What the origin has written has nearly left it: else its log would say that a fetch over a tight line, which
        # takes seconds, ended at once.
        shell.run(*shell.inside(self.internet, "sh", "-c", "echo 16384 > /proc/sys/net/ipv4/tcp_notsent_lowat"))
        shell.batch(
            self.internet, ["link set lo up", *(f"addr add {a}/32 dev lo" for a in (ORIGIN, COORDINATOR, *STUN))]
        )
        # All that the internet passes on goes from one site to another: origin and coordinator stand in it.
        rule = "type filter hook forward priority 0; counter"
        shell.nft(self.internet, f"table inet {_BETWEEN} {{ chain on {{ {rule}\n}}\n}}")
        for site in self.plan.sites:
            if not site.on:
                await self._router(site)
        for site in self.plan.sites:
            self._subnet(site)
        mains = [site.name for site in self.plan.sites if not site.on]
        if self.plan.wan_mbps:
            for number, (a, b) in enumerate(itertools.combinations(mains, 2)):
                self._private_line(number, a, b)

    async def _router(self, site: SitePlan) -> None:
        router, far, number = self.router(site.name), self.far(site.name), self._numbers[site.name]
        self._namespace(router, forwards=True)
        if self.plan.rtt_ms:
            await self._long_line(site.name)
        else:
            shell.run(
                "ip", "link", "add", NEAR, "netns", router, "type", "veth", "peer", "name", far, "netns", self.internet
            )
            for namespace, device in ((router, NEAR), (self.internet, far)):
                self._honest(namespace, device)
        here, there = f"198.51.100.{number * 4 + 2}", f"198.51.100.{number * 4 + 1}"
        shell.batch(
            router,
            [
                "link set lo up",
                f"addr add {here}/30 dev {NEAR}",
                f"link set {NEAR} up",
                f"route add default via {there}",
            ],
        )
        shell.batch(self.internet, [f"addr add {there}/30 dev {far}", f"link set {far} up"])
        shell.batch(self.internet, [f"route add {route}" for route in self.routes(site.name)])
        self.shape(site.name, self.plan.isp_mbps)
        if site.nat != "none":
            # Linux keeps the source port where it can: endpoint-independent for one mapping at a time. fully-random
            # draws a new port for each destination.
            kind = "fully-random" if site.nat == "symmetric" else ""
            rule = f"type nat hook postrouting priority 100; oifname {NEAR} masquerade {kind}"
            shell.nft(router, f"table ip nat {{ chain post {{ {rule}\n}}\n}}")

    async def _long_line(self, site: str) -> None:
        Weather(self.plan.rtt_ms / 2).write(self.weather_file(site))
        ready = self.directory / f"line-{site}.ready"
        ends = [self.router(site), NEAR, self.internet, self.far(site)]
        files = ["--weather", str(self.weather_file(site)), "--ready-file", str(ready)]
        line = await self._processes.python(f"line-{site}", "tests.lab.link", *ends, *files)
        await line.ready(ready, 20)

    @staticmethod
    def _honest(namespace: str, device: str) -> None:
        """No packets larger than the wire's on a counted line."""
        off = [word for part in ("tso", "gso", "gro") for word in (part, "off")]
        shell.run(*shell.inside(namespace, "ethtool", "-K", device, *off))

    def shape(self, site: str, mbps: float) -> None:
        """Both directions of a site's line; 0 is without a limit."""
        for namespace, device in ((self.router(site), NEAR), (self.internet, self.far(site))):
            self._limit(namespace, device, mbps, "60ms")

    @staticmethod
    def _limit(namespace: str, device: str, mbps: float, latency: str) -> None:
        """A bucket of 4 ms, and never less than a few packets: a larger one lets a tight line look wide."""
        if not mbps:
            with contextlib.suppress(shell.Refused):  # there was none
                shell.run("tc", "-n", namespace, "qdisc", "del", "dev", device, "root")
            return
        burst = max(16_000, int(mbps * 125_000 * 0.004))
        limit = ["tbf", "rate", f"{mbps}mbit", "burst", f"{burst}", "latency", latency]
        shell.run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", *limit)

    def _subnet(self, site: SitePlan) -> None:
        router, number, bridge = self.router(site.name), self._numbers[site.name], f"br{site.name}"
        six = [f"addr add fd00:{number}::1/64 dev {bridge}"] if self.plan.ipv6 else []
        bridge_up = [f"link add {bridge} type bridge forward_delay 0", f"addr add 10.{number}.0.1/16 dev {bridge}"]
        shell.batch(router, [*bridge_up, *six, f"link set {bridge} up"])
        for i, host in enumerate(self.hosts_of(site.name), 1):
            self._namespace(host.namespace, forwards=False)
            shell.run(
                "ip", "link", "add", LAN, "netns", host.namespace, "type", "veth", "peer", "name", host.name,
                "netns", router,
            )  # fmt: skip
            six = [f"addr add fd00:{number}::1:{i}/64 dev {LAN}"] if self.plan.ipv6 else []
            shell.batch(
                host.namespace,
                ["link set lo up", f"addr add {host.address}/16 brd + dev {LAN}", *six, f"link set {LAN} up"],
            )
            shell.batch(router, [f"link set {host.name} master {bridge} up"])
            self.default_route(host)
            self._limit(host.namespace, LAN, self.plan.lan_mbps, "20ms")
            self._limit(router, host.name, self.plan.lan_mbps, "20ms")

    def default_route(self, host: Host) -> None:
        shell.batch(host.namespace, [f"route replace default via 10.{self._numbers[host.site]}.0.1"])

    def _private_line(self, number: int, a: str, b: str) -> None:
        """Between two sites' routers, as a company's WAN."""
        name = f"{WAN}{number}" if number else WAN
        shell.run(
            "ip", "link", "add", name, "netns", self.router(a), "type", "veth", "peer", "name", name,
            "netns", self.router(b),
        )  # fmt: skip
        for me, other, end in ((a, b, 1), (b, a, 2)):
            routes = [
                f"route add {self.network(s)} via 192.168.{number}.{3 - end}"
                for s in self.sites
                if self.main_site(s) == other
            ]
            address = f"addr add 192.168.{number}.{end}/30 dev {name}"
            shell.batch(self.router(me), [address, f"link set {name} up", *routes])
            self._honest(self.router(me), name)
            self._limit(self.router(me), name, self.plan.wan_mbps, "60ms")

    # Counting

    def line(self, site: str, device: str = NEAR) -> Traffic:
        """Bytes over the site's ISP line (or its private line), as its router counts them."""
        told = json.loads(shell.run("ip", "-n", self.router(site), "-s", "-j", "link", "show", device))[0]["stats64"]
        far = json.loads(shell.run("ip", "-n", self.internet, "-s", "-j", "link", "show", self.far(site)))[0]["stats64"]
        return Traffic(told["rx"]["bytes"], told["tx"]["bytes"], far["tx"]["dropped"])

    def between_sites(self) -> int:
        """Bytes that crossed the internet from one site to another."""
        told = json.loads(shell.run(*shell.inside(self.internet, "nft", "-j", "list", "table", "inet", _BETWEEN)))
        rules = [row["rule"]["expr"] for row in told["nftables"] if "rule" in row]
        return sum(part["counter"]["bytes"] for rule in rules for part in rule if "counter" in part)

    def namespaces(self) -> list[str]:
        """All that this plan makes."""
        routers = {self.router(site) for site in self.sites}
        return [self.internet, *sorted(routers), *(host.namespace for host in self.hosts_of())]


def standing(names: Iterable[str]) -> list[str]:
    """Those of `names` that exist now."""
    there = {row["name"] for row in json.loads(shell.run("ip", "-j", "netns", "list") or "[]")}
    return [name for name in names if name in there]
