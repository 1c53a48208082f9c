import socket

import pytest

from ecdn_proxy.io.address_guard import Forbidden, GuardedResolver, forbidden, guarded_socket


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "224.0.0.251",
        "255.255.255.255", "100.64.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::fb",
        "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:8.8.8.8", "2002:7f00:1::", "64:ff9b:1::1", "64:ff9b::7f00:1",
        "name",
    ],
)  # fmt: skip
def test_no_origin_lives_there(address: str) -> None:
    assert forbidden(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(Forbidden):
        guarded_socket((family, socket.SOCK_STREAM, 6, "", (address, 443)))


@pytest.mark.parametrize("address", ["8.8.8.8", "64:ff9b::808:808", "2606:2800:220:1:248:1893:25c8:1946"])
def test_origins_live_there(address: str) -> None:
    assert forbidden(address) is None


@pytest.mark.asyncio
async def test_fixed_names_come_first() -> None:
    resolver = GuardedResolver({"Origin.Test.": "10.0.0.9", "six.test": "fd00::9"})
    found = await resolver.resolve("origin.test", 443)
    assert [(each["host"], each["port"], each["family"]) for each in found] == [("10.0.0.9", 443, socket.AF_INET)]
    assert (await resolver.resolve("six.test", 80))[0]["family"] == socket.AF_INET6
    assert (await resolver.resolve("127.0.0.1", 80))[0]["host"] == "127.0.0.1"
    await resolver.close()
