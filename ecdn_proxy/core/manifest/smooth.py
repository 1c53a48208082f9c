"""Smooth Streaming manifests ([MS-SSTR] 2.2.2), read into the one model.

Map: `parse_smooth` · one stream's URL patterns · its chunk list.

`QualityLevels({bitrate},{CustomAttributes})/Fragments(video={start time})` becomes a template with `$Time$`. A chunk
list becomes one timeline, which all quality levels share. In a live stream the media itself tells later chunk times
(tfrf), so any time after the last listed one is accepted. Chunk times have no relation to the time of day.

A stream or a quality with a value that cannot be read is left out, with a notice; the others are listed.
"""

import re
from fractions import Fraction
from typing import Final
from xml.etree.ElementTree import Element

from ecdn_proxy.core.http import urls
from ecdn_proxy.core.manifest.dash import LEVELS_MAX, TIMESCALE_MAX
from ecdn_proxy.core.manifest.model import (
    Format,
    ManifestError,
    Notices,
    Presentation,
    Rendition,
    Template,
    Timeline,
    TimelineRun,
    literal,
)
from ecdn_proxy.core.manifest.xml import children, header_urls, local, secret_urls, whole

DEFAULT_TIMESCALE: Final = 10_000_000
"""Ticks per second, if the manifest does not say it: a tick of 100 ns, [MS-SSTR] 2.2.2.1."""

_FIELD = re.compile(r"\{(bitrate|start[ _]time|CustomAttributes)\}", re.IGNORECASE)


def parse_smooth(url: str, root: Element) -> Presentation:
    """Read a client manifest.

    Args:
        url: the manifest's URL in normal form.
        root: its root element.

    Raises:
        ManifestError: there are too many qualities.
        ValueError: the whole manifest's TimeScale or Duration is no number. The caller turns this into `ManifestError`.
    """
    notices = Notices()
    live = root.get("IsLive", "FALSE").upper() == "TRUE"
    overall = _timescale(root.get("TimeScale"), DEFAULT_TIMESCALE)
    levels = sum(local(element) in {"StreamIndex", "QualityLevel"} for element in root.iter())
    if levels > LEVELS_MAX:
        raise ManifestError(f"{levels} streams and qualities; the limit is {LEVELS_MAX}", "manifest", "split it")
    end_s = Fraction(whole(root.get("Duration", "0")), overall)
    renditions: list[Rendition] = []
    for place, stream in enumerate(children(root, "StreamIndex")):
        label = stream.get("Name") or stream.get("Type") or str(place)
        try:
            timescale = _timescale(stream.get("TimeScale"), overall)
            timeline = _chunks(stream, live, int(end_s * timescale))
        except ValueError as error:
            notices.left_out(f"StreamIndex {label[:40]!r}", error)
            continue
        if timeline is None:
            continue
        for at, level in enumerate(children(stream, "QualityLevel")):
            name = f"{label}-{level.get('Index', at)}"
            try:
                pattern = _pattern(url, stream, level)
                if pattern is not None:
                    template = Template((pattern,), timescale, 0, timeline.runs[0].start_ticks, None, timeline)
                    renditions.append(Rendition(name, None, whole(level.get("Bitrate", "0")), (), (template,)))
            except ValueError as error:
                notices.left_out(f"QualityLevel {name[:40]!r}", error)
    longest_s = max((_longest_s(template) for r in renditions for template in r.templates), default=0.0)
    headers = (e.text or "" for e in root.iter() if local(e) == "ProtectionHeader")
    return Presentation(
        url=url,
        format=Format.SMOOTH,
        live=live,
        target_duration_s=longest_s,
        renditions=tuple(renditions),
        never_share=frozenset(secret_urls(url, (u for text in headers for u in header_urls(text)))),
        ended=not live,
        notices=notices.sentences(),
    )


def _longest_s(template: Template) -> float:
    runs = template.timeline.runs if template.timeline is not None else ()
    return max((run.duration_ticks / template.timescale for run in runs), default=0.0)


def _timescale(text: str | None, default: int) -> int:
    value = whole(text) if text else default
    if not 0 < value <= TIMESCALE_MAX:
        raise ValueError(f"TimeScale {value}")
    return value


def _pattern(url: str, stream: Element, level: Element) -> str | None:
    """The URL pattern of one quality level; None if the stream has none, as sparse streams without chunks."""
    text = stream.get("Url")
    if not text:
        return None
    custom = ",".join(
        f"{a.get('Name', '')}={a.get('Value', '')}"
        for holder in children(level, "CustomAttributes")
        for a in children(holder, "Attribute")
    )

    def value(found: re.Match[str]) -> str:
        name = found[1].lower()
        if name == "bitrate":
            return literal(str(whole(level.get("Bitrate", "0"))))
        return literal(custom) if name == "customattributes" else "$Time$"

    filled: list[str] = []
    at = 0
    for found in _FIELD.finditer(text):
        filled += [literal(text[at : found.start()]), value(found)]
        at = found.end()
    filled.append(literal(text[at:]))
    target = urls.resolve(literal(url), "".join(filled))
    return urls.normal(target) if "$Time$" in target and urls.is_http(target) else None


def _chunks(stream: Element, live: bool, end_ticks: int) -> Timeline | None:
    """The timeline of a stream's `c` elements; None without any.

    `t` is a chunk's start, `d` its length, `r` how often it comes in all ([MS-SSTR] 2.2.2.6, 2.2.2.6.1).
    """
    entries = list(children(stream, "c"))
    runs: list[TimelineRun] = []
    at = number = 0
    for place, entry in enumerate(entries):
        at = whole(entry.get("t", str(at)))
        following = entries[place + 1].get("t") if place + 1 < len(entries) else None
        length = whole(entry.get("d") or str((whole(following) if following else end_ticks) - at))
        if length <= 0 and live and place + 1 == len(entries):
            length = runs[-1].duration_ticks if runs else 0
        count = max(1, whole(entry.get("r", "1")))
        if length <= 0 or at < 0 or (runs and at < runs[-1].start_ticks):
            raise ValueError(f"chunk {place}: t={at} d={length}")
        if runs and runs[-1].duration_ticks == length and runs[-1].end_ticks() == at:
            last = runs[-1]
            runs[-1] = TimelineRun(last.start_ticks, length, (last.count or 1) + count, last.number)
        else:
            runs.append(TimelineRun(at, length, count, number))
        at += length * count
        number += count
    return Timeline(tuple(runs), open_ended=live) if runs else None
