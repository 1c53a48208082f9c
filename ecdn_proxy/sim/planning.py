"""Before the event: what each site's link would carry with and without sharing, and who would suffer.

    read_sites(path, …) -> [PlannedSite]     the coordinator's site map, or any CSV with `group` (or `site`)
    plan(sites, scenario, …) -> Plan         both are simulated, site by site
    words(plan)                              plain sentences

Further columns that the CSV may have: viewers, wan_mbps, wifi_percent. Sites that the map forbids to share
(p2p `off` or `leech`) are simulated without.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.table import Table

from ecdn_proxy.sim.company import Result, gather
from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.scenario import BadScenario, Scenario, Site

SITES_IN_WORDS = 20


@dataclass(frozen=True, slots=True)
class PlannedSite:
    """One office of the plan."""

    site: Site
    shares: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The same event twice."""

    sites: list[PlannedSite]
    shared: Result
    direct: Result


def read_sites(path: Path, usual: Site, viewers: int | None) -> list[PlannedSite]:
    """Offices from a CSV; rows of one group are one office.

    Raises:
        BadScenario: the file cannot be used; says which line and why.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadScenario(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not rows:
        raise BadScenario(f"{path} has no line below its header.")
    found: dict[str, PlannedSite] = {}
    for line, row in enumerate(rows, 2):
        name = (row.get("group") or row.get("site") or "").strip()
        if not name:
            raise BadScenario(f"{path}, line {line}: it needs a column group (or site) with a name.")
        count = _number(path, line, row, "viewers", float(viewers or 0))
        before = found.get(name)
        total = round(count) if row.get("viewers") or before is None else 0
        if before is not None:
            total += before.site.viewers
        if total < 1:
            raise BadScenario(
                f"{path}, line {line}: how many watch at {name}? Give a column viewers, or --viewers for all."
            )
        site = msgspec.structs.replace(
            usual,
            name=(row.get("label") or name).strip()[:120] or name,
            viewers=total,
            wan_mbps=_number(path, line, row, "wan_mbps", usual.wan_mbps),
            wifi_percent=_number(path, line, row, "wifi_percent", usual.wifi_percent),
        )
        shares = (row.get("p2p") or "on").strip().lower() == "on"
        found[name] = PlannedSite(site, shares and (before is None or before.shares))
    return list(found.values())


def _number(path: Path, line: int, row: dict[str, str], column: str, usual: float) -> float:
    text = (row.get(column) or "").strip()
    if not text:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1_000_000 or (column == "wan_mbps" and value == 0):
        raise BadScenario(f"{path}, line {line}: {column} is {text!r}, not a number that can be.")
    return value


def plan(
    sites: list[PlannedSite], scenario: Scenario, *, processes: int = 1, progress: Callable[[int], None] | None = None
) -> Plan:
    """Simulate the event with sharing and without."""
    alone = msgspec.structs.replace(scenario, agent=msgspec.structs.replace(scenario.agent, sharing=False))
    shared = gather(
        scenario,
        [(at, it.site, scenario if it.shares else alone) for at, it in enumerate(sites)],
        processes=processes,
        progress=progress,
    )
    direct = gather(
        alone, [(at, it.site, alone) for at, it in enumerate(sites)], processes=processes, progress=progress
    )
    return Plan(sites, shared, direct)


def table(it: Plan) -> Table:
    """One line for each site."""
    shown = Table(title=f"{it.shared.total.viewers} viewers at {len(it.sites)} sites")
    for head in ("site", "viewers", "link Mbit/s", "needs alone", "stalled alone", "mean shared", "peak shared",
                 "stalled shared"):  # fmt: skip
        shown.add_column(head, justify="left" if head == "site" else "right")
    for planned, with_, without in zip(it.sites, it.shared.sites, it.direct.sites, strict=True):
        shown.add_row(
            planned.site.name,
            str(planned.site.viewers),
            f"{planned.site.wan_mbps:g}",
            f"{_needs(it, without):.0f}",
            f"{without.viewers_stalled}",
            f"{with_.link_mean_mbps + with_.manifest_mbps:.1f}",
            f"{with_.link_peak_mbps + with_.manifest_mbps:.1f}",
            f"{with_.viewers_stalled}",
        )
    return shown


def _needs(it: Plan, site: SiteFigures) -> float:
    """Mbit/s that all its viewers would draw by themselves."""
    stream = it.direct.scenario.stream
    shares = stream.shares_percent or (100 / len(stream.bitrates_mbps),) * len(stream.bitrates_mbps)
    mean = sum(mbps * share / 100 for mbps, share in zip(stream.bitrates_mbps, shares, strict=True))
    return site.viewers * mean + site.manifest_mbps


def words(it: Plan) -> list[str]:
    """What it comes to, for somebody who has never heard of a swarm."""
    said: list[str] = []
    pairs = list(zip(it.sites, it.shared.sites, it.direct.sites, strict=True))
    alone = [pair for pair in pairs if pair[2].stalls or pair[2].unfinished]
    after = [pair for pair in pairs if pair[1].stalls or pair[1].unfinished]
    total, direct = it.shared.total, it.direct.total
    said.append(
        f"Without sharing, {direct.viewers_stalled} of {direct.viewers} viewers at {len(alone)} of {len(pairs)} sites "
        "would see the picture stop."
    )
    said.append(
        f"With sharing, {total.offload:.1%} of the video stays inside the offices (at most {total.bound:.1%} can), "
        f"and {total.viewers_stalled} viewers at {len(after)} sites would see the picture stop."
    )
    for planned, with_, without in sorted(alone, key=lambda it: -it[2].stalled_s)[:SITES_IN_WORDS]:
        site = planned.site
        said.append(
            f"{site.name}: {site.viewers} viewers need {_needs(it, without):.0f} Mbit/s by themselves, "
            f"the link carries {site.wan_mbps:g}. {_with_sharing(planned, with_)}"
        )
    if len(alone) > SITES_IN_WORDS:
        said.append(f"And {len(alone) - SITES_IN_WORDS} more sites; see the table.")
    said += [
        f"{planned.site.name} would suffer even so: {_why(it, planned, with_)}"
        for planned, with_, _ in sorted(after, key=lambda it: -it[1].stalled_s)[:SITES_IN_WORDS]
    ]
    return said


def _with_sharing(planned: PlannedSite, with_: SiteFigures) -> str:
    if not planned.shares:
        return "The site map forbids sharing there."
    used = with_.link_mean_mbps + with_.manifest_mbps
    return (
        f"With sharing it carries {used:.1f} on average and {with_.link_peak_mbps + with_.manifest_mbps:.1f} at most."
    )


def _why(it: Plan, planned: PlannedSite, with_: SiteFigures) -> str:
    stream = it.shared.scenario.stream
    one_copy = sum(stream.bitrates_mbps) + with_.manifest_mbps
    share = f"{with_.viewers_stalled} of {with_.viewers} viewers, {with_.stalled_s / with_.viewers:.1f} s each. "
    if not planned.shares:
        return share + "Let it share, or give it a lower rendition."
    if one_copy > planned.site.wan_mbps:
        return (
            share + f"One copy of each rendition takes {one_copy:.1f} Mbit/s, more than the link has: "
            "offer fewer or lower renditions there."
        )
    if planned.site.viewers == 1:
        return share + "There is nobody to share with."
    if planned.site.wifi_percent:
        return share + "Its Wi-Fi cannot relay this bitrate to everybody in time."
    return share + "Its link is enough; the delay is inside the office."
