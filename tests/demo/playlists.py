"""HLS playlists as they read at one time (RFC 8216; low latency: draft-pantos-hls-rfc8216bis, appendix B).

Map:
    Clock                       where the live edge is; VOD is an event that has ended
    master(content, sound)      the renditions; sound apart from the picture in CMAF
    transport_streams(...)      TS segments, clear or in AES-128
    fragments(...)              CMAF segments, with parts where `parts`
"""

from dataclasses import dataclass

from tests.demo.clock import stamp
from tests.demo.content import AAC_FRAME, RENDITIONS, SEGMENT_SECONDS, SEGMENTS, SEGMENTS_PER_KEY, Content

WINDOW = 6  # segments listed in a manifest
VOD_SEGMENTS = 30
PARTS = 5  # of a segment: ten frames of picture each
PART_SECONDS = SEGMENT_SECONDS / PARTS
_PART_TARGET = PART_SECONDS + AAC_FRAME / 48_000  # sound is cut where a frame ends
_PARTS_LISTED = 2  # complete segments whose parts are listed too


@dataclass(frozen=True)
class Clock:
    """Segment n exists from epoch + 2 (n + 1) on."""

    epoch: float

    def newest(self, now: float) -> int:
        return int((now - self.epoch) // SEGMENT_SECONDS) - 1

    def parts_made(self, now: float) -> int:
        """Parts since the epoch, whole segments' and those of the one that is being made."""
        return int((now - self.epoch) / PART_SECONDS + 1e-6)

    def listed(self, now: float) -> range:
        last = self.newest(now)
        return range(max(0, last - WINDOW + 1), last + 1)


def master(content: Content, sound_apart: bool) -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if sound_apart:
        name = 'GROUP-ID="sound",NAME="en",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES'
        lines.append(f'#EXT-X-MEDIA:TYPE=AUDIO,{name},URI="audio/index.m3u8"')
    for rendition in RENDITIONS:
        row = f"BANDWIDTH={rendition.total_bits_a_second},RESOLUTION={rendition.width}x{rendition.height}"
        row += f',FRAME-RATE=25.000,CODECS="{content.codecs[rendition.name]},mp4a.40.2"'
        lines += [f"#EXT-X-STREAM-INF:{row}" + (',AUDIO="sound"' if sound_apart else "")]
        lines += [f"{rendition.name}/index.m3u8"]
    return "\n".join(lines) + "\n"


def transport_streams(clock: Clock, secret: bool, now: float | None) -> str:
    """The live window, or without a time the whole of VOD."""
    numbers = range(VOD_SEGMENTS) if now is None else clock.listed(now)
    first = numbers.start
    lines = ["#EXTM3U", "#EXT-X-VERSION:4", f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}"]
    lines += ["#EXT-X-INDEPENDENT-SEGMENTS", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    lines += [f"#EXT-X-DISCONTINUITY-SEQUENCE:{max(0, first - 1) // SEGMENTS}"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD"] if now is None else []
    for number in numbers:
        if number % SEGMENTS == 0 and number:  # the loop starts again, and so do its timestamps
            lines.append("#EXT-X-DISCONTINUITY")
        if secret and (number == first or number % SEGMENTS_PER_KEY == 0):
            lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="../key/{number // SEGMENTS_PER_KEY}.bin"')
        if now is not None:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{stamp(clock.epoch + number * SEGMENT_SECONDS)}")
        lines += [f"#EXTINF:{SEGMENT_SECONDS:.3f},", f"{number}.ts"]
    lines += ["#EXT-X-ENDLIST"] if now is None else []
    return "\n".join(lines) + "\n"


def fragments(content: Content, clock: Clock, track: str, parts: bool, now: float) -> str:
    """One track of CMAF."""
    numbers, made = clock.listed(now), clock.parts_made(now)
    lines = ["#EXTM3U", "#EXT-X-VERSION:9", f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}"]
    if parts:
        lines.append(f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={4 * PART_SECONDS:.3f}")
        lines.append(f"#EXT-X-PART-INF:PART-TARGET={_PART_TARGET:.5f}")
    lines += ["#EXT-X-INDEPENDENT-SEGMENTS", f"#EXT-X-MEDIA-SEQUENCE:{numbers.start}", '#EXT-X-MAP:URI="init.mp4"']
    for number in range(numbers.start, numbers.stop + parts):
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{stamp(clock.epoch + number * SEGMENT_SECONDS)}")
        if parts and number >= numbers.stop - _PARTS_LISTED:
            for part in range(min(PARTS, made - number * PARTS)):
                alone = ",INDEPENDENT=YES" if part == 0 or track == "audio" else ""
                lines.append(f'#EXT-X-PART:DURATION={PART_SECONDS:.5f},URI="{number}.{part}.m4s"{alone}')
        if number < numbers.stop:
            ticks = content.start_of(track, number + 1) - content.start_of(track, number)
            lines += [f"#EXTINF:{ticks / content.timescale[track]:.5f},", f"{number}.m4s"]
    if parts:
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{made // PARTS}.{made % PARTS}.m4s"')
        newest = f"LAST-MSN={(made - 1) // PARTS},LAST-PART={(made - 1) % PARTS}"
        others = [name for name in content.timescale if name != track]
        lines += [f'#EXT-X-RENDITION-REPORT:URI="../{name}/index.m3u8",{newest}' for name in others]
    return "\n".join(lines) + "\n"
