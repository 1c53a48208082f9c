"""An office on this machine, for people: it stands until Ctrl-C or `down`, and two other terminals can work in it.

    python -m tests.lab up --site a=6 --site b=4 --site c=2@a --isp 20 --rtt 20 --agents --viewers
    python -m tests.lab exec a1 ping -c 3 10.1.1.2
    python -m tests.lab fault cable a3 out      (in)      isp a cut   (up)      rate a 5 (Mbit/s)
                              delay a 100 (ms one way)    jitter a 20           loss a 2   hostloss a3 5 (percent)
                              isolation a on    (off)     multicast a off (on)  peerport off (on)  address a3 10.1.7.7
                              origin 'status=503&match=ts$'    origin clear=1
    python -m tests.lab status | down

Map:
    up, down, execute, fault, status    one function for each word
    Standing                            the office that stands, in /run/ecdn-lab.json
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
from rich.console import Console

from tests.demo.clock import seconds
from tests.demo.parts import OriginView
from tests.demo.processes import CouldNotStart
from tests.lab import shell
from tests.lab.faults import Faults
from tests.lab.guard import remove
from tests.lab.net import HOSTS, Host, Nat, Net, NetPlan, SitePlan, standing
from tests.lab.office import ORIGIN_URL, Office, OfficePlan, origin_session

FILE = Path("/run/ecdn-lab.json")
CONSOLE = Console(soft_wrap=True, highlight=False)


class Standing(msgspec.Struct):
    """What another process must know to work in the office."""

    keeper: int
    """The process that holds it up."""
    prefix: str
    directory: str
    plan: NetPlan

    def net(self) -> Net:
        return Net(self.plan, Path(self.directory), self.prefix)

    @property
    def kept(self) -> bool:
        return psutil.pid_exists(self.keeper)


def found() -> Standing:
    if not FILE.exists():
        sys.exit("No office stands. Make one: python -m tests.lab up")
    return msgspec.json.decode(FILE.read_bytes(), type=Standing)


def _site(text: str) -> SitePlan:
    """a=6, or c=2@a for a second subnet at the router of a."""
    name, _, rest = text.partition("=")
    count, _, on = rest.partition("@")
    if not (name.isalpha() and len(name) <= 6 and count.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: write it as a=6 or c=2@a")
    return SitePlan(name, int(count), on)


def _plan(options: argparse.Namespace) -> NetPlan:
    sites = options.site or [SitePlan("a", 4), SitePlan("b", 2)]
    nat = options.nat or []
    kind: Nat = "symmetric" if options.symmetric else "independent"
    return NetPlan(
        tuple(SitePlan(s.name, s.hosts, s.on, kind if s.name in nat else "none") for s in sites),
        isp_mbps=options.isp,
        rtt_ms=options.rtt,
        lan_mbps=options.lan,
        wan_mbps=options.wan,
        ipv6=options.ipv6,
    )


async def _stand(options: argparse.Namespace) -> None:
    ended = asyncio.Event()
    begun = seconds()
    async with Office(OfficePlan(_plan(options), agents=options.agents), keep=options.keep) as office:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        net = office.net
        _write(Standing(os.getpid(), net.prefix, str(office.directory), net.plan))
        try:
            CONSOLE.print(f"{len(net.namespaces())} namespaces {net.prefix}-* in {seconds() - begun:.1f} s.")
            CONSOLE.print(f"Origin {ORIGIN_URL}/live/hls/master.m3u8, root {office.directory}/pki/origin-ca.pem")
            CONSOLE.print(f"Logs and settings in {office.directory}. Ctrl-C or `python -m tests.lab down` ends it.")
            if options.viewers:
                await office.watch(else_direct=options.agents)
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await ended.wait()
                if options.viewers and not ended.is_set():
                    _tell(office)
        finally:
            _forget()


def _write(office: Standing) -> None:
    FILE.write_bytes(msgspec.json.encode(office))


def _forget() -> None:
    FILE.unlink(missing_ok=True)


def _tell(office: Office) -> None:
    latest = office.audiences[0].latest
    playing = sum(bool(line.get("playing")) for line in latest.values())
    stalls = sum(line.get("stalls", 0) for line in latest.values())
    lines = ", ".join(
        f"{site} {office.net.line(site).down / 1e6:.1f} MB" for site, plan in office.net.sites.items() if not plan.on
    )
    CONSOLE.print(f"{playing} of {len(latest)} play, {stalls} stalls; over the lines: {lines}")


def up(options: argparse.Namespace) -> None:
    if (reason := shell.why_not()) is not None:
        sys.exit(f"No office can be built here: {reason}.")
    if FILE.exists() and found().kept:
        sys.exit("An office stands already; python -m tests.lab down ends it.")
    try:
        asyncio.run(_stand(options))
    except CouldNotStart as error:
        sys.exit(str(error))


def down(_: argparse.Namespace) -> None:
    """By its keeper; if that is gone, its guard has done it, and this makes sure."""
    office = found()
    if office.kept:
        os.kill(office.keeper, signal.SIGTERM)
        limit = seconds() + 30
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(office.keeper).wait(limit - seconds())
    remove(standing(office.net().namespaces()))
    _forget()


def execute(options: argparse.Namespace) -> None:
    net = found().net()
    names = {host.name: host.namespace for host in net.hosts_of()} | {"net": net.internet}
    names |= {f"r{site}": net.router(site) for site in net.sites}
    if options.host not in names:
        sys.exit(f"There is no {options.host}; there are {' '.join(names)}.")
    command = shell.inside(names[options.host], *options.command)
    os.execvp(command[0], command)  # the terminal becomes the command's


def fault(options: argparse.Namespace) -> None:
    net = found().net()
    faults, words = Faults(net), options.words

    def host(place: int = 0) -> Host:
        return net.host(words[place])

    known: dict[str, Callable[[], None]] = {
        "cable": lambda: faults.cable(host(), plugged=words[1] == "in"),
        "address": lambda: faults.address(host(), words[1]),
        "isp": lambda: faults.isp(words[0], up=words[1] == "up"),
        "rate": lambda: faults.rate(words[0], float(words[1])),
        "delay": lambda: faults.delay(words[0], float(words[1])),
        "jitter": lambda: faults.jitter(words[0], float(words[1])),
        "loss": lambda: faults.loss(words[0], float(words[1])),
        "hostloss": lambda: faults.host_loss(host(), float(words[1])),
        "isolation": lambda: faults.isolation(net.hosts_of(words[0]), on=words[1] == "on"),
        "multicast": lambda: faults.multicast(net.hosts_of(words[0]), filtered=words[1] == "off"),
        "peerport": lambda: faults.peer_port(blocked=words[0] == "off"),
        "origin": lambda: asyncio.run(_origin(words[0])),
    }
    if options.kind not in known:
        sys.exit(f"There is no fault {options.kind}; there are {' '.join(known)}.")
    try:
        known[options.kind]()
    except (IndexError, StopIteration, KeyError, ValueError):
        sys.exit(f"{options.kind}: wrong words; see python -m tests.lab --help")


async def _origin(query: str) -> None:
    office = found()
    async with origin_session(office.net(), Path(office.directory)) as session:
        await OriginView(session, ORIGIN_URL).fault(**dict(urllib.parse.parse_qsl(query)))


def status(_: argparse.Namespace) -> None:
    net = found().net()
    for site, plan in net.sites.items():
        hosts = " ".join(f"{host.name} {host.address}" for host in net.hosts_of(site))
        if plan.on:
            CONSOLE.print(f"{site} at the router of {plan.on}: {hosts}")
            continue
        line = net.line(site)
        CONSOLE.print(f"{site}: {line.down / 1e6:.1f} MB down, {line.up / 1e6:.1f} up, {line.dropped} dropped: {hosts}")
    CONSOLE.print(f"net: {' '.join(f'{name} {address}' for name, address in HOSTS.items())}")


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__, formatter_class=shape)
    words = parser.add_subparsers(required=True)
    making = words.add_parser("up", help="build it and hold it up")
    making.add_argument("--site", type=_site, action="append", help="a=6; c=2@a: a second subnet at the router of a")
    making.add_argument("--isp", type=float, default=50, help="Mbit/s of each line; 0 is unlimited")
    making.add_argument("--rtt", type=float, default=20, help="ms; 0 builds lines without delay and loss")
    making.add_argument("--lan", type=float, default=0, help="Mbit/s of each host; 0 is unlimited")
    making.add_argument("--wan", type=float, default=0, help="Mbit/s of a private line between sites; 0 is none")
    making.add_argument("--nat", action="append", metavar="SITE", help="a translator at the router of this site")
    making.add_argument("--symmetric", action="store_true", help="translators with a port for each destination")
    making.add_argument("--ipv6", action="store_true")
    making.add_argument("--agents", action="store_true", help="a coordinator, and an agent on each host")
    making.add_argument("--viewers", action="store_true", help="an emulated viewer on each host")
    making.add_argument("--keep", action="store_true", help="keep the directory with logs and settings")
    making.set_defaults(act=up)
    running = words.add_parser("exec", help="a command on a host, a router (ra) or in the internet (net)")
    running.add_argument("host")
    running.add_argument("command", nargs=argparse.REMAINDER)
    running.set_defaults(act=execute)
    troubling = words.add_parser("fault", help="trouble, and its end; see above")
    troubling.add_argument("kind")
    troubling.add_argument("words", nargs="*")
    troubling.set_defaults(act=fault)
    words.add_parser("status", help="hosts, and what crossed the lines").set_defaults(act=status)
    words.add_parser("down", help="end it from another terminal").set_defaults(act=down)
    options = parser.parse_args()
    options.act(options)


if __name__ == "__main__":
    main()
