"""A picture of a result in four panels, as SVG written by hand.

offload against its bound, by size of site      how long segments took
what all links carried, over time               what each link carried of what it can carry
"""

import math
from collections.abc import Iterable
from xml.sax.saxutils import escape

from ecdn_proxy.sim.company import Result
from ecdn_proxy.sim.figures import Distribution, SiteFigures

_WIDTH, _HEIGHT = 900, 760
_LEFT, _RIGHT = 64, 510
"""Where the panels of each column begin."""
_UPPER, _LOWER = 80, 450
_WIDE, _TALL = 340, 250
_BLUE, _GREY, _RED, _PALE = "#1f5fa8", "#9aa5b1", "#b3261e", "#eef1f4"
SITES_SHOWN = 12
DOTS_MAX = 500


def svg(result: Result) -> str:
    """The picture of a result, as an SVG document."""
    total = result.total
    title = f"{result.scenario.name}: {total.viewers} viewers, offload {total.offload:.2%} of at most {total.bound:.2%}"
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            f'font-size="12" role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">'
        ),
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 34, title, size=16),
        *_offload(result.sites),
        *_durations(total),
        *_load(total, result.sites),
        *_links(result.sites),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, *, colour: str = _GREY) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-dasharray="4 3"/>'


def _curve(points: Iterable[tuple[float, float]], colour: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{joined}"/>'


def _frame(x: float, y: float, title: str, below: str) -> list[str]:
    return [
        _text(x, y - 12, title),
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_TALL}" fill="none" stroke="{_GREY}"/>',
        _text(x + _WIDE, y + _TALL + 34, below, anchor="end", colour="#555"),
    ]


def _scale_up(x: float, y: float, most: float, unit: str = "") -> list[str]:
    """The figures of the vertical axis, from 0 to `most`."""
    step = _step(most)
    return [
        _text(x - 6, y + _TALL * (1 - at * step / most) + 4, f"{at * step:g}{unit}", anchor="end")
        for at in range(int(most / step + 1e-9) + 1)
    ]


def _scale_along(x: float, y: float, most: float) -> list[str]:
    """The figures of the horizontal axis, from 0 to `most`."""
    step = _step(most)
    return [
        _text(x + _WIDE * at * step / most, y + _TALL + 18, f"{at * step:g}", anchor="middle")
        for at in range(int(most / step + 1e-9) + 1)
    ]


def _step(most: float) -> float:
    rough = most / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    return next((unit * it for it in (1, 2, 5) if unit * it >= rough * 0.999), unit * 10)


# ---- the panels


def _offload(sites: list[SiteFigures]) -> list[str]:
    """A dot for each site's offload, and a ring where its bound is."""
    x0, y0 = _LEFT, _UPPER
    by_size = sorted(sites, key=lambda it: it.viewers)
    most = math.log10(max(10, by_size[-1].viewers)) * 1.04

    def place(viewers: int, share: float) -> tuple[float, float]:
        return x0 + _WIDE * math.log10(viewers) / most, y0 + _TALL * (1 - max(0.0, share))

    parts = _frame(x0, y0, "offload of each site (dot), and the most there can be (ring)", "viewers at the site")
    parts += _scale_up(x0, y0, 100, " %")
    for power in range(int(most) + 1):
        parts.append(_text(place(10**power, 0)[0], y0 + _TALL + 18, f"{10**power:,}", anchor="middle"))
    for it in by_size[:: math.ceil(len(by_size) / DOTS_MAX)]:
        x, y = place(it.viewers, it.offload)
        bound = place(it.viewers, it.bound)[1]
        colour = _RED if it.stalls else _BLUE
        parts += [
            f'<circle cx="{x:.1f}" cy="{bound:.1f}" r="5" fill="none" stroke="{_GREY}"/>',
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.7"/>',
        ]
    return parts


