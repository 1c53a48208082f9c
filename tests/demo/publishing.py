"""What the origin publishes: from a path and the time to bytes. No socket, no clock.

Map:
    Publication(content, epoch)
        .newest(now)          the newest complete segment; segment n exists from epoch + 2 (n + 1) on
        .manifest(path, now)  HLS playlists and DASH manifests as they read at `now`
        .media(path)          segment, initialisation or key: always the same bytes, whatever the time
        .available(body, now) whether that body may be fetched now (published, and not too old)
Paths: /live/hls|aes/master.m3u8, 720/index.m3u8, 720/N.ts, key/N.bin;
       /live/dash/manifest.mpd, timeline.mpd, 720/init.mp4, 720/N.m4s, audio/tTICKS.m4s
"""

import functools
import hashlib
import itertools
import re
from typing import NamedTuple

from tests.demo.clock import stamp
from tests.demo.content import RENDITIONS, SEGMENT_SECONDS, SEGMENTS, SEGMENTS_PER_KEY, Content, encrypted, key_of

WINDOW = 6  # segments listed in a manifest
KEEP = 30  # segments that can still be fetched
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
MANIFEST_TYPE = "application/dash+xml"


class Body(NamedTuple):
    """Published bytes. `kind` is segment, init, key or manifest; `number` places a segment in time."""

    kind: str
    data: bytes
    content_type: str
    cache_control: str
    sha256: str
    number: int | None = None

    @property
    def etag(self) -> str:
        return f'"{self.sha256[:16]}"'


def body(kind: str, data: bytes, content_type: str, cache_control: str, number: int | None = None) -> Body:
    return Body(kind, data, content_type, cache_control, hashlib.sha256(data).hexdigest(), number)


