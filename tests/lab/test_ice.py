"""The cases of ICE between two machines: which pairs find a way, by which address, and how none is noticed."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from coordinator.io.stun import StunResponder
from ecdn_proxy.io.webrtc.engine import EngineName, missing
from ecdn_proxy.sansio.tasks import Tasks
from tests.demo.clock import seconds
from tests.demo.processes import REPOSITORY
from tests.io.switching import authority, identity
from tests.lab import shell
from tests.lab.inside import Inside
from tests.lab.net import NEAR, STUN, Host, Nat, Net, NetPlan, SitePlan

pytestmark = [pytest.mark.office, pytest.mark.asyncio]

SERVER = f"{STUN[0]}:3478"
PATIENCE_S = 60.0
"""A guard only: on a quiet machine nothing takes longer than 12 s."""
ENGINES: tuple[tuple[EngineName, EngineName], ...] = (("aiortc", "aiortc"), ("wrtc", "aiortc"), ("aiortc", "wrtc"))


@dataclass
class End:
    """One process in a namespace."""

    process: asyncio.subprocess.Process
    host: Host
    events: list[list[str]] = field(default_factory=list)
    said: int = 0

    def tell(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((" ".join(words) + "\n").encode())

    async def event(self, kind: str) -> list[str]:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [it for it in self.events if it[0] == kind]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found[0]


async def _read(end: End, others: list[End]) -> None:
    assert end.process.stdout is not None
    while line := (await end.process.stdout.readline()).decode().strip():
        kind, _, rest = line.partition(" ")
        if kind == "say":
            end.said += 1
            for other in others:
                other.tell("heard", rest)
        else:
            end.events.append([kind, *rest.split(" ", 1)])


@asynccontextmanager
async def ends(
    plan: NetPlan,
    folder: Path,
    a: str,
    b: str,
    *,
    stun: bool,
    udp: bool = True,
    engines: tuple[EngineName, EngineName] = ("aiortc", "aiortc"),
) -> AsyncIterator[list[End]]:
    """Two hubs on the hosts `a` and `b` of a network made for them, and a STUN server in the internet."""
    for why in (missing(engine) for engine in engines):
        if why is not None:
            pytest.skip(why)
    tenant = authority(folder / "tenant")
    tasks = Tasks(lambda name, error: pytest.fail(f"{name}: {error!r}"))
    async with Net(plan, folder) as net:
        responder = StunResponder(STUN[0], 3478)
        await _inside(net, responder)
        for site in (it for it in plan.sites if it.nat != "none"):
            # As an office's router does. Else Linux takes what was not asked for as its own, and then gives the
            # answer to it another port, which no endpoint-independent NAT would.
            rule = f"chain in {{ type filter hook input priority 0; iifname {NEAR} ct state new drop\n}}"
            shell.nft(net.router(site.name), f"table inet unasked {{ {rule}\n}}")
        if not udp:
            rule = "chain forward { type filter hook forward priority 0; meta l4proto udp drop\n}"
            shell.nft(net.router(net.main_site(net.host(a).site)), f"table inet noudp {{ {rule}\n}}")
        made: list[End] = []
        for device, name, engine in (("a", a, engines[0]), ("b", b, engines[1])):
            host = net.host(name)
            file = folder / f"{device}.json"
            file.write_bytes(msgspec.json.encode(identity(tenant, device)))
            command = [sys.executable, "-m", "tests.lab.rtcend", "--address", host.address, "--identity", str(file)]
            command += ["--networks", "10.0.0.0/8", *(["--stun", SERVER] if stun else [])]
            command += ["--engine", engine]
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *shell.inside(host.namespace, *command), stdin=pipe, stdout=pipe, limit=1 << 20, cwd=REPOSITORY
            )
            made.append(End(process, host))
        for end in made:
            tasks.start(_read(end, [it for it in made if it is not end]), "reader")
        try:
            yield made
        finally:
            for end in made:
                end.tell("stop")
            await asyncio.gather(*(end.process.wait() for end in made))
            await tasks.close()
            await responder.close()


async def _inside(net: Net, responder: StunResponder) -> None:
    """The responder's socket is made in the internet's namespace."""
    with Inside(net.internet).entered():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((STUN[0], 3478))
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    responder._gone = loop.create_future()
    responder._transport, _ = await loop.create_datagram_endpoint(lambda: responder, sock=made)


async def link(end: End, other: End) -> tuple[str, str, float]:
    """The addresses at which the two see each other, and how long it took; one offer, one answer, no second attempt."""
    begun = seconds()
    end.tell("dial", "b", other.host.address)
    seen = (await end.event("opened"))[2]
    back = (await other.event("opened"))[2]
    took = seconds() - begun
    assert [kind for kind, *_ in (*end.events, *other.events)] == ["opened"] * 2
    assert (end.said, other.said) == (1, 1)
    return seen, back, took


async def test_one_subnet(tmp_path: Path, quiet_machine: bool) -> None:
    async with ends(NetPlan((SitePlan("a", 2),)), tmp_path, "a1", "a2", stun=False) as (one, two):
        seen, back, took = await link(one, two)
        assert (seen, back) == (two.host.address, one.host.address)
        if quiet_machine:
            assert took < 3


@pytest.mark.parametrize("engines", ENGINES, ids="-".join)
async def test_routed_subnets_with_tcp_blocked(
    tmp_path: Path, engines: tuple[EngineName, EngineName], quiet_machine: bool
) -> None:
    plan = NetPlan((SitePlan("a", 1), SitePlan("b", 1, on="a")))
    async with ends(plan, tmp_path, "a1", "b1", stun=False, engines=engines) as (one, two):
        seen, back, took = await link(one, two)
        assert (seen, back) == (two.host.address, one.host.address)
        if quiet_machine:
            assert took < 3


@pytest.mark.parametrize("engines", ENGINES, ids="-".join)
@pytest.mark.parametrize("other", ["none", "independent"])
async def test_nat_that_is_independent_of_the_endpoint_with_stun(
    tmp_path: Path, other: Nat, engines: tuple[EngineName, EngineName], quiet_machine: bool
) -> None:
    plan = NetPlan((SitePlan("a", 1, nat="independent"), SitePlan("b", 1, nat=other)))
    async with ends(plan, tmp_path, "a1", "b1", stun=True, engines=engines) as (one, two):
        seen, back, took = await link(one, two)
        if engines[1] == "aiortc":  # wrtc hides the address of a peer that only ICE's checks have found
            assert back.startswith("198.51.100."), "a's outer address"
        if engines[0] == "aiortc":
            assert seen.startswith("198.51.100." if other != "none" else "10.2.")
        if quiet_machine:
            assert took < 6


async def test_symmetric_nat_on_both_sides_has_no_way_and_makes_no_storm(tmp_path: Path, quiet_machine: bool) -> None:
    plan = NetPlan((SitePlan("a", 1, nat="symmetric"), SitePlan("b", 1, nat="symmetric")))
    async with ends(plan, tmp_path, "a1", "b1", stun=True) as (one, two):
        begun = seconds()
        one.tell("dial", "b", two.host.address)
        why = (await one.event("closed"))[2]
        assert "no way" in why
        if quiet_machine:
            assert seconds() - begun < 12
        assert one.said + two.said <= 4
        assert not [it for it in one.events + two.events if it[0] == "opened"]


async def test_no_udp_between_the_subnets(tmp_path: Path) -> None:
    plan = NetPlan((SitePlan("a", 1), SitePlan("b", 1, on="a")))
    async with ends(plan, tmp_path, "a1", "b1", stun=False, udp=False) as (one, two):
        two.tell("dial", "a", one.host.address)
        assert (await two.event("closed"))[1] == "a"
