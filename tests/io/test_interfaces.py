from ipaddress import ip_network
from pathlib import Path

import pytest

from ecdn_proxy.io import interfaces as host
from ecdn_proxy.io.interfaces import Interface
from ecdn_proxy.wire.faults import Unavailable


def test_this_machine_has_loopback() -> None:
    found = [each for each in host.interfaces() if each.address == "127.0.0.1"]
    assert found
    assert found[0].network == ip_network("127.0.0.0/8")
    assert found[0].link == "wired"


@pytest.mark.parametrize(
    ("name", "vpn", "virtual"),
    [
        ("eth0", False, False),
        ("enp3s0", False, False),
        ("wlan0", False, False),
        ("tun0", True, False),
        ("wg1", True, False),
        ("utun4", True, False),
        ("ppp0", True, False),
        ("tailscale0", True, False),
        ("Cisco AnyConnect Virtual Miniport", True, False),
        ("docker0", False, True),
        ("br-1234", False, True),
        ("veth12", False, True),
        ("vEthernet (WSL)", False, True),
        ("bridge100", False, True),
    ],
)
def test_tunnels_and_bridges_are_known_by_name(name: str, vpn: bool, virtual: bool) -> None:
    found = host._interface(name, name, "10.1.2.3", 24)
    assert (found.vpn, found.virtual) == (vpn, virtual)


def test_link_kind_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "wlp2s0" / "wireless").mkdir(parents=True)
    (tmp_path / "wlan9").mkdir()
    assert host.link_kind("wlp2s0", sysfs=tmp_path) == "wifi"
    assert host.link_kind("wlan9", sysfs=tmp_path) == "wired"
    assert host.link_kind("../etc", sysfs=tmp_path) == "wired"


def test_link_kind_elsewhere_from_the_name(tmp_path: Path) -> None:
    absent = tmp_path / "none"
    assert host.link_kind("{GUID}", "Wi-Fi", absent) == "wifi"
    assert host.link_kind("{GUID}", "Ethernet", absent) == "wired"


def test_only_private_networks_without_tunnels_are_shared_in() -> None:
    def on(name: str, address: str, prefix: int = 24) -> Interface:
        return host._interface(name, name, address, prefix)

    found = (
        on("lo", "127.0.0.1", 8),
        on("eth0", "10.1.2.3"),
        on("eth0", "10.1.2.4"),
        on("eth1", "192.0.2.7"),
        on("tun0", "10.9.0.1"),
        on("docker0", "172.17.0.1", 16),
        on("eth0", "fd00::2", 64),
    )
    assert host.private_networks(found) == (ip_network("10.1.2.0/24"), ip_network("fd00::/64"))


def test_networks_as_written() -> None:
    assert host.parse_networks([" 10.1.2.3/8", "fd00::/8"]) == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    with pytest.raises(Unavailable, match="not a network"):
        host.parse_networks(["office"])


@pytest.mark.parametrize(("address", "private"), [("172.31.0.1", True), ("172.32.0.1", False), ("fd12::1", True)])
def test_private(address: str, private: bool) -> None:
    assert host.is_private(address) is private
