"""Before the event: what each site's link would carry with and without sharing, and who would suffer.

    read_sites(path, …) -> sites, ignored    from the coordinator's site map, or any CSV with `group` (or `site`)
    plan(sites, scenario, …) -> Plan         the event with sharing and without, both simulated site by site
    table(plan)                              one line for each site
    words(plan)                              plain sentences

Further columns that the CSV may have: viewers, wan_mbps, wifi_percent. Sites that the map forbids to share
(p2p `off` or `leech`) are simulated without sharing.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich import box
from rich.table import Table

from ecdn_proxy.sim.company import Result, gather
from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.scenario import BadScenario, Scenario, SiteSpec

SITES_IN_WORDS = 20
VIEWERS_MAX = 100_000
COLUMNS = (
    "group", "site", "label", "viewers", "wan_mbps", "wifi_percent", "p2p", "subnets", "wan", "wan_peers",
)  # fmt: skip
"""Columns that mean something: those read here, and those that the site map has for other purposes."""


@dataclass(frozen=True, slots=True)
class PlannedSite:
    """One office of the plan, and whether the site map lets it share."""

    site: SiteSpec
    shares: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The same event with sharing (`shared`) and without (`direct`)."""

    sites: list[PlannedSite]
    shared: Result
    direct: Result


def read_sites(path: Path, usual: SiteSpec, viewers: int | None) -> tuple[list[PlannedSite], list[str]]:
    """Offices from a CSV, and the names of its columns that mean nothing here; rows of one group are one office.

    Args:
        path: of the CSV.
        usual: what holds of a site where its row says nothing.
        viewers: at each site whose row does not say; None: every site must say.

    Raises:
        BadScenario: the file cannot be used; says in which line and why.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadScenario(f"{path} is no UTF-8 text: save it as \u201cCSV UTF-8\u201d.") from error
    except OSError as error:
        raise BadScenario(f"{path} cannot be read: {error.strerror}.") from error
    lines = text.splitlines()
    # a spreadsheet set to a decimal comma separates cells by semicolons
    semicolons = bool(lines) and ";" in lines[0] and "," not in lines[0]
    try:
        reader = csv.DictReader(lines, delimiter=";" if semicolons else ",", skipinitialspace=True, strict=True)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        rows = list(reader)
    except csv.Error as error:
        raise BadScenario(f"{path} is no CSV: {error}.") from error
    if not rows:
        raise BadScenario(f"{path} has no line below its header.")
    found: dict[str, PlannedSite] = {}
    for line, row in enumerate(rows, 2):
        name = (row.get("group") or row.get("site") or "").strip()
        if not name:
            raise BadScenario(f"{path}, line {line}: it needs a column group (or site) with a name.")
        before = found.get(name)
        count = _number(path, line, row, "viewers", float(viewers or 0), 0, VIEWERS_MAX, comma=semicolons)
        total = round(count) if (row.get("viewers") or "").strip() or before is None else 0
        if before is not None:
            total += before.site.viewers
        if not 1 <= total <= VIEWERS_MAX:
            raise BadScenario(
                f"{path}, line {line}: {total} viewers at {name}? Give each site 1 to {VIEWERS_MAX:,} in a column "
                "viewers, or all the same with --viewers."
            )
        site = msgspec.structs.replace(
            usual,
            name=(row.get("label") or name).strip()[:120] or name,
            viewers=total,
            wan_mbps=_number(path, line, row, "wan_mbps", usual.wan_mbps, 0.1, 1_000_000, comma=semicolons),
            wifi_percent=_number(path, line, row, "wifi_percent", usual.wifi_percent, 0, 100, comma=semicolons),
        )
        p2p = (row.get("p2p") or "on").strip().lower() or "on"
        if p2p not in ("on", "off", "leech"):
            raise BadScenario(f"{path}, line {line}: p2p is {p2p!r}; write on, off or leech, as in the site map.")
        found[name] = PlannedSite(site, p2p == "on" and (before is None or before.shares))
    return list(found.values()), sorted(set(reader.fieldnames) - set(COLUMNS))


def _number(
    path: Path, line: int, row: dict[str, str], column: str, usual: float, least: float, most: float, *, comma: bool
) -> float:
    text = (row.get(column) or "").strip()
    if not text:
        return usual
    try:
        value = float(text.replace(",", ".") if comma else text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise BadScenario(f"{path}, line {line}: {column} is {text!r}; write a number from {least:g} to {most:,.0f}.")
    return value


def plan(
    sites: list[PlannedSite], scenario: Scenario, *, processes: int = 1, progress: Callable[[int], None] | None = None
) -> Plan:
    """Simulate the event with sharing and without; `processes` and `progress` as in `company.simulate`."""
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
    caption = (
        "Mbit/s. need: what all viewers would draw by themselves; stop: viewers who would see the picture stop; mean, "
        "peak: what the link would carry with sharing, on average and in its busiest second."
    )
    title = f"{_counted(it.shared.total.viewers, 'viewer')} at {_counted(len(it.sites), 'site')}"
    shown = Table(title=title, caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("site", "viewers", "link", "need", "stop without", "mean", "peak", "stop with"):
        shown.add_column(head, justify="left" if head == "site" else "right", no_wrap=head != "site", overflow="fold")
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


def _counted(count: int, of: str) -> str:
    return f"{count:,} {of}{'' if count == 1 else 's'}"


def _needs(it: Plan, site: SiteFigures) -> float:
    """Mbit/s that all viewers of a site would draw by themselves."""
    stream = it.direct.scenario.stream
    shares = stream.shares_percent or (100 / len(stream.bitrates_mbps),) * len(stream.bitrates_mbps)
    mean = sum(mbps * share / 100 for mbps, share in zip(stream.bitrates_mbps, shares, strict=True))
    return site.viewers * mean + site.manifest_mbps


def words(it: Plan) -> list[str]:
    """The plan in sentences for somebody who has never heard of a swarm."""
    said: list[str] = []
    pairs = list(zip(it.sites, it.shared.sites, it.direct.sites, strict=True))
    alone = [pair for pair in pairs if pair[2].stalls or pair[2].unfinished]
    after = [pair for pair in pairs if pair[1].stalls or pair[1].unfinished]
    total, direct = it.shared.total, it.direct.total
    stops = (
        f"{direct.viewers_stalled:,} of {_counted(direct.viewers, 'viewer')}, at {len(alone)} of {len(pairs)} sites,"
    )
    said.append(f"Without sharing, {stops if alone else 'nobody'} would see the picture stop.")
    stops = f"{_counted(total.viewers_stalled, 'viewer')} at {_counted(len(after), 'site')}"
    said.append(
        f"With sharing, {total.offload:.1%} of the video does not cross the internet links (at most {total.bound:.1%} "
        f"need not), and {stops if after else 'nobody'} would see the picture stop."
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
        low, high = planned.site.wifi_uplink_mbps
        return (
            share + f"Machines on Wi-Fi are taken to send {low:g} to {high:g} Mbit/s, too little to relay "
            f"{max(stream.bitrates_mbps):g} to everybody in time: offer a lower rendition there, or put more of its "
            "machines on cable."
        )
    return share + "Its link is enough; the delay is inside the office."