class Publication:
    """One endless live event, in every packaging."""

    def __init__(self, content: Content, epoch: float) -> None:
        self._content, self.epoch = content, epoch
        self.media = functools.lru_cache(maxsize=160)(self._media)

    def newest(self, now: float) -> int:
        return int((now - self.epoch) // SEGMENT_SECONDS) - 1

    def available(self, found: Body, now: float) -> bool:
        return found.number is None or self.newest(now) - KEEP <= found.number <= self.newest(now)

    def published(self, found: Body, now: float) -> bool:
        """Whether the body was ever public: what a viewer got late can still be checked."""
        return found.number is None or 0 <= found.number <= self.newest(now)

    def manifest(self, path: str, now: float) -> Body | None:
        """The manifest at `path`, or None where there is none."""
        if match := re.fullmatch(r"/live/(hls|aes)/(?:(\w+)/index|master)\.m3u8", path):
            if match[2] not in {None, *(rendition.name for rendition in RENDITIONS)}:
                return None
            text = self._playlist(match[1] == "aes", now) if match[2] else self._master()
            return body("manifest", text.encode(), PLAYLIST_TYPE, "no-cache")
        if match := re.fullmatch(r"/live/dash/(manifest|timeline)\.mpd", path):
            return body("manifest", self._mpd(match[1] == "timeline", now).encode(), MANIFEST_TYPE, "no-cache")
        return None

    def _media(self, path: str) -> Body | None:
        seconds = KEEP * SEGMENT_SECONDS
        if match := re.fullmatch(r"/live/(hls|aes)/(360|720)/(\d{1,12})\.ts", path):
            number = int(match[3])
            data = self._content.transport_stream(match[2], number)
            data = encrypted(data, number) if match[1] == "aes" else data
            return body("segment", data, "video/mp2t", f"public, max-age={seconds}", number)
        if match := re.fullmatch(r"/live/aes/key/(\d{1,12})\.bin", path):
            return body("key", key_of(int(match[1])), "application/octet-stream", "no-store")
        if match := re.fullmatch(r"/live/dash/(360|720|audio)/(?:(init)\.mp4|(t?)(\d{1,15})\.m4s)", path):
            track = match[1]
            content_type = "audio/mp4" if track == "audio" else "video/mp4"
            if match[2]:
                return body("init", self._content.init[track], content_type, "public, max-age=86400")
            place = self._content.segment_at(track, int(match[4])) if match[3] else int(match[4])
            if place is not None:
                data = self._content.fragment(track, place)
                return body("segment", data, content_type, f"public, max-age={seconds}", place)
        return None

    def _master(self) -> str:
        lines = ["#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-INDEPENDENT-SEGMENTS"]
        for rendition in RENDITIONS:
            size = f"{rendition.width}x{rendition.height}"
            codecs = f"{self._content.codecs[rendition.name]},mp4a.40.2"
            bits = rendition.total_bits_a_second
            lines += [f'#EXT-X-STREAM-INF:BANDWIDTH={bits},RESOLUTION={size},FRAME-RATE=25.000,CODECS="{codecs}"']
            lines += [f"{rendition.name}/index.m3u8"]
        return "\n".join(lines) + "\n"

    def _playlist(self, secret: bool, now: float) -> str:
        last = self.newest(now)
        first = max(0, last - WINDOW + 1)
        lines = ["#EXTM3U", "#EXT-X-VERSION:4", f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}"]
        lines += ["#EXT-X-INDEPENDENT-SEGMENTS", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        lines += [f"#EXT-X-DISCONTINUITY-SEQUENCE:{max(0, first - 1) // SEGMENTS}"]
        for number in range(first, last + 1):
            if number % SEGMENTS == 0 and number:  # the loop starts again, and so do its timestamps
                lines.append("#EXT-X-DISCONTINUITY")
            if secret and (number == first or number % SEGMENTS_PER_KEY == 0):
                lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="../key/{number // SEGMENTS_PER_KEY}.bin"')
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{stamp(self.epoch + number * SEGMENT_SECONDS)}")
            lines += [f"#EXTINF:{SEGMENT_SECONDS:.3f},", f"{number}.ts"]
        return "\n".join(lines) + "\n"

    def _template(self, track: str, timeline: bool, now: float) -> str:
        scale = self._content.timescale[track]
        start = f'<SegmentTemplate timescale="{scale}" initialization="$RepresentationID$/init.mp4" '
        if not timeline:
            media = 'media="$RepresentationID$/$Number$.m4s" startNumber="0" '
            return f'{start}{media}duration="{SEGMENT_SECONDS * scale}"/>'
        last = self.newest(now)
        times = [self._content.start_of(track, n) for n in range(max(0, last - WINDOW + 1), last + 2)]
        rows = "".join(f'<S t="{a}" d="{b - a}"/>' for a, b in itertools.pairwise(times))
        media = 'media="$RepresentationID$/t$Time$.m4s">'
        return f"{start}{media}<SegmentTimeline>{rows}</SegmentTimeline></SegmentTemplate>"

    def _mpd(self, timeline: bool, now: float) -> str:
        seconds = WINDOW * SEGMENT_SECONDS
        newest = self.epoch + (self.newest(now) + 1) * SEGMENT_SECONDS
        video = "".join(
            f'<Representation id="{r.name}" bandwidth="{r.total_bits_a_second}" width="{r.width}" height="{r.height}"'
            f' frameRate="25" codecs="{self._content.codecs[r.name]}">{self._template(r.name, timeline, now)}'
            "</Representation>"
            for r in RENDITIONS
        )
        sound = self._template("audio", timeline, now)
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic"
 availabilityStartTime="{stamp(self.epoch)}" publishTime="{stamp(newest if timeline else self.epoch)}"
 minimumUpdatePeriod="PT{SEGMENT_SECONDS if timeline else 10}S" minBufferTime="PT{SEGMENT_SECONDS}S"
 timeShiftBufferDepth="PT{seconds}S" suggestedPresentationDelay="PT{3 * SEGMENT_SECONDS}S"
 maxSegmentDuration="PT{SEGMENT_SECONDS}S">
<Period id="p0" start="PT0S">
<AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">{video}
</AdaptationSet>
<AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" lang="en" segmentAlignment="true" startWithSAP="1">
<Representation id="audio" bandwidth="115200" codecs="mp4a.40.2" audioSamplingRate="48000">{sound}</Representation>
</AdaptationSet>
</Period>
<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="/time"/>
</MPD>
"""
