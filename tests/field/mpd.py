"""MPDs for these tests, each with a set of probes by which desks find out that they share.

Map: `mpd` (a whole one, of the sets that a test writes) · `timeline` (a set by SegmentTimeline) · `probes` (paths)
"""

from collections.abc import Sequence

from tests.demo.clock import stamp, wall
from tests.field.origin import PROBES

NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
STEP = 4_000
"""Ticks of a segment, 1000 a second."""


def timeline(folder: str, count: int, attributes: str = "") -> str:
    """An AdaptationSet of `count` segments `{folder}/v-0.m4s`, `{folder}/v-4000.m4s` and so on."""
    entry = f'<S t="0" d="{STEP}" r="{count - 1}"/>' if count else ""
    return (
        f'<AdaptationSet id="1" mimeType="video/mp4" {attributes}><SegmentTemplate timescale="1000" '
        f'media="{folder}/v-$Time$.m4s"><SegmentTimeline>{entry}</SegmentTimeline></SegmentTemplate>'
        '<Representation id="v" bandwidth="800000" codecs="avc1.64001f"/></AdaptationSet>'
    )


def probes(folder: str) -> list[str]:
    return [f"{folder}/probe-{number}.ts" for number in range(PROBES)]


def mpd(folder: str, *sets: str, attributes: str = "", inside: str = "", dynamic: bool = False) -> bytes:
    """A presentation of one period with these sets. `inside` stands before the period."""
    kind = 'type="static" mediaPresentationDuration="PT600S"'
    if dynamic:
        began = stamp(wall() - 60)
        kind = f'type="dynamic" availabilityStartTime="{began}" timeShiftBufferDepth="PT60S" minimumUpdatePeriod="PT4S"'
    urls = "".join(f'<SegmentURL media="{path}"/>' for path in probes(folder))
    found = (
        '<AdaptationSet id="9" mimeType="video/mp2t"><Representation id="probes" bandwidth="1000">'
        f'<SegmentList duration="4">{urls}</SegmentList></Representation></AdaptationSet>'
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<MPD xmlns="{NAMESPACE}" {kind} minBufferTime="PT2S" '
        f'profiles="urn:mpeg:dash:profile:isoff-live:2011" {attributes}>{inside}'
        f'<Period id="p0" start="PT0S">{"".join(_lines(sets))}{found}</Period></MPD>\n'
    ).encode()


def _lines(sets: Sequence[str]) -> list[str]:
    return [f"\n{each}\n" for each in sets]
