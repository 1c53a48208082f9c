"""Which site an agent is at, and why: by the site map of IT, or by the agent's own subnet when there is no map.

    read_map(text, file)                CSV -> SiteMap, or MapError with file, line, column and cure of every mistake
    read_networks(here.networks)        the networks that an agent reports -> Interfaces
    place(sites, interfaces, remote)    -> Placement, with its reason in words
    moves(old, new, known)              the agents that a new map would move

What an agent reports is a claim; the address that its socket comes from is a fact. Where the two agree the claim is
taken. Where a NAT stands between them, agents share only behind the same NAT address, unless the map lists that
address.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

import msgspec

from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import LinkKind
from ecdn_proxy.wire.tracker import Network

type Address = IPv4Address | IPv6Address
type Subnet = IPv4Network | IPv6Network
P2P = Literal["on", "off", "leech"]

COLUMNS = ("group", "subnets", "p2p", "wan", "label")
GROUP_CHARACTERS_MAX = 48
"""A site's name is its group's name, perhaps with a subnet and an address behind it; 120 characters fit the
protocol."""
LABEL_CHARACTERS_MAX = 120
ROWS_MAX = 100_000
MISTAKES_MAX = 20
"""Reading ends after so many mistakes: it is the wrong file."""
_SHORTEST_PREFIX = {4: 8, 6: 16}
"""By IP version. A network with a shorter prefix is no subnet of an office."""


class MapError(Exception):
    """The site map cannot be used; `mistakes` has a line for each mistake: where it is and what to do."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = list(mistakes)


class MapRow(msgspec.Struct, frozen=True):
    """One subnet of the site map."""

    group: str
    subnet: Subnet
    p2p: P2P
    wan: bool
    label: str
    line: int

    @property
    def site(self) -> str:
        """The name of what shares: the whole group, or this subnet alone when a WAN joins the group's subnets."""
        return f"{self.group} {self.subnet}" if self.wan else self.group


NETWORKS_MAX = 256
"""Subnets of its site that an agent is told of, as `Welcome.networks` may hold; of larger sites the first of the
map."""


class SiteMap:
    """The subnets of a tenant and their sites; of rows that hold an address the one with the longest prefix counts.

    `wan_peers` are sets of groups whose agents may meet across a WAN (the setting of that name); each set is one site.
    """

    def __init__(self, rows: Iterable[MapRow], wan_peers: Sequence[Sequence[str]] = ()) -> None:
        self.rows = tuple(rows)
        self._joint = {group: " + ".join(groups) for groups in wan_peers for group in groups}
        self._by_length: dict[tuple[int, int], dict[int, MapRow]] = {}
        for row in self.rows:
            key = (row.subnet.version, row.subnet.prefixlen)
            self._by_length.setdefault(key, {})[int(row.subnet.network_address)] = row
        self._lengths = sorted(self._by_length, reverse=True)

    def networks(self, site: str) -> tuple[str, ...]:
        """The subnets of a site, whose agents may connect to each other, as CIDR."""
        return tuple(str(row.subnet) for row in self.rows if self.site_of(row) == site)[:NETWORKS_MAX]

    def site_of(self, row: MapRow) -> str:
        """The site of a row: by itself (`MapRow.site`), unless `wan_peers` joins its group to others."""
        return _name(self._joint.get(row.group, row.site))

    def joint(self, row: MapRow) -> str:
        """The groups that `wan_peers` joins with this row's group, as one name; "" when it is joined with none."""
        return self._joint.get(row.group, "")

    def find(self, address: Address) -> MapRow | None:
        """The row with the longest prefix that holds `address`; None when no row does."""
        number = int(address)
        for version, length in self._lengths:
            if version == address.version:
                low = address.max_prefixlen - length
                if (row := self._by_length[version, length].get(number >> low << low)) is not None:
                    return row
        return None


