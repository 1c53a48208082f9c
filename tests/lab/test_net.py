"""The network itself: who reaches whom, what is counted, what each fault does, and that nothing is left."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.demo.clock import seconds
from tests.demo.processes import REPOSITORY
from tests.lab import shell
from tests.lab.faults import Faults
from tests.lab.guard import ETC
from tests.lab.inside import Inside
from tests.lab.net import ORIGIN, Host, Net, NetPlan, SitePlan, standing
from tests.lab.stun import mapped

pytestmark = pytest.mark.office

TWO_SITES = (SitePlan("a", 3), SitePlan("b", 1), SitePlan("c", 1, on="a"))
MDNS = ("224.0.0.251", 5353)
PATIENCE_S = 20.0
"""For what must come; on a quiet machine it comes at once."""
IN_VAIN_S = 0.5
"""For what must not come: a busy machine makes this shorter, never a failure."""


@contextlib.contextmanager
def _socket(namespace: str, kind: socket.SocketKind, within_s: float = PATIENCE_S) -> Iterator[socket.socket]:
    with Inside(namespace).entered():
        made = socket.socket(socket.AF_INET, kind)
    with made:
        made.settimeout(within_s)
        yield made


def reaches(host: Host, address: str, namespace: str, port: int = 7688, within_s: float = PATIENCE_S) -> bool:
    """Whether a connection can be made."""
    with (
        _socket(namespace, socket.SOCK_STREAM) as listener,
        _socket(host.namespace, socket.SOCK_STREAM, within_s) as caller,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        try:
            caller.connect((address, port))
        except OSError:
            return False
        return True


def cut_off(host: Host, address: str, namespace: str) -> bool:
    """Whether no connection can be made."""
    return not reaches(host, address, namespace, within_s=IN_VAIN_S)


def hears(net: Net, speaker: str, listener: str, within_s: float = PATIENCE_S) -> bool:
    """Whether mDNS of one host comes to another."""
    there, here = net.host(speaker), net.host(listener)
    with (
        _socket(there.namespace, socket.SOCK_DGRAM) as mouth,
        _socket(here.namespace, socket.SOCK_DGRAM, within_s) as ear,
    ):
        ear.bind(("", MDNS[1]))
        member = socket.inet_aton(MDNS[0]) + socket.inet_aton(here.address)
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(there.address))
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        mouth.sendto(b"hello", MDNS)
        try:
            return ear.recv(100) == b"hello"
        except TimeoutError:
            return False


def deaf_to(net: Net, speaker: str, listener: str) -> bool:
    """Whether mDNS of one host does not come to another."""
    return not hears(net, speaker, listener, within_s=IN_VAIN_S)


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold: `link` reads its weather now and then."""
    limit = seconds() + PATIENCE_S
    while not (held := holds()) and seconds() < limit:
        time.sleep(0.05)
    return held


def download(net: Net, host: Host, size: int) -> float:
    """Seconds to fetch `size` bytes from the internet."""
    with _socket(net.internet, socket.SOCK_STREAM) as server, _socket(host.namespace, socket.SOCK_STREAM) as client:
        server.bind((ORIGIN, 0))
        server.listen()
        client.connect(server.getsockname())
        giver, _ = server.accept()
        with giver:
            begun, left, sent = seconds(), size, 0
            giver.setblocking(False)
            while left:
                with contextlib.suppress(BlockingIOError):
                    sent += giver.send(bytes(min(65536, size - sent))) if sent < size else 0
                left -= len(client.recv(65536))
            return seconds() - begun


@pytest.mark.asyncio
async def test_sites_subnets_and_the_internet(tmp_path: Path) -> None:
    async with Net(NetPlan(TWO_SITES, ipv6=True), tmp_path) as net:
        assert standing(net.namespaces()) == net.namespaces()
        a1, a2, b1, c1 = map(net.host, ("a1", "a2", "b1", "c1"))
        assert reaches(a1, a2.address, a2.namespace)
        assert reaches(a1, c1.address, c1.namespace)
        assert net.between_sites() == 0
        assert reaches(a1, b1.address, b1.namespace)
        assert net.between_sites() > 100
        assert all(reaches(host, ORIGIN, net.internet) for host in net.hosts_of())
        assert [net.site_at(host.address) for host in (a1, b1, c1)] == ["a", "b", "a"]
        assert hears(net, "a1", "a2")
        assert deaf_to(net, "a1", "c1")
        assert deaf_to(net, "a1", "b1")
        hosts = shell.run(*shell.inside(a1.namespace, "cat", "/etc/hosts"))
        assert f"{ORIGIN} origin.demo.test" in hosts
    assert standing(net.namespaces()) == []
    assert not [name for name in net.namespaces() if (ETC / name).exists()]


