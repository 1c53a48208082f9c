"""The site map and where it places agents."""

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.sites import MapError, Placement, SiteMap, moves, place, read_address, read_map, read_networks
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.peer import LinkKind
from ecdn_proxy.wire.tracker import Network

MAP = """group,subnets,p2p,wan,label
Berlin,10.1.0.0/16 fd00:1::/48,on,no,Berlin HQ
Berlin,10.1.9.0/24,leech,no,Berlin guests
Shops,10.2.0.0/24 10.2.1.0/24,on,yes,Shops
Lab,10.3.0.0/16,off,no,
"""


def net(address: str, prefix: int, link: LinkKind = "wired", *, vpn: bool = False) -> Network:
    return Network(address, prefix, link, vpn)


def at(remote: str, *networks: Network, sites: SiteMap | None = None) -> Placement:
    return place(sites, read_networks(networks), read_address(remote))


@pytest.fixture(scope="module")
def berlin() -> SiteMap:
    return read_map(MAP, "map.csv")


def test_without_a_map_the_site_is_the_own_subnet() -> None:
    here = at("10.1.2.3", net("10.1.2.3", 24))
    assert (here.site, here.p2p, here.addresses) == ("10.1.2.0/24", "on", ("10.1.2.3",))
    assert "own subnet 10.1.2.0/24" in here.why


def test_groups_meet_across_the_wan_only_where_a_rule_joins_them(berlin: SiteMap) -> None:
    inside = net("10.1.2.3", 24), net("10.2.0.3", 24), net("10.2.1.3", 24)

    def sites(*rules: tuple[str, ...]) -> list[str]:
        ruled = SiteMap(berlin.rows, rules)
        return [at(it.address, it, sites=ruled).site for it in inside]

    assert sites() == ["Berlin", "Shops 10.2.0.0/24", "Shops 10.2.1.0/24"]
    assert sites(("Berlin", "Shops")) == ["Berlin + Shops"] * 3
    assert sites(("Shops",)) == ["Berlin", "Shops", "Shops"], "a rule for one group lets its own subnets meet"
    ruled = SiteMap(berlin.rows, [("Berlin", "Shops")])
    here = at("10.2.0.3", inside[1], sites=ruled)
    assert (here.label, here.p2p) == ("Shops", "on")
    assert "wan_peers lets Berlin + Shops share across the WAN" in here.why
    assert {"10.1.0.0/16", "10.2.0.0/24"} <= set(ruled.networks("Berlin + Shops"))
    assert at("10.1.9.3", net("10.1.9.3", 24), sites=ruled).p2p == "leech", "a row keeps its own rule"
    assert at("10.3.0.3", net("10.3.0.3", 24), sites=SiteMap(berlin.rows, [("Berlin", "Lab")])).p2p == "off"


def test_a_socket_from_another_address_of_the_subnet_is_believed() -> None:
    assert at("127.0.0.1", net("127.0.0.2", 8)).site == at("127.0.0.1", net("127.0.0.3", 8)).site == "127.0.0.0/8"


def test_of_two_networks_the_one_that_the_coordinator_sees_counts() -> None:
    here = at("192.168.7.4", net("10.1.2.3", 24), net("192.168.7.4", 24, "wifi"))
    assert (here.site, here.addresses, here.link) == ("192.168.7.0/24", ("192.168.7.4",), "wifi")


@pytest.mark.parametrize(
    ("remote", "network", "reason"),
    [
        ("10.8.0.5", net("10.8.0.5", 24, vpn=True), "VPN"),
        ("10.8.0.5", net("10.8.0.5", 24, "metered"), "metered"),
        ("10.8.0.5", net("10.8.0.5", 0), "no office"),
        ("169.254.1.5", net("169.254.1.5", 16), "no office"),
        ("203.0.113.9", net("10.8.0.5", 24, vpn=True), "no network"),
    ],
)
def test_networks_that_never_share(remote: str, network: Network, reason: str) -> None:
    here = at(remote, network)
    assert here.p2p == "off"
    assert here.addresses == ()
    assert reason in here.why


