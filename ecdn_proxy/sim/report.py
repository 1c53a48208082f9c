"""The figures of a result, for people and for programs.

    tables(result)    what a terminal shows
    as_json(result)   everything, with units in the names

The picture is drawn by `plot`.
"""

from typing import Any

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table

from ecdn_proxy.sim.company import Result
from ecdn_proxy.sim.figures import Distribution, SiteFigures, jain

SITES_SHOWN = 15
_PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def tables(result: Result) -> Group:
    """The figures of all sites together, then the sites that do worst."""
    total = result.total
    over = Table(title=f"{result.scenario.name}: {total.viewers} viewers at {len(result.sites)} sites", box=None)
    over.add_column("what", style="bold", no_wrap=True)
    over.add_column("figure", justify="right", no_wrap=True)
    over.add_column("", style="dim")
    for row in _rows(result):
        over.add_row(*row)
    parts: list[Any] = [over]
    if len(result.sites) > 1:
        parts.append(_worst(result))
    return Group(*parts)


def _rows(result: Result) -> list[tuple[str, str, str]]:
    total = result.total
    took, added, startup = total.took, total.added, total.startup
    return [
        ("offload", f"{total.offload:.2%}", f"bound {total.bound:.2%} (one copy per site and rendition)"),
        (
            "copies per site and segment",
            f"{total.copies:.3f}",
            f"{total.steady_copies:.3f} once all had started; worst segment {total.copies_worst:.2f}",
        ),
        (
            "left on the links",
            f"{total.link_mean_mbps:.1f} Mbit/s",
            (
                f"mean of all sites together, and {total.manifest_mbps:.1f} for playlists; "
                f"busiest second at one site {total.link_peak_mbps:.1f}"
            ),
        ),
        ("segment at the live edge", _many(took), f"p50 p95 p99 p99.9; a lone fetch {total.lone_s:.2f} s"),
        ("added latency", _many(added), "p50 p95 p99 p99.9 over a lone fetch"),
        ("start of the picture", _many(startup, (50.0, 95.0, 99.0)), "p50 p95 p99"),
        (
            "late segments",
            f"{total.late_rate:.3%}",
            f"{total.late} of {total.outcomes} after their player had run dry, {total.unfinished} never",
        ),
        (
            "stalls",
            f"{total.stalls}",
            f"{total.stalled_s:.1f} s of {total.watched_s:.0f} s watched, {total.viewers_stalled} viewers",
        ),
        (
            "uploads",
            f"{_mean(total.uploads_mb):.1f} MB",
            (
                f"mean of a host; most {max(total.uploads_mb, default=0):.1f}; "
                f"fairness (Jain) {jain(total.uploads_mb):.2f}"
            ),
        ),
        (
            "control messages",
            f"{total.control_per_viewer_s:.1f}",
            f"per viewer and second, {total.control_bytes * 8e-3 / max(1, total.watched_s):.1f} kbit/s",
        ),
        (
            "links of one host",
            f"{total.links_most}",
            f"most; {total.no_room} dials refused for want of room",
        ),
        (
            "origin fetches",
            f"{total.fetches}",
            f"for {total.segments} segments; {total.passed} more by players outside the swarm",
        ),
        ("conditions", f"{sum(total.conditions.values())}", ", ".join(f"{k} {v}" for k, v in total.conditions.items())),
        ("simulated in", f"{total.cpu_s:.1f} s", f"of CPU, {total.events:,} events"),
        ("digest", "", result.digest),
    ]


def _worst(result: Result) -> Table:
    title = f"sites, the worst first ({min(SITES_SHOWN, len(result.sites))} of {len(result.sites)})"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    for head in ("site", "viewers", "link", "used", "peak", "offload", "bound", "copies", "p99 s", "late", "stop"):
        table.add_column(head, justify="left" if head == "site" else "right", no_wrap=True)
    for it in worst_first(result.sites)[:SITES_SHOWN]:
        table.add_row(
            it.name[:12], str(it.viewers), f"{it.wan_mbps:g}", f"{it.link_mean_mbps:.1f}", f"{it.link_peak_mbps:.1f}",
            f"{it.offload:.1%}", f"{it.bound:.1%}", f"{it.copies:.2f}", f"{it.took.percentile(99):.2f}",
            f"{it.late_rate:.1%}", f"{it.viewers_stalled}",
        )  # fmt: skip
    return table


def worst_first(sites: list[SiteFigures]) -> list[SiteFigures]:
    """Sites by stalled seconds per viewer, then by distance to the bound, then by size."""
    return sorted(sites, key=lambda it: (-it.stalled_s / it.viewers, it.offload - it.bound, -it.viewers))


def _many(spread: Distribution, percents: tuple[float, ...] = _PERCENTILES) -> str:
    return " ".join(f"{spread.percentile(it):.2f}" for it in percents) + " s"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def as_json(result: Result) -> bytes:
    """All figures and the scenario, as JSON with units in the names."""
    whole = {
        "scenario": result.scenario,
        "digest": result.digest,
        "total": _plain(result.total),
        "links_load": {
            "bin_s": result.total.load_bin_s,
            "mbps": [round(it, 3) for it in result.total.load_mbps()],
        },
        "sites": [_plain(it) for it in result.sites],
    }
    return msgspec.json.format(msgspec.json.encode(whole))


def _plain(it: SiteFigures) -> dict[str, Any]:
    return {
        "name": it.name,
        "viewers": it.viewers,
        "offload": round(it.offload, 6),
        "offload_bound": round(it.bound, 6),
        "copies": round(it.copies, 4),
        "copies_steady": round(it.steady_copies, 4),
        "copies_worst_segment": round(it.copies_worst, 3),
        "link_mbps": it.wan_mbps,
        "link_used_mean_mbps": round(it.link_mean_mbps, 3),
        "link_used_peak_mbps": round(it.link_peak_mbps, 3),
        "manifests_mbps": round(it.manifest_mbps, 3),
        "lone_fetch_s": round(it.lone_s, 4),
        "segment_s": _spread(it.took),
        "added_s": _spread(it.added),
        "startup_s": _spread(it.startup),
        "segments_delivered": it.outcomes,
        "late_rate": round(it.late_rate, 6),
        "unfinished": it.unfinished,
        "stalls": it.stalls,
        "stalled_s": round(it.stalled_s, 2),
        "viewers_stalled": it.viewers_stalled,
        "watched_s": round(it.watched_s, 1),
        "upload_mean_mb": round(_mean(it.uploads_mb), 3),
        "upload_most_mb": round(max(it.uploads_mb, default=0.0), 3),
        "upload_fairness_jain": round(jain(it.uploads_mb), 4),
        "control_messages_per_viewer_s": round(it.control_per_viewer_s, 3),
        "messages": dict(sorted(it.frames.items())),
        "links_most": it.links_most,
        "dials_refused": it.no_room,
        "sources": dict(sorted(it.sources.items())),
        "origin_fetches": it.fetches,
        "fetched_outside": it.passed,
        "conditions": it.conditions,
        "events": it.events,
        "cpu_s": round(it.cpu_s, 2),
        "digest": it.digest,
    }


def _spread(spread: Distribution) -> dict[str, float]:
    named = {f"p{it:g}": round(spread.percentile(it), 4) for it in _PERCENTILES}
    return {**named, "most": round(spread.most, 4), "mean": round(spread.mean, 4), "count": spread.count}
