"""Which targets are refused before and after DNS."""

import asyncio
import socket
from typing import Any

import pytest

from ecdn_proxy.core.settings import Settings
from ecdn_proxy.front.http.targets import TargetRefused, Targets


def answering(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Stands for a name server."""

    async def look_up(self: object, host: str, port: int, **_: Any) -> list[Any]:
        families = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (one, port)) for family, one in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "a.localhost", "0.0.0.0", "::1", "::ffff:7f00:1", "2130706433", "0x7f.1", "10.0.0.1"],
)
def test_local_spellings(host: str) -> None:
    with pytest.raises(TargetRefused):
        Targets(Settings()).check_name(host, 80)
    Targets(Settings(allow_local_origins=True)).check_name(host, 80)


def test_public_spellings_pass() -> None:
    for host in ("stream.test", "8.8.8.8", "2606:4700::1111", "a.b"):
        Targets(Settings()).check_name(host, 80)


@pytest.mark.asyncio
async def test_a_name_that_leads_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for addresses in (("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("fe80::1%eth0",), ("169.254.169.254",)):
        answering(monkeypatch, *addresses)
        with pytest.raises(TargetRefused, match="private network"):
            await Targets(Settings()).resolve("rebound.test", 443)


@pytest.mark.asyncio
async def test_the_checked_address_is_the_one_given(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "2606:4700::1111", "8.8.8.8")
    assert await Targets(Settings()).resolve("a.test", 443) == "8.8.8.8"
    answering(monkeypatch, "2606:4700::1111")
    assert await Targets(Settings()).resolve("a.test", 443) == "2606:4700::1111"


@pytest.mark.asyncio
async def test_fixed_hosts_are_checked_too() -> None:
    fixed = {"A.test": "127.0.0.1", "b.test": "8.8.8.8"}
    with pytest.raises(TargetRefused):
        await Targets(Settings(origin_hosts=fixed)).resolve("a.test.", 443)
    assert await Targets(Settings(origin_hosts=fixed)).resolve("b.test", 443) == "8.8.8.8"
    assert await Targets(Settings(origin_hosts=fixed, allow_local_origins=True)).resolve("a.test", 1) == "127.0.0.1"


@pytest.mark.asyncio
async def test_own_ports_are_ours_on_every_address_of_this_machine() -> None:
    targets = Targets(Settings(allow_local_origins=True))
    targets.own_ports.add(3128)
    for host in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::ffff:127.0.0.1"):
        with pytest.raises(TargetRefused, match="agent itself"):
            await targets.resolve(host, 3128)
        assert await targets.resolve(host, 3129) == host
    assert await targets.resolve("8.8.8.8", 3128) == "8.8.8.8"
    with pytest.raises(TargetRefused):
        targets.check_name("localhost", 3128)