def test_behind_a_nat_only_the_same_address_and_subnet_share() -> None:
    home = at("203.0.113.9", net("192.168.1.5", 24))
    other_home = at("203.0.113.10", net("192.168.1.6", 24))
    assert home.site == "192.168.1.0/24 behind 203.0.113.9" != other_home.site
    assert "NAT" in home.why


def test_the_longest_prefix_of_the_map_wins(berlin: SiteMap) -> None:
    office = at("10.1.2.3", net("10.1.2.3", 24), sites=berlin)
    guest = at("10.1.9.3", net("10.1.9.3", 24), sites=berlin)
    assert (office.site, office.p2p, office.label) == ("Berlin", "on", "Berlin HQ")
    assert (guest.site, guest.p2p, guest.label) == ("Berlin", "leech", "Berlin guests")
    assert "line 2" in office.why
    assert "line 3" in guest.why


def test_a_group_over_a_wan_shares_inside_each_subnet(berlin: SiteMap) -> None:
    one = at("10.2.0.3", net("10.2.0.3", 24), sites=berlin)
    two = at("10.2.1.3", net("10.2.1.3", 24), sites=berlin)
    assert (one.site, two.site) == ("Shops 10.2.0.0/24", "Shops 10.2.1.0/24")


def test_off_and_unlisted_networks_do_not_share(berlin: SiteMap) -> None:
    assert at("10.3.0.3", net("10.3.0.3", 24), sites=berlin).p2p == "off"
    unlisted = at("10.4.0.3", net("10.4.0.3", 24), sites=berlin)
    assert unlisted.p2p == "off"
    assert "no row" in unlisted.why
    assert at("203.0.113.9", net("192.168.1.5", 24), sites=berlin).p2p == "off"


def test_the_address_that_is_seen_outweighs_the_one_that_is_said(berlin: SiteMap) -> None:
    assert at("10.3.0.3", net("10.1.2.3", 8), sites=berlin).p2p == "off"
    assert at("10.7.0.3", net("10.1.2.3", 8), sites=berlin).site == "Berlin", "an unlisted one says nothing"


def test_a_vpn_never_shares_though_the_map_lists_it(berlin: SiteMap) -> None:
    assert at("10.1.2.3", net("10.1.2.3", 24, vpn=True), sites=berlin).p2p == "off"


def test_a_claim_from_behind_an_unlisted_nat_shares_behind_that_nat_only(berlin: SiteMap) -> None:
    claim = at("203.0.113.9", net("10.1.2.3", 24), sites=berlin)
    assert claim.site == "Berlin behind 203.0.113.9"


def test_an_egress_address_in_the_map_joins_its_offices() -> None:
    sites = read_map(MAP + "Egress,203.0.113.0/24,on,no,Data centre\n", "map.csv")
    assert at("203.0.113.9", net("10.1.2.3", 24), sites=sites).site == "Berlin"
    assert at("203.0.113.9", net("172.16.4.3", 24), sites=sites).site == "Egress 172.16.4.0/24"


def test_mapped_ipv6_clothes_are_taken_off() -> None:
    assert read_address("::ffff:10.1.2.3") == IPv4Address("10.1.2.3")
    assert at("fe80::1%eth0", net("10.1.2.3", 24)).site.startswith("10.1.2.0/24 behind")


