"""A picture of a result: how long segments took, and what is left on each link. SVG by hand, no library."""

import math
from xml.sax.saxutils import escape

from ecdn_proxy.sim.company import Result
from ecdn_proxy.sim.figures import SiteFigures, Spread

_WIDTH, _HEIGHT = 860, 420
_LEFT, _TOP, _PANEL, _TALL = 60, 70, 330, 280
_BLUE, _GREY, _RED = "#1f5fa8", "#9aa5b1", "#b3261e"
SITES_SHOWN = 12


def svg(result: Result) -> str:
    """The picture."""
    total = result.total
    title = f"{result.scenario.name}: {total.viewers} viewers, offload {total.offload:.2%} of at most {total.bound:.2%}"
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            f'font-size="12" role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">'
        ),
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 28, title, size=16),
        *_durations(total),
        *_links(result.sites),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )


def _durations(total: SiteFigures) -> list[str]:
    """Which part of the segments had come after so many seconds."""
    took = total.took
    most = max(took.most, total.lone_s) * 1.05 or 1.0
    parts = [
        _text(_LEFT, _TOP - 12, "segments that have come after … seconds"),
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_PANEL}" height="{_TALL}" fill="none" stroke="{_GREY}"/>',
    ]
    for share in (0, 25, 50, 75, 100):
        y = _TOP + _TALL * (1 - share / 100)
        parts.append(_text(_LEFT - 6, y + 4, f"{share} %", anchor="end"))
    step = _step(most)
    for at in range(int(most / step) + 1):
        x = _LEFT + _PANEL * at * step / most
        parts.append(_text(x, _TOP + _TALL + 18, f"{at * step:g}", anchor="middle"))
    lone_x = _LEFT + _PANEL * total.lone_s / most
    parts += [
        (
            f'<line x1="{lone_x:.1f}" y1="{_TOP}" x2="{lone_x:.1f}" y2="{_TOP + _TALL}" stroke="{_GREY}" '
            f'stroke-dasharray="4 3"/>'
        ),
        _text(lone_x + 4, _TOP + 14, "a lone fetch", colour=_GREY),
        f'<polyline fill="none" stroke="{_BLUE}" stroke-width="2" points="{_points(took, most)}"/>',
    ]
    return parts


def _points(took: Spread, most: float) -> str:
    places = [(0.0, 0.0)] + [(took.percentile(percent), percent) for percent in (*range(1, 100), 99.9, 100)]
    return " ".join(
        f"{_LEFT + _PANEL * seconds / most:.1f},{_TOP + _TALL * (1 - percent / 100):.1f}" for seconds, percent in places
    )


def _step(most: float) -> float:
    rough = most / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    return next((unit * it for it in (1, 2, 5) if unit * it >= rough), unit * 10)


def _links(sites: list[SiteFigures]) -> list[str]:
    """Each link's mean and busiest second against what it carries."""
    x0 = _LEFT + _PANEL + 170
    wide = _WIDTH - x0 - 60
    shown = sorted(sites, key=lambda it: -it.link_mean_mbps / it.wan_mbps)[:SITES_SHOWN]
    parts = [_text(x0 - 110, _TOP - 12, "link in use: mean, busiest second (of its Mbit/s)")]
    row = min(26.0, _TALL / max(1, len(shown)))
    for at, site in enumerate(shown):
        y = _TOP + at * row
        mean = min(1.0, site.link_mean_mbps / site.wan_mbps)
        peak = min(1.0, site.link_peak_mbps / site.wan_mbps)
        colour = _RED if site.stalls else _BLUE
        parts += [
            _text(x0 - 6, y + row * 0.6, site.name[:18], anchor="end"),
            f'<rect x="{x0}" y="{y:.1f}" width="{wide}" height="{row * 0.7:.1f}" fill="#eef1f4"/>',
            f'<rect x="{x0}" y="{y:.1f}" width="{wide * mean:.1f}" height="{row * 0.7:.1f}" fill="{colour}"/>',
            (
                f'<line x1="{x0 + wide * peak:.1f}" y1="{y:.1f}" x2="{x0 + wide * peak:.1f}" y2="{y + row * 0.7:.1f}" '
                f'stroke="{colour}" stroke-width="2"/>'
            ),
            _text(x0 + wide + 6, y + row * 0.6, f"{site.wan_mbps:g}"),
        ]
    if any(site.stalls for site in shown):
        parts.append(_text(x0 - 110, _TOP + _TALL + 18, "red: viewers there saw the picture stop", colour=_RED))
    return parts
