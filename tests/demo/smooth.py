"""The live event as Smooth Streaming publishes it ([MS-SSTR]): times in 100 ns, no initialisation, moof without tfdt.

Map:
    manifest(content, clock, now)         the client manifest (section 2.2.2)
    fragment(content, track, number)      picture or sound of a segment, where it is and when the next one is
    information                           the same without its media
    asked_for(content, path)              what a URL names
A fragment names the one after it (tfrf), so it is published when that one is whole: players go on without the manifest.
"""

import re
from functools import partial
from typing import NamedTuple
from uuid import UUID

from tests.demo import boxes, fragments
from tests.demo.content import AUDIO_BITS_A_SECOND, RENDITIONS, SAMPLES_A_SECOND, SEGMENT_SECONDS, Content
from tests.demo.fragments import full_box, new_box
from tests.demo.playlists import WINDOW, Clock

TICKS_A_SECOND = 10_000_000
LOOKAHEAD = 1
_TFXD = UUID("6d1d9b05-42d5-44e6-80e2-141daff757b2").bytes
_TFRF = UUID("d4807ef2-ca39-4695-8e54-26cb9e46a79f").bytes
_TRACKS = {r.bits_a_second: r.name for r in RENDITIONS} | {AUDIO_BITS_A_SECOND: "audio"}
_AAC_LC_48_KHZ_STEREO = "1190"


def _start(content: Content, track: str, number: int) -> int:
    return round(content.start_of(track, number) * TICKS_A_SECOND / content.timescale[track])


class Asked(NamedTuple):
    """A chunk of a track. `whole`: with its media."""

    track: str
    number: int
    whole: bool


def asked_for(content: Content, path: str) -> Asked | None:
    """What `path`, behind the manifest's, names ([MS-SSTR] section 2.2.3)."""
    match = re.fullmatch(r"QualityLevels\((\d{1,9})\)/Fragment(s|Info)\((video|audio)=(\d{1,18})\)", path)
    track = _TRACKS.get(int(match[1])) if match else None
    if match is None or track is None or (track == "audio") != (match[3] == "audio"):
        return None
    near = round(int(match[4]) / TICKS_A_SECOND / SEGMENT_SECONDS)
    near_by = range(max(0, near - 1), near + 2)
    number = next((n for n in near_by if _start(content, track, n) == int(match[4])), None)
    return None if number is None else Asked(track, number, match[2] == "s")


def _picture_setup(init: bytes) -> str:
    """The parameter sets of H.264 with start codes, as CodecPrivateData wants them (section 2.2.2.5)."""
    at = init.index(b"avcC") + 9
    sets = b""
    for _ in range(2):  # sequence parameter sets, then picture parameter sets; one of each
        size = int.from_bytes(init[at + 1 : at + 3])
        sets += b"\0\0\0\1" + init[at + 3 : at + 3 + size]
        at += 3 + size
    return sets.hex().upper()


def _stream(content: Content, clock: Clock, kind: str, levels: list[str], now: float) -> str:
    newest = clock.newest(now) - LOOKAHEAD
    start = partial(_start, content, "audio" if kind == "audio" else RENDITIONS[0].name)
    chunks = [f'<c t="{start(n)}" d="{start(n + 1) - start(n)}"/>' for n in range(newest - WINDOW + 1, newest + 1)]
    url = f"QualityLevels({{bitrate}})/Fragments({kind}={{start time}})"
    counts = f'Chunks="{len(chunks)}" QualityLevels="{len(levels)}"'
    return f'<StreamIndex Type="{kind}" Name="{kind}" {counts} Url="{url}">{"".join(levels + chunks)}</StreamIndex>\n'


def manifest(content: Content, clock: Clock, now: float) -> str:
    """What may be asked for at `now`."""
    picture = [
        f'<QualityLevel Index="{index}" Bitrate="{r.bits_a_second}" FourCC="H264" MaxWidth="{r.width}"'
        f' MaxHeight="{r.height}" CodecPrivateData="{_picture_setup(content.init[r.name])}"/>'
        for index, r in enumerate(RENDITIONS)
    ]
    sound = (
        f'<QualityLevel Index="0" Bitrate="{AUDIO_BITS_A_SECOND}" FourCC="AACL" SamplingRate="{SAMPLES_A_SECOND}"'
        f' Channels="2" BitsPerSample="16" PacketSize="4" AudioTag="255" CodecPrivateData="{_AAC_LC_48_KHZ_STEREO}"/>'
    )
    window = WINDOW * SEGMENT_SECONDS * TICKS_A_SECOND
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<SmoothStreamingMedia MajorVersion="2" MinorVersion="2" TimeScale="{TICKS_A_SECOND}" Duration="0" IsLive="TRUE"
 LookaheadCount="{LOOKAHEAD}" DVRWindowLength="{window}" CanSeek="TRUE" CanPause="TRUE">
{_stream(content, clock, "video", picture, now)}{_stream(content, clock, "audio", [sound], now)}</SmoothStreamingMedia>
"""


def fragment(content: Content, track: str, number: int) -> bytes:
    """Tfxd says when this one is, tfrf when the next one is (sections 2.2.4.4 and 2.2.4.5)."""
    whole = fragments.read(content.fragment(track, number))
    starts = [_start(content, track, n) for n in range(number, number + 3)]
    ticks = whole.ticks * TICKS_A_SECOND // content.timescale[track]

    def span(place: int) -> bytes:
        return starts[place].to_bytes(8) + (starts[place + 1] - starts[place]).to_bytes(8)

    here = new_box(b"uuid", _TFXD, b"\1\0\0\0", span(0))
    following = new_box(b"uuid", _TFRF, b"\1\0\0\0", bytes([LOOKAHEAD]), span(1))
    header = full_box(b"tfhd", 0, 0x020038, _words(1, ticks, 0, whole.later_flags))
    number_box = full_box(b"mfhd", 0, 0, _words(number + 1))
    sizes = [len(frame) for frame in whole.frames]
    first = [fragments.KEY_FRAME_FLAGS] if whole.key_first else []
    flags = 0x1 | 0x200 | (0x4 if whole.key_first else 0)

    def moof(offset: int) -> bytes:
        run = full_box(b"trun", 0, flags, _words(len(sizes), offset, *first, *sizes))
        return new_box(b"moof", number_box, new_box(b"traf", header, run, here, following))

    return moof(len(moof(0)) + 8) + new_box(b"mdat", *whole.frames)


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in numbers)


def information(data: bytes) -> bytes:
    """What `FragmentInfo` answers: the fragment without its media."""
    return data[: boxes.find(data, b"moof").end]
