"""The emulated viewer's own reading of HLS, DASH and Smooth Streaming. It shares no code with the product.

Map:
    Step              what is played next: one URL in HLS, picture and sound in DASH
    Listing           the steps of one rendition at one time
    variants, hls     RFC 8216: master playlist, media playlist
    Mpd               ISO/IEC 23009-1: $Number$ by the clock, SegmentTimeline as listed
    Smooth            [MS-SSTR] 2.2.2: chunks as listed
"""

import re
from datetime import datetime
from typing import NamedTuple
from xml.etree import ElementTree

from yarl import URL

_DASH = "{urn:mpeg:dash:schema:mpd:2011}"
_MARGIN_SECONDS = 0.05  # ask a moment after a segment is due


class Step(NamedTuple):
    """One piece of the presentation, as the URLs that must be fetched before it can be shown."""

    number: int
    seconds: float
    urls: tuple[str, ...]
    key: str | None = None


class Listing(NamedTuple):
    """What can be played now; `refresh_seconds` is how long this stays true."""

    steps: list[Step]
    inits: tuple[str, ...]
    refresh_seconds: float


class Variant(NamedTuple):
    """One rendition of a master playlist."""

    bits_a_second: int
    url: str


def resolve(base: str, reference: str) -> str:
    return str(URL(base).join(URL(reference, encoded=True)))


def variants(text: str, base: str) -> list[Variant]:
    """Renditions, the lowest first; a media playlist is its own only rendition."""
    rows = re.findall(r"^#EXT-X-STREAM-INF:.*?\bBANDWIDTH=(\d+).*\r?\n(?!#)(\S+)", text, re.MULTILINE)
    return sorted(Variant(int(bits), resolve(base, url)) for bits, url in rows) or [Variant(0, base)]


def hls(text: str, base: str) -> Listing:
    """The segments of a media playlist."""
    if not text.startswith("#EXTM3U"):
        raise ValueError("not a playlist")
    number, seconds, target, key = 0, 0.0, 2.0, None
    steps: list[Step] = []
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "#EXT-X-MEDIA-SEQUENCE":
            number = int(value)
        elif name == "#EXT-X-TARGETDURATION":
            target = float(value)
        elif name == "#EXT-X-KEY":
            uri = re.search(r'URI="([^"]+)"', value)
            key = resolve(base, uri[1]) if uri else None
        elif name == "#EXTINF":
            seconds = float(value.split(",")[0])
        elif line and not line.startswith("#"):
            steps.append(Step(number + len(steps), seconds, (resolve(base, line),), key))
    return Listing(steps, (), target)


def _seconds(duration: str | None) -> float:
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", duration or "PT0S")
    if match is None:
        raise ValueError(f"duration {duration}")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


class _Track(NamedTuple):
    """One representation's template with the names filled in, but for the number or time."""

    identity: str
    template: ElementTree.Element

    def url(self, attribute: str, **values: int) -> str:
        text = self.template.attrib[attribute].replace("$RepresentationID$", self.identity)
        for name, value in values.items():
            text = text.replace(f"${name}$", str(value))
        return text

    def timeline(self) -> list[tuple[int, int]]:
        """Start and duration of every listed segment, repeats unrolled."""
        rows: list[tuple[int, int]] = []
        for row in self.template.iterfind(f"{_DASH}SegmentTimeline/{_DASH}S"):
            start, length = int(row.get("t", sum(rows[-1]) if rows else 0)), int(row.attrib["d"])
            rows += [(start + i * length, length) for i in range(int(row.get("r", "0")) + 1)]
        return rows


class Mpd:
    """One dynamic manifest with one period."""

    def __init__(self, text: str, base: str) -> None:
        self._base = base
        self._root = ElementTree.fromstring(text)
        self._epoch = datetime.fromisoformat(self._root.attrib["availabilityStartTime"]).timestamp()
        self.update_seconds = max(1.0, _seconds(self._root.get("minimumUpdatePeriod")))
        self._depth = _seconds(self._root.get("timeShiftBufferDepth"))
        sets = self._root.iterfind(f"{_DASH}Period/{_DASH}AdaptationSet")
        tracks = [list(group.iterfind(f"{_DASH}Representation")) for group in sets]
        self._groups = [sorted(group, key=lambda r: int(r.attrib["bandwidth"])) for group in tracks]
        self.bits = [int(representation.attrib["bandwidth"]) for representation in self._groups[0]]

    def listing(self, level: int, now: float) -> Listing:
        """What can be played at `now` with the picture at quality `level`."""
        chosen = [group[min(level, len(group) - 1)] for group in self._groups]
        tracks = []
        for representation in chosen:
            template = representation.find(f"{_DASH}SegmentTemplate")
            if template is None:
                raise ValueError("no SegmentTemplate")
            tracks.append(_Track(representation.attrib["id"], template))
        inits = tuple(resolve(self._base, track.url("initialization")) for track in tracks)
        listed = tracks[0].timeline()
        steps = self._timeline(tracks) if listed else self._numbers(tracks, now)
        return Listing(steps, inits, self.update_seconds if listed else 0.5)

    def _numbers(self, tracks: list[_Track], now: float) -> list[Step]:
        template = tracks[0].template
        length = int(template.attrib["duration"]) / int(template.attrib["timescale"])
        first = int(template.get("startNumber", "1"))
        newest = int((now - _MARGIN_SECONDS - self._epoch) / length) - 1
        oldest = max(0, newest - int(self._depth / length) + 1)
        return [
            Step(n, length, tuple(resolve(self._base, t.url("media", Number=n + first)) for t in tracks))
            for n in range(oldest, newest + 1)
        ]

    def _timeline(self, tracks: list[_Track]) -> list[Step]:
        scale = int(tracks[0].template.attrib["timescale"])
        rows = list(zip(*(track.timeline() for track in tracks), strict=False))
        steps = []
        for row in rows:
            urls = (resolve(self._base, t.url("media", Time=start)) for t, (start, _) in zip(tracks, row, strict=True))
            start, length = row[0]
            steps.append(Step(round(start / length), length / scale, tuple(urls)))
        return steps


class Smooth:
    """One live client manifest, read again for each new chunk."""

    def __init__(self, text: str, base: str) -> None:
        self._base = base
        root = ElementTree.fromstring(text)
        self._scale = int(root.get("TimeScale", "10000000"))
        self._streams = [stream for stream in root.iterfind("StreamIndex") if stream.find("c") is not None]
        levels = [
            sorted(int(one.attrib["Bitrate"]) for one in stream.iterfind("QualityLevel")) for stream in self._streams
        ]
        self._levels = levels
        self.bits = levels[0]
        first = self._streams[0].find("c")
        assert first is not None
        self.update_seconds = int(first.attrib["d"]) / self._scale

    def listing(self, level: int, _now: float) -> Listing:
        """What is listed, with the picture at quality `level`."""
        rows = zip(*(stream.iterfind("c") for stream in self._streams), strict=False)
        steps = []
        for row in rows:
            urls = []
            for chunk, stream, levels in zip(row, self._streams, self._levels, strict=True):
                bits = levels[min(level, len(levels) - 1)]
                text = stream.attrib["Url"].replace("{bitrate}", str(bits)).replace("{start time}", chunk.attrib["t"])
                urls.append(resolve(self._base, text))
            start, length = int(row[0].attrib["t"]), int(row[0].attrib["d"])
            steps.append(Step(round(start / length), length / self._scale, tuple(urls)))
        return Listing(steps, (), self.update_seconds)
