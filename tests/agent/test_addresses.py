"""Where this machine may share, from its interfaces and settings."""

from ipaddress import ip_network

import pytest

from ecdn_proxy.agent.addresses import find_place
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.io.interfaces import Interface
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import LinkKind
from ecdn_proxy.wire.tracker import Network


def face(
    address: str, prefix: int = 24, link: LinkKind = "wired", *, vpn: bool = False, virtual: bool = False
) -> Interface:
    return Interface("eth0", address, prefix, link, vpn, virtual)


OFFICE = face("10.20.0.5")
RADIO = face("192.168.7.5", link="wifi")
TUNNEL = face("10.99.0.5", vpn=True)
PUBLIC = face("8.8.8.8")


def test_everywhere_means_the_private_networks_of_this_machine() -> None:
    place = find_place(Settings(), (OFFICE, RADIO, TUNNEL, PUBLIC))
    assert place.listen == ("0.0.0.0", 7688)
    assert place.addresses == ("10.20.0.5", "192.168.7.5")
    assert tuple(place.allowed) == (ip_network("10.20.0.0/24"), ip_network("192.168.7.0/24"))
    assert place.networks == (Network("10.20.0.5", 24, "wired", False), Network("192.168.7.5", 24, "wifi", False))
    assert place.link == "wired"


def test_networks_that_were_set_are_kept_to_and_a_tunnel_is_never_used() -> None:
    place = find_place(Settings(peer_networks=("10.0.0.0/8",)), (OFFICE, RADIO, TUNNEL))
    assert (place.addresses, tuple(place.allowed)) == (("10.20.0.5",), (ip_network("10.0.0.0/8"),))


def test_one_address_is_one_address() -> None:
    place = find_place(Settings(peer_listen="192.168.7.5:9000"), (OFFICE, RADIO))
    assert (place.listen, place.addresses) == (("192.168.7.5", 9000), ("192.168.7.5",))
    assert place.networks == (Network("192.168.7.5", 24, "wired", False),)
    laboratory = find_place(Settings(peer_listen="127.0.0.1:0", peer_networks=("127.0.0.0/8",)), ())
    assert laboratory.networks == (Network("127.0.0.1", 8, "wired", False),)
    assert find_place(Settings(peer_listen="[::1]:1"), (OFFICE,)).networks == ()


def test_a_machine_without_any_network_shares_nowhere() -> None:
    place = find_place(Settings(), ())
    assert (place.addresses, tuple(place.allowed), place.networks, place.link) == ((), (), (), "wired")


@pytest.mark.parametrize(
    ("set_to", "faces", "link"),
    [
        ("auto", (RADIO,), "wifi"),
        ("auto", (RADIO, OFFICE), "wired"),
        ("metered", (OFFICE,), "metered"),
        ("wifi", (OFFICE,), "wifi"),
    ],
)
def test_what_the_link_counts_as(set_to: str, faces: tuple[Interface, ...], link: LinkKind) -> None:
    assert find_place(Settings(link=set_to), faces).link == link  # type: ignore[arg-type]


def test_what_is_told_is_bounded() -> None:
    many = tuple(face(f"10.0.{number}.1") for number in range(40))
    place = find_place(Settings(), many)
    assert (len(place.addresses), len(place.networks)) == (8, 16)


def test_a_network_that_is_none_is_said() -> None:
    with pytest.raises(Unavailable):
        find_place(Settings(peer_networks=("ten",)), ())


def test_this_machine_can_be_placed() -> None:
    assert find_place(Settings()).listen == ("0.0.0.0", 7688)