def _durations(total: SiteFigures) -> list[str]:
    """Which part of the segments had come after how many seconds."""
    x0, y0, took = _RIGHT, _UPPER, total.took
    most = max(took.most, total.lone_s) * 1.05 or 1.0
    lone_x = x0 + _WIDE * total.lone_s / most
    return [
        *_frame(x0, y0, "segments at the live edge that had come", "seconds after they were asked for"),
        *_scale_up(x0, y0, 100, " %"),
        *_scale_along(x0, y0, most),
        _line(lone_x, y0, lone_x, y0 + _TALL),
        _text(lone_x + 4, y0 + _TALL - 8, "a lone fetch", colour="#555"),
        _curve(_points(took, most), _BLUE),
    ]


def _points(took: Distribution, most: float) -> Iterable[tuple[float, float]]:
    yield _RIGHT, _UPPER + _TALL
    for percent in (*range(1, 100), 99.9, 100):
        yield _RIGHT + _WIDE * took.percentile(percent) / most, _UPPER + _TALL * (1 - percent / 100)


def _load(total: SiteFigures, sites: list[SiteFigures]) -> list[str]:
    """What the links carried, second by second; of a single site, beside what its link can carry."""
    x0, y0 = _LEFT, _LOWER
    rates = total.load_mbps()
    alone = sites[0].wan_mbps if len(sites) == 1 else 0.0
    peak = max([*rates, 1e-3])
    most = 1.08 * (alone if 0 < alone <= 3 * peak else peak)
    wide = _WIDE / max(1, len(rates))
    title = "Mbit/s of video on the link" if alone else "Mbit/s of video on all links together"
    parts = _frame(x0, y0, title, "seconds since the first viewer")
    parts += _scale_up(x0, y0, most)
    parts += _scale_along(x0, y0, max(1.0, len(rates) * total.load_bin_s))
    for at, rate in enumerate(rates):
        tall = _TALL * min(1.0, rate / most)
        parts.append(
            f'<rect x="{x0 + at * wide:.1f}" y="{y0 + _TALL - tall:.1f}" width="{max(0.5, wide - 0.5):.1f}" '
            f'height="{tall:.1f}" fill="{_BLUE}"/>'
        )
    if 0 < alone <= most:
        y = y0 + _TALL * (1 - alone / most)
        parts += [_line(x0, y, x0 + _WIDE, y, colour=_RED), _text(x0 + 6, y - 4, "all the link can", colour=_RED)]
    return parts


def _links(sites: list[SiteFigures]) -> list[str]:
    """Each link's mean and busiest second, as parts of what the link can carry."""
    x0, y0 = _RIGHT + 90, _LOWER
    wide = _WIDE - 90 - 40
    shown = sorted(sites, key=lambda it: -it.link_mean_mbps / it.wan_mbps)[:SITES_SHOWN]
    few = f", the {len(shown)} fullest" if len(sites) > len(shown) else ""
    parts = [_text(_RIGHT, y0 - 12, f"link in use: mean, busiest second (of its Mbit/s){few}")]
    row = min(26.0, _TALL / max(1, len(shown)))
    for at, site in enumerate(shown):
        y = y0 + at * row
        mean = min(1.0, site.link_mean_mbps / site.wan_mbps)
        peak = min(1.0, site.link_peak_mbps / site.wan_mbps)
        colour = _RED if site.stalls else _BLUE
        parts += [
            _text(x0 - 6, y + row * 0.6, site.name[:14], anchor="end"),
            f'<rect x="{x0}" y="{y:.1f}" width="{wide}" height="{row * 0.7:.1f}" fill="{_PALE}"/>',
            f'<rect x="{x0}" y="{y:.1f}" width="{wide * mean:.1f}" height="{row * 0.7:.1f}" fill="{colour}"/>',
            (
                f'<line x1="{x0 + wide * peak:.1f}" y1="{y:.1f}" x2="{x0 + wide * peak:.1f}" y2="{y + row * 0.7:.1f}" '
                f'stroke="{colour}" stroke-width="2"/>'
            ),
            _text(x0 + wide + 6, y + row * 0.6, f"{site.wan_mbps:g}"),
        ]
    if any(site.stalls for site in sites):
        parts.append(_text(_RIGHT, y0 + _TALL + 34, "red: viewers there saw the picture stop", colour=_RED))
    return parts
