"""DASH manifests as they read at one time (ISO/IEC 23009-1).

Map:
    manifest(content, clock, kind, now)     kind is live, timeline, vod, clearkey: live and protected,
                                            or growing: live, by segments that are sent while they are made
"""

import itertools
from typing import Literal

from tests.demo.clock import stamp
from tests.demo.content import RENDITIONS, SEGMENT_SECONDS, Content
from tests.demo.playlists import PART_SECONDS, VOD_SEGMENTS, WINDOW, Clock

type Kind = Literal["live", "timeline", "vod", "clearkey", "growing"]
_CLEARKEY = "urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e"


def _template(content: Content, clock: Clock, track: str, kind: Kind, now: float) -> str:
    scale, timeline = content.timescale[track], kind == "timeline"
    start = f'<SegmentTemplate timescale="{scale}" initialization="$RepresentationID$/init.mp4" '
    if not timeline:
        media = 'media="$RepresentationID$/$Number$.m4s" startNumber="0" '
        ahead = f'availabilityTimeOffset="{SEGMENT_SECONDS - PART_SECONDS}" availabilityTimeComplete="false" '
        return f'{start}{media}{ahead if kind == "growing" else ""}duration="{SEGMENT_SECONDS * scale}"/>'
    listed = clock.listed(now)
    times = [content.start_of(track, n) for n in range(listed.start, listed.stop + 1)]
    rows = "".join(f'<S t="{a}" d="{b - a}"/>' for a, b in itertools.pairwise(times))
    media = 'media="$RepresentationID$/t$Time$.m4s">'
    return f"{start}{media}<SegmentTimeline>{rows}</SegmentTimeline></SegmentTemplate>"


def _when(clock: Clock, kind: Kind, now: float) -> str:
    if kind == "vod":
        return f'type="static" mediaPresentationDuration="PT{VOD_SEGMENTS * SEGMENT_SECONDS}S"'
    timeline = kind == "timeline"
    delay = "" if kind == "growing" else f' suggestedPresentationDelay="PT{3 * SEGMENT_SECONDS}S"'
    newest = clock.epoch + (clock.newest(now) + 1) * SEGMENT_SECONDS
    return f"""type="dynamic"
 availabilityStartTime="{stamp(clock.epoch)}" publishTime="{stamp(newest if timeline else clock.epoch)}"
 minimumUpdatePeriod="PT{SEGMENT_SECONDS if timeline else 10}S"
 timeShiftBufferDepth="PT{WINDOW * SEGMENT_SECONDS}S"{delay}"""


def _delay(kind: Kind) -> str:
    """How far behind live players are to be; others take `suggestedPresentationDelay`."""
    return '<ServiceDescription id="0"><Latency target="2500"/></ServiceDescription>' if kind == "growing" else ""


def _protection(key_id: str) -> str:
    """Common Encryption and, for ClearKey, where its licences are."""
    return f"""
<ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="cenc" cenc:default_KID="{key_id}"/>
<ContentProtection schemeIdUri="{_CLEARKEY}" value="ClearKey1.0">
<dashif:Laurl>/licence/clearkey</dashif:Laurl></ContentProtection>
"""


def manifest(content: Content, clock: Clock, kind: Kind, now: float, key_id: str = "") -> str:
    protection = _protection(key_id) if kind == "clearkey" else ""
    video = "".join(
        f'<Representation id="{r.name}" bandwidth="{r.total_bits_a_second}" width="{r.width}" height="{r.height}"'
        f' frameRate="25" codecs="{content.codecs[r.name]}">{_template(content, clock, r.name, kind, now)}'
        "</Representation>"
        for r in RENDITIONS
    )
    sound = '<Representation id="audio" bandwidth="115200" codecs="mp4a.40.2" audioSamplingRate="48000">'
    sound += f"{_template(content, clock, 'audio', kind, now)}</Representation>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:cenc="urn:mpeg:cenc:2013" xmlns:dashif="https://dashif.org/CPS"
 profiles="urn:mpeg:dash:profile:isoff-live:2011" {_when(clock, kind, now)} minBufferTime="PT{SEGMENT_SECONDS}S"
 maxSegmentDuration="PT{SEGMENT_SECONDS}S">{_delay(kind)}
<Period id="p0" start="PT0S">
<AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
{protection}{video}
</AdaptationSet>
<AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" lang="en" segmentAlignment="true" startWithSAP="1">
{protection}{sound}
</AdaptationSet>
</Period>
<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="/time"/>
</MPD>
"""
