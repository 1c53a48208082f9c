import asyncio
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio
from zeroconf import ServiceInfo

from ecdn_proxy.io import mdns
from ecdn_proxy.io.mdns import DEVICES_MAX, SERVICE, Announced, MdnsBrowser, stream_tag
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from tests.io.forging import Forger
from tests.io.waiting import DEADLINE_S, Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = [ip_network("127.0.0.0/8")]
TAG = "0123456789abcdef"
STREAMS = ("ab" * 16, "cd" * 16)


class Here:
    """An agent's mDNS in this process."""

    def __init__(self, device: str, address: str, tag: str = TAG) -> None:
        self.record = Record()
        self.lan = MdnsBrowser(Announced(device, tag, 7_000, "wifi"), [address], LOOPBACK, self)

    def lan_seen(self, contact: Contact, stream_tags: tuple[str, ...], serves: bool) -> None:
        self.record.tell("seen")(contact, stream_tags, serves)

    def lan_lost(self, device: str) -> None:
        self.record.tell("lost")(device)

    def devices(self) -> set[str]:
        return {contact.device for contact, _, _ in self.record.all("seen")}


@pytest_asyncio.fixture
async def here() -> AsyncIterator[Here]:
    made = Here("here", "127.0.0.2")
    await made.lan.start()
    yield made
    await made.lan.close()


class There:
    """An agent in another process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return (await self.process.stdout.readline()).decode().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


async def another(device: str, address: str, tag: str = TAG) -> There:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.io.announcer", device, address, tag, stdin=pipe, stdout=pipe, cwd=REPOSITORY
    )
    return There(process)


async def test_two_processes_find_and_follow_each_other(here: Here) -> None:
    here.lan.set_streams(STREAMS, False)
    there = await another("there", "127.0.0.3")
    try:
        assert await there.line() == "started"
        contact, tags, serves = await here.record.first("seen")
        assert contact == Contact("there", ("127.0.0.3",), 7688, "wired")
        assert (tags, serves) == ((), True)
        expected = f"seen here 127.0.0.2 7000 {','.join(stream_tag(each) for each in STREAMS)} False"
        while await there.line() != expected:
            continue
        there.say(f"streams {STREAMS[1]} False")
        await here.record.until(lambda: (contact, ("cdcdcdcd",), False) in here.record.all("seen"))
        there.say("quit")
        assert await here.record.first("lost") == ("there",)
    finally:
        await there.end()


async def test_another_tenant_is_not_seen(here: Here) -> None:
    stranger, friend = Here("stranger", "127.0.0.3", "f" * 16), Here("friend", "127.0.0.4")
    await stranger.lan.start()
    await friend.lan.start()
    try:
        await here.record.until(lambda: "friend" in here.devices())
        await friend.record.until(lambda: "here" in friend.devices())
        assert here.devices() == {"friend"}
        assert not stranger.record.told
    finally:
        await stranger.lan.close()
        await friend.lan.close()


def forged(device: str, address: str = "127.0.0.77", **changed: str) -> ServiceInfo:
    said = {"v": "1", "id": device, "t": TAG, "l": "wired", "up": "1", "s": ""} | changed
    return ServiceInfo(
        SERVICE, f"{device}.{SERVICE}", 7688, properties=said, server=f"{device}.local.", parsed_addresses=[address]
    )


async def test_records_that_are_not_of_an_agent_are_passed_over(here: Here) -> None:
    with Forger("127.0.0.5") as forger:
        for number, info in enumerate(
            [
                forged("f0", address="192.0.2.9"),
                forged("f1", t="other"),
                forged("f2", v="99"),
                forged("f3", id="somebody-else"),
                forged("f4", l="carrier pigeon"),
                forged("here", address="127.0.0.66"),
            ]
        ):
            forger.announce(info, identity=number)
        forger.announce(forged("good", s="abcdef01,zz,ABCDEF01," + ",".join(f"{n:08x}" for n in range(20))))
        await here.record.until(lambda: "good" in here.devices())
    contact, tags, _ = here.record.all("seen")[0]
    assert here.devices() == {"good"}
    assert contact.addresses == ("127.0.0.77",)
    assert tags[0] == "abcdef01"
    assert len(tags) <= mdns.STREAM_TAGS_MAX


async def test_a_goodbye_is_believed(here: Here) -> None:
    with Forger("127.0.0.5") as forger:
        forger.announce(forged("short"))
        await here.record.first("seen")
        forger.announce(forged("short"), ttl=0)
        assert await here.record.first("lost") == ("short",)


async def test_a_flood_of_forged_records_is_bounded(here: Here) -> None:
    tracemalloc.start()
    try:
        with Forger("127.0.0.5") as forger:
            for number in range(10_000):
                forger.announce(forged(f"flood-{number}"), identity=number)
                if number % 50 == 0:
                    await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE_S):  # the socket's own buffer may drop any one packet of a flood
                while not any(tags for _, tags, _ in here.record.all("seen")):
                    forger.announce(forged("flood-0", s="abcdef01"), identity=(number := (number + 1) % 60_000))
                    await asyncio.sleep(0.01)
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(here.devices()) <= DEVICES_MAX
    assert grown_bytes < 64_000_000


async def test_nothing_tells_a_host_or_a_user(here: Here) -> None:
    info = here.lan._info()
    said = b"".join([info.text, info.name.encode(), (info.server or "").encode()]).decode().lower()
    assert socket.gethostname().lower() not in said
    assert info.server == "here.local."


async def test_no_multicast_is_said() -> None:
    with pytest.raises(Unavailable, match="mDNS"):
        await Here("x", "192.0.2.222").lan.start()