class Interface(msgspec.Struct, frozen=True):
    """One network that an agent reports, parsed."""

    address: Address
    subnet: Subnet
    link: LinkKind
    vpn: bool

    @property
    def shareable(self) -> bool:
        """May agents share over it? Never over a VPN, a metered or a link-local network, or one of impossible size."""
        return (
            not self.vpn
            and self.link != "metered"
            and not self.address.is_link_local
            and self.subnet.prefixlen >= _SHORTEST_PREFIX[self.subnet.version]
        )


class Placement(msgspec.Struct, frozen=True):
    """Where an agent is, and what it may do there."""

    site: str
    """Agents share inside one site only."""
    label: str
    """What people see for the site."""
    p2p: P2P
    """`leech`: it takes from others and gives nothing."""
    why: str
    subnet: str
    """CIDR; "" when none is known."""
    addresses: tuple[str, ...]
    """Where other agents may connect to it, the best first; empty when it does not share."""
    link: LinkKind


class Move(msgspec.Struct, frozen=True):
    """What a new map does to one agent."""

    device: str
    before: Placement
    after: Placement


def read_address(text: str) -> Address:
    """A literal address, without its scope; an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) as IPv4.

    Raises:
        ValueError: `text` is no literal address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def read_networks(networks: Iterable[Network]) -> tuple[Interface, ...]:
    """The networks that an agent reports, parsed.

    Raises:
        PeerMisbehaved: an address is none, or its prefix is too long for it.
    """
    interfaces = []
    for network in networks:
        try:
            address = read_address(network.address)
            subnet = ip_network((address, network.prefix), strict=False)
        except ValueError as error:
            raise PeerMisbehaved(f"a network that is none: {network.address}/{network.prefix} ({error})") from error
        interfaces.append(Interface(address, subnet, network.link, network.vpn))
    return tuple(interfaces)


def place(sites: SiteMap | None, interfaces: Sequence[Interface], remote: Address) -> Placement:
    """The site of an agent that reports `interfaces` and whose socket comes from `remote`."""
    connected = max(
        (i for i in interfaces if remote in i.subnet),
        key=lambda i: (i.address == remote, i.subnet.prefixlen, i.shareable),
        default=None,
    )
    if connected is not None:
        if connected.vpn:
            return _off(
                f"vpn {connected.subnet}",
                f"it comes through a VPN ({connected.address}); a VPN never shares",
                connected,
            )
        if connected.link == "metered":
            why = f"its network {connected.subnet} is metered and never shares"
            return _off(f"metered {connected.subnet}", why, connected)
        if not connected.shareable:
            return _off(f"unknown {remote}", f"its network {connected.subnet} is no office's subnet", connected)
        return _where_it_says(sites, connected, interfaces, remote)
    usable = sorted((i for i in interfaces if i.shareable), key=lambda i: i.link != "wired")
    if not usable:
        return _off(f"unknown {remote}", "it reports no network that may share (only VPN, metered or none)", None)
    return _behind_nat(sites, usable, remote)


def moves(
    old: SiteMap | None, new: SiteMap | None, known: Iterable[tuple[str, Sequence[Interface], Address]]
) -> list[Move]:
    """The agents whose site or right to share would change; `known` has device, interfaces and remote address."""
    found = []
    for device, interfaces, remote in known:
        before, after = place(old, interfaces, remote), place(new, interfaces, remote)
        if (before.site, before.p2p) != (after.site, after.p2p):
            found.append(Move(device, before, after))
    return found


def _where_it_says(
    sites: SiteMap | None, connected: Interface, interfaces: Sequence[Interface], remote: Address
) -> Placement:
    """The placement of an agent whose socket comes from a network that it reports."""
    if sites is None:
        name = str(connected.subnet)
        why = f"the coordinator sees it in its own subnet {name}; without a site map only one subnet shares"
        same = tuple(i for i in interfaces if i.shareable and i.subnet == connected.subnet)
        return _shares(name, name, "on", why, connected, same)
    row = sites.find(remote) or sites.find(connected.address)  # the address that we see outweighs the one that it says
    if row is None:
        return _off(f"unknown {connected.subnet}", f"no row of the site map holds {connected.address}", connected)
    site = sites.site_of(row)
    same = tuple(i for i in interfaces if i.shareable and (r := sites.find(i.address)) and sites.site_of(r) == site)
    return _shares(site, row.label, row.p2p, _row_says(sites, row, connected), connected, same)


def _behind_nat(sites: SiteMap | None, usable: Sequence[Interface], remote: Address) -> Placement:
    """The placement of an agent whose socket comes from no network of its own: through a NAT or a proxy, or it lies."""
    first = usable[0]
    nat = f"its socket comes from {remote}, outside its networks (NAT)"
    if sites is None:
        why = f"{nat}; it shares with the same subnet {first.subnet} behind the same address only"
        same = tuple(i for i in usable if i.subnet == first.subnet)
        return _shares(f"{first.subnet} behind {remote}", str(first.subnet), "on", why, first, same)
    listed = sites.find(remote)
    claim = next((i for i in usable if sites.find(i.address) is not None), None)
    if claim is None:
        if listed is None:
            return _off(f"unknown {remote}", f"no row of the site map holds {first.address} or {remote}", first)
        why = f"{nat}, which line {listed.line} of the site map gives to {listed.group}; its own subnet only"
        same = tuple(i for i in usable if i.subnet == first.subnet)
        return _shares(f"{listed.group} {first.subnet}", listed.label, listed.p2p, why, first, same)
    row = sites.find(claim.address)
    assert row is not None
    site = sites.site_of(row)
    same = tuple(i for i in usable if (r := sites.find(i.address)) and sites.site_of(r) == site)
    if listed is None:
        why = f"{_row_says(sites, row, claim)}; {nat} that the map does not list: it shares behind that address only"
        return _shares(f"{site} behind {remote}", row.label, row.p2p, why, claim, same)
    return _shares(site, row.label, row.p2p, f"{_row_says(sites, row, claim)}; {nat}, which the map lists", claim, same)


def _row_says(sites: SiteMap, row: MapRow, interface: Interface) -> str:
    if joint := sites.joint(row):
        over = f"; wan_peers lets {joint} share across the WAN"
    else:
        over = "; a WAN joins the group, so one subnet shares" if row.wan else ""
    return f"{interface.address} is in {row.subnet}, line {row.line} of the site map, P2P {row.p2p}{over}"


def _shares(site: str, label: str, p2p: P2P, why: str, at: Interface, same: Iterable[Interface]) -> Placement:
    ordered = sorted(same, key=lambda i: (i != at, i.link != "wired"))
    addresses = tuple(dict.fromkeys(str(i.address) for i in ordered))[:8] if p2p != "off" else ()
    return Placement(_name(site), label, p2p, sentence(why), str(at.subnet), addresses, at.link)


def _name(site: str) -> str:
    """`site` within the 120 characters of the protocol; a longer name ends in its hash, so that it stays unique."""
    return site if len(site) <= 120 else f"{site[:103]} {hashlib.sha256(site.encode()).hexdigest()[:16]}"


def _off(site: str, why: str, at: Interface | None) -> Placement:
    if at is None:
        return Placement(site, site, "off", sentence(why), "", (), "wired")
    return Placement(site, site, "off", sentence(why), str(at.subnet), (), at.link)


def read_map(text: str, file: str) -> SiteMap:
    """Parse a site map; `file` is the name that mistakes are told with.

    Raises:
        MapError: the map has mistakes; each is told with file, line, column and cure.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    mistakes: list[str] = []
    rows: list[MapRow] = []
    header: list[str] | None = None
    try:
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header([cell.strip().lower() for cell in cells], f"{file}:{line}")
            else:
                rows += _rows(dict(zip(header, cells, strict=False)), len(cells) - len(header), file, line, mistakes)
            if len(mistakes) >= MISTAKES_MAX or len(rows) > ROWS_MAX:
                break
    except csv.Error as error:
        mistakes.append(f"{file}:{reader.line_num}: not CSV: {error}; save the sheet as comma-separated values")
    if header is None and not mistakes:
        mistakes.append(f"{file}:1: empty; the first line must be {','.join(COLUMNS)}")
    if len(rows) > ROWS_MAX:
        mistakes.append(f"{file}: more than {ROWS_MAX} subnets; join neighbouring subnets into shorter prefixes")
    mistakes += _duplicates(rows, file)
    if mistakes:
        raise MapError(mistakes[:MISTAKES_MAX])
    return SiteMap(rows)