@pytest.mark.asyncio
@pytest.mark.parametrize("rtt_ms", [0.0, 20.0])
async def test_the_line_is_as_fast_as_said_and_counts_what_it_carries(
    tmp_path: Path, rtt_ms: float, quiet_machine: bool
) -> None:
    async with Net(NetPlan((SitePlan("a", 1),), isp_mbps=20, rtt_ms=rtt_ms), tmp_path) as net:
        before = net.line("a")
        passed = download(net, net.host("a1"), 1_000_000)
        carried = net.line("a").since(before)
        assert passed > 0.35  # 0.4 s of 20 Mbit/s
        if quiet_machine:
            assert passed < 0.9  # and TCP's start over the round trip
        assert 1_030_000 < carried.down < 1_100_000  # 40 bytes of headers for each 1448
        assert carried.up < 60_000
        Faults(net).rate("a", 4)
        assert soon(lambda: download(net, net.host("a1"), 500_000) > 0.9)


@pytest.mark.asyncio
async def test_faults_of_cable_line_and_air(tmp_path: Path, quiet_machine: bool) -> None:
    async with Net(NetPlan(TWO_SITES, isp_mbps=50, rtt_ms=10), tmp_path) as net:
        faults, hosts = Faults(net), net.hosts_of("a")
        a1, a2, c1 = map(net.host, ("a1", "a2", "c1"))

        def neighbours() -> bool:
            """A bridge's port takes a moment to forward: TCP asks again a second later."""
            return reaches(a1, a2.address, a2.namespace)

        def strangers() -> bool:
            return cut_off(a1, a2.address, a2.namespace)

        faults.cable(a2, plugged=False)
        assert strangers()
        faults.cable(a2, plugged=True)
        assert neighbours()
        assert reaches(a2, ORIGIN, net.internet)

        faults.isp("a", up=False)
        assert cut_off(a1, ORIGIN, net.internet)
        assert neighbours()
        faults.isp("a", up=True)
        assert reaches(a1, ORIGIN, net.internet)

        faults.isolation(hosts, on=True)
        assert strangers()
        assert reaches(a1, ORIGIN, net.internet)
        faults.isolation(hosts, on=False)
        assert neighbours()

        faults.multicast(hosts, filtered=True)
        assert deaf_to(net, "a1", "a2")
        assert neighbours()
        faults.multicast(hosts, filtered=False)
        assert hears(net, "a1", "a2")

        faults.peer_port(blocked=True)
        assert cut_off(a1, c1.address, c1.namespace)
        assert neighbours()
        faults.peer_port(blocked=False)
        assert reaches(a1, c1.address, c1.namespace)

        faults.host_loss(a2, 100)
        assert strangers()
        faults.host_loss(a2, 0)
        assert neighbours()

        faults.loss("a", 100)
        assert soon(lambda: cut_off(a1, ORIGIN, net.internet))
        faults.loss("a", 0)
        assert reaches(a1, ORIGIN, net.internet)
        faults.delay("a", 100)
        took = 0.0

        def slow() -> bool:
            nonlocal took
            begun = seconds()
            assert reaches(a1, ORIGIN, net.internet)
            took = seconds() - begun
            return took > 0.2

        assert soon(slow)
        if quiet_machine:
            assert took < 0.4


@pytest.mark.asyncio
async def test_address_translators_of_both_kinds(tmp_path: Path) -> None:
    sites = (SitePlan("a", 1, nat="independent"), SitePlan("b", 1, nat="symmetric"))
    async with Net(NetPlan(sites), tmp_path) as net:
        one, other = mapped(net, net.host("a1"))
        assert one == other
        assert one[0] == "198.51.100.6"
        one, other = mapped(net, net.host("b1"))
        assert one[0] == other[0] == "198.51.100.10"
        assert one[1] != other[1]
        assert cut_off(net.host("a1"), net.host("b1").address, net.host("b1").namespace)
        assert net.site_at(one[0]) == "b"


_DYING = """
import asyncio, json, sys
from pathlib import Path
from tests.lab.net import Net, NetPlan, SitePlan
from tests.lab.shell import inside

async def main():
    async with Net(NetPlan((SitePlan("a", 2),), rtt_ms=5), Path(sys.argv[1])) as net:
        child = await asyncio.create_subprocess_exec(*inside(net.host("a1").namespace, "sleep", "60"))
        print(json.dumps([net.namespaces(), child.pid]), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DYING, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        names, inhabitant = json.loads(maker.stdout.readline())
        assert standing(names) == names
        maker.send_signal(signal.SIGKILL)
        maker.wait(PATIENCE_S)
    limit = seconds() + PATIENCE_S
    while standing(names) and seconds() < limit:
        time.sleep(0.1)
    assert standing(names) == []
    with contextlib.suppress(psutil.NoSuchProcess):  # an orphan stays listed until its new parent has looked
        assert psutil.Process(inhabitant).status() == psutil.STATUS_ZOMBIE
    assert not [name for name in names if (ETC / name).exists()]