@pytest.mark.parametrize("network", [Network("nowhere", 24, "wired"), Network("10.1.2.3", 64, "wired")])
def test_a_network_that_is_none_is_the_agents_fault(network: Network) -> None:
    with pytest.raises(PeerMisbehaved):
        read_networks([network])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "map.csv:1: empty"),
        ("group,subnets,p2p,label\n", "column 'wan' is missing"),
        ("group,subnets,p2p,wan,label,x\n", "column 'x' is unknown"),
        ("group,subnets,p2p,wan,label,wan\n", "column 'wan' stands twice"),
        ('group,subnets,p2p,wan,label\nA,10.0.0.0/8,on,no,"' + "x" * 200_000 + '"\n', "not CSV"),
        (f"{MAP}Rome,10.9.0.1/16,on,no,\n", "map.csv:6, column subnets: '10.9.0.1/16'"),
        (f"{MAP}Rome,10.9.0.1/16,on,no,\n", "write 10.9.0.0/16"),
        (f"{MAP}Rome,ten,on,no,\n", "write it as 10.1.2.0/24"),
        (f"{MAP}Rome,,on,no,\n", "column subnets: empty"),
        (f"{MAP}Rome,10.9.0.0/16,maybe,no,\n", "column p2p: 'maybe'; write on, off or leech"),
        (f"{MAP}Rome,10.9.0.0/16,on,2,\n", "column wan: '2'; write yes or no"),
        (f"{MAP},10.9.0.0/16,on,no,\n", "column group"),
        (f"{MAP}Rome,10.9.0.0/16,on,no,{'x' * 121}\n", "column label: longer"),
        (f"{MAP}Rome,10.9.0.0/16,on\n", "too few cells"),
        (f"{MAP}Rome,10.9.0.0/16,on,no,a,b\n", "too many cells"),
        (f"{MAP}Rome,10.1.0.0/16,on,no,\n", "10.1.0.0/16 stands in line 2 already (Berlin)"),
    ],
)
def test_mistakes_say_file_line_column_and_cure(text: str, said: str) -> None:
    with pytest.raises(MapError) as caught:
        read_map(text, "map.csv")
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(MapError) as caught:
        read_map("group,subnets,p2p,wan,label\nA,x,on,no,\nB,10.0.0.0/8,x,x,\n", "map.csv")
    assert len(caught.value.mistakes) == 3


def test_a_wrong_file_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MapError) as caught:
        read_map("group,subnets,p2p,wan,label\n" + "A,x,on,no,\n" * 1_000, "map.csv")
    assert len(caught.value.mistakes) == 20
    monkeypatch.setattr("coordinator.core.sites.ROWS_MAX", 2)
    with pytest.raises(MapError, match="more than 2 subnets"):
        read_map("group,subnets,p2p,wan,label\nA,10.0.0.0/24 10.0.1.0/24 10.0.2.0/24,on,no,\n", "map.csv")


def test_a_sheet_from_excel_reads() -> None:
    sites = read_map('\ufeffGroup,Subnets,P2P,WAN,Label\r\n\r\n"A, B",10.0.0.0/8,ON,No,"x, y"\r\n', "map.csv")
    assert [(row.group, row.label, row.p2p, row.line) for row in sites.rows] == [("A, B", "x, y", "on", 3)]


def test_a_dry_run_names_who_would_move(berlin: SiteMap) -> None:
    known = [
        (name, read_networks([net(address, 24)]), read_address(address))
        for name, address in (("a", "10.1.2.3"), ("b", "10.4.0.3"))
    ]
    new = read_map("group,subnets,p2p,wan,label\nBerlin,10.1.0.0/16 10.4.0.0/16,on,no,\n", "new.csv")
    (move,) = moves(berlin, new, known)
    assert (move.device, move.before.p2p, move.after.site) == ("b", "off", "Berlin")
    assert len(moves(None, new, known)) == 2


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 32), st.booleans())
def test_a_site_name_fits_and_an_agent_that_does_not_share_gives_no_address(
    remote: object, address: object, prefix: int, vpn: bool
) -> None:
    sites = read_map(MAP, "map.csv")
    for site_map in (sites, None):
        here = place(site_map, read_networks([net(str(address), prefix, vpn=vpn)]), ip_address(str(remote)))
        assert len(here.site) <= 120
        assert len(here.label) <= 120
        assert bool(here.addresses) == (here.p2p != "off")
        if vpn:
            assert here.p2p == "off"


def test_a_very_long_site_name_is_cut_and_stays_its_own() -> None:
    name = "x" * 48
    sites = read_map(f"group,subnets,p2p,wan,label\n{name},2001:db8:1111:2222:3333:4444:5555:6666/128,on,yes,\n", "m")
    networks = (net("2001:db8:1111:2222:3333:4444:5555:6666", 128),)
    one = at("2001:db8:ffff:ffff:ffff:ffff:ffff:fff1", *networks, sites=sites)
    two = at("2001:db8:ffff:ffff:ffff:ffff:ffff:fff2", *networks, sites=sites)
    assert len(one.site) <= 120
    assert one.site != two.site