def _header(names: list[str], where: str) -> list[str]:
    absent = [name for name in COLUMNS if name not in names]
    foreign = [name for name in names if name not in COLUMNS]
    twice = sorted({name for name in names if name in COLUMNS and names.count(name) > 1})
    if absent or foreign or twice:
        said = [f"column {name!r} is missing" for name in absent] + [f"column {name!r} is unknown" for name in foreign]
        said += [f"column {name!r} stands twice" for name in twice]
        raise MapError([f"{where}: {'; '.join(said)}; the first line must be {','.join(COLUMNS)}"])
    return names


def _rows(cells: dict[str, str], surplus: int, file: str, line: int, mistakes: list[str]) -> list[MapRow]:
    before = len(mistakes)

    def wrong(column: str, what: str) -> None:
        mistakes.append(f"{file}:{line}, column {column}: {what}")

    if surplus:
        few = "few" if surplus < 0 else "many"
        mistakes.append(f"{file}:{line}: too {few} cells; write {','.join(COLUMNS)}, and a cell with a comma in quotes")
        return []
    said = {name: cell.strip() for name, cell in cells.items()}
    if not 1 <= len(said["group"]) <= GROUP_CHARACTERS_MAX:
        wrong("group", f"{said['group']!r}; write a name of 1 to {GROUP_CHARACTERS_MAX} characters")
    if len(said["label"]) > LABEL_CHARACTERS_MAX:
        wrong("label", f"longer than {LABEL_CHARACTERS_MAX} characters; shorten it")
    if said["p2p"].lower() not in {"on", "off", "leech"}:
        wrong("p2p", f"{said['p2p']!r}; write on, off or leech")
    if said["wan"].lower() not in {"yes", "no"}:
        wrong("wan", f"{said['wan']!r}; write yes or no")
    subnets = _subnets(said["subnets"], wrong)
    if len(mistakes) > before:
        return []
    p2p: P2P = msgspec.convert(said["p2p"].lower(), P2P)
    wan = said["wan"].lower() == "yes"
    label = said["label"] or said["group"]
    return [MapRow(said["group"], subnet, p2p, wan, label, line) for subnet in subnets]


def _subnets(text: str, wrong: Callable[[str, str], None]) -> list[Subnet]:
    found: list[Subnet] = []
    if not text:
        wrong("subnets", "empty; write at least one subnet such as 10.1.2.0/24")
    for word in text.split():
        try:
            found.append(ip_network(word))
        except ValueError as error:
            try:
                cure = f"write {ip_network(word, strict=False)}"
            except ValueError:
                cure = "write it as 10.1.2.0/24 or fd00:1::/64, several with spaces between"
            wrong("subnets", f"{word!r}: {error}; {cure}")
    return found


def _duplicates(rows: Iterable[MapRow], file: str) -> list[str]:
    first: dict[Subnet, MapRow] = {}
    mistakes = []
    for row in rows:
        other = first.setdefault(row.subnet, row)
        if other is not row:
            mistakes.append(
                f"{file}:{row.line}, column subnets: {row.subnet} stands in line {other.line} already "
                f"({other.group}); delete one of the two"
            )
    return mistakes
