"""Makes the demo's stream: real H.264 and AAC in two renditions, encoded once and kept in a cache directory.

Map:
    RENDITIONS, SEGMENT_SECONDS, SEGMENTS   what there is
    prepare(directory)                      encode and package, or find the result of last time -> its directory
    Content(directory)                      the loop in memory: transport_stream(), fragment(), times of fragments
    encrypted, key_of                       HLS AES-128: key per ten segments, the segment's number as its IV
The loop is 24 s: 12 closed GOPs of 50 frames, and exactly 1125 AAC frames of 1024 samples, so sound has no seam either.
"""

import hashlib
import io
import itertools
import json
import math
import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.demo import boxes
from tests.demo.picture import Painter

SEGMENT_SECONDS = 2
SEGMENTS = 12
FRAMES_A_SECOND = 25
SAMPLES_A_SECOND = 48_000
AAC_FRAME = 1024
AUDIO_BITS_A_SECOND = 96_000
SEGMENTS_PER_KEY = 10
DEFAULT_DIRECTORY = Path(__file__).resolve().parents[2] / "build" / "demo-content"


class Rendition(NamedTuple):
    """One quality of the picture. `noise` is the grain's strength; it makes the encoder spend its budget."""

    name: str
    width: int
    height: int
    bits_a_second: int
    noise: int

    @property
    def total_bits_a_second(self) -> int:
        """With sound and packaging, as a manifest declares it."""
        return int((self.bits_a_second + AUDIO_BITS_A_SECOND) * 1.2)


RENDITIONS = (Rendition("360", 640, 360, 700_000, 14), Rendition("720", 1280, 720, 2_400_000, 12))


class Sample(NamedTuple):
    """One encoded frame, of picture or of sound."""

    data: bytes
    key: bool


class Track:
    """All frames of one encoded track, and the intermediate file that later muxers take its description from."""

    def __init__(self, file: bytes, ticks_a_frame: int, ticks_a_second: int) -> None:
        self.ticks_a_frame, self.time_base = ticks_a_frame, Fraction(1, ticks_a_second)
        self.source = av.open(io.BytesIO(file), "r")
        self.samples = [Sample(bytes(p), p.is_keyframe) for p in self.source.demux(self.source.streams[0]) if p.size]

    def packet(self, index: int, place: int, stream: Any) -> "av.Packet[Any]":
        """Frame `index`, to be shown as the `place`-th frame of `stream`."""
        sample = self.samples[index]
        packet = av.Packet(sample.data)
        packet.time_base = self.time_base
        packet.pts = packet.dts = place * self.ticks_a_frame
        packet.duration = self.ticks_a_frame
        packet.is_keyframe = sample.key
        packet.stream = stream
        return packet


def first_audio_frame(segment: int) -> int:
    """Sound is cut at the first AAC frame that starts in the segment: 93.75 frames are 2 s."""
    return math.ceil(segment * SEGMENT_SECONDS * SAMPLES_A_SECOND / AAC_FRAME)


def _encode_video(rendition: Rendition) -> Track:
    file = io.BytesIO()
    gop = SEGMENT_SECONDS * FRAMES_A_SECOND
    rate = rendition.bits_a_second
    # No B frames: decode order is display order, so a fragment's time is simply its first frame's.
    options = {"preset": "superfast", "profile": "main", "bf": "0", "g": str(gop), "keyint_min": str(gop)}
    options |= {"sc_threshold": "0", "maxrate": str(rate * 11 // 10), "bufsize": str(rate), "threads": "2"}
    painter = Painter(rendition.width, rendition.height, f"DEMO {rendition.name}P", FRAMES_A_SECOND, rendition.noise)
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FRAMES_A_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = (
            rendition.width,
            rendition.height,
            "yuv420p",
            rate,
        )
        for number in range(gop * SEGMENTS):
            frame = av.VideoFrame.from_ndarray(painter.frame(number), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_A_SECOND)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return Track(file.getvalue(), 90_000 // FRAMES_A_SECOND, 90_000)


def _encode_audio() -> Track:
    """A quiet tone with a beep each second. One loop and a little: the encoder's first frames are its run-up."""
    run_up = 4
    frames = first_audio_frame(SEGMENTS)
    at = np.arange((frames + run_up) * AAC_FRAME) / SAMPLES_A_SECOND
    tone = 0.03 * np.sin(2 * np.pi * 220 * at) + 0.2 * np.sin(2 * np.pi * 880 * at) * (at % 1 < 0.08)
    sound = np.repeat(tone.astype(np.float32)[None, :], 2, axis=0)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=SAMPLES_A_SECOND, layout="stereo")
        stream.bit_rate = AUDIO_BITS_A_SECOND
        for start in range(0, sound.shape[1], AAC_FRAME):
            block = np.ascontiguousarray(sound[:, start : start + AAC_FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SAMPLES_A_SECOND, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    track = Track(file.getvalue(), AAC_FRAME, SAMPLES_A_SECOND)
    track.samples = track.samples[run_up - 1 : run_up - 1 + frames]
    assert len(track.samples) == frames
    return track


def _fragments(track: Track, starts: list[int], directory: Path) -> None:
    """CMAF: each segment is muxed alone as one fragment; its place in time is written when it is published."""
    directory.mkdir(parents=True)
    options = {"movflags": "empty_moov+default_base_moof+skip_trailer", "use_editlist": "0"}
    options["video_track_timescale"] = "90000"
    for segment, (start, end) in enumerate(itertools.pairwise(starts)):
        file = io.BytesIO()
        with av.open(file, "w", format="mp4", options=options) as output:
            stream = output.add_stream_from_template(track.source.streams[0])
            for index in range(start, end):
                output.mux(track.packet(index, index - start, stream))
        if segment == 0:
            (directory / "init.mp4").write_bytes(boxes.initialisation(file.getvalue()))
        (directory / f"{segment}.m4s").write_bytes(boxes.media(file.getvalue()))


def _transport_stream(video: Track, audio: Track, directory: Path) -> None:
    """HLS TS: one muxer over the whole loop, so that continuity counters run through."""
    directory.mkdir(parents=True)
    options = {"hls_time": str(SEGMENT_SECONDS), "hls_list_size": "0", "hls_playlist_type": "vod"}
    options["hls_segment_filename"] = str(directory / "%d.ts")
    with av.open(str(directory / "index.m3u8"), "w", format="hls", options=options) as output:
        picture = output.add_stream_from_template(video.source.streams[0])
        sound = output.add_stream_from_template(audio.source.streams[0])
        order = [(Fraction(i, FRAMES_A_SECOND), 0, i) for i in range(len(video.samples))]
        order += [(Fraction(i * AAC_FRAME, SAMPLES_A_SECOND), 1, i) for i in range(len(audio.samples))]
        for _, kind, index in sorted(order):
            output.mux((audio if kind else video).packet(index, index, sound if kind else picture))


def _version() -> str:
    """Changes when anything that shapes the content does: it is the hash of the code that makes it."""
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in ("content.py", "picture.py", "boxes.py"))
    return hashlib.sha256(code + av.__version__.encode()).hexdigest()[:12]


def _make(directory: Path) -> None:
    audio = _encode_audio()
    _fragments(audio, [first_audio_frame(k) for k in range(SEGMENTS + 1)], directory / "audio")
    gop = SEGMENT_SECONDS * FRAMES_A_SECOND
    for rendition in RENDITIONS:
        video = _encode_video(rendition)
        _fragments(video, [gop * k for k in range(SEGMENTS + 1)], directory / rendition.name)
        _transport_stream(video, audio, directory / "ts" / rendition.name)
    made = {r.name: boxes.codec((directory / r.name / "init.mp4").read_bytes()) for r in RENDITIONS}
    (directory / "codecs.json").write_text(json.dumps(made))


def prepare(directory: Path = DEFAULT_DIRECTORY) -> Path:
    """The directory with the content of this version; made first where it is missing (some seconds)."""
    ready = directory / _version()
    if not (ready / "codecs.json").exists():
        directory.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="making-", dir=directory))
        try:
            _make(work)
            work.rename(ready)
        except OSError:
            if not (ready / "codecs.json").exists():  # else another process was faster with the very same
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return ready


def key_of(number: int) -> bytes:
    """Key `number` of the encrypted stream: made, not drawn, so that any process knows what was published."""
    return hashlib.sha256(f"demo key {number}".encode()).digest()[:16]


def encrypted(clear: bytes, segment: int) -> bytes:
    """HLS AES-128: CBC with PKCS #7 padding (RFC 8216, section 4.3.2.4)."""
    padder = padding.PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(key_of(segment // SEGMENTS_PER_KEY)), modes.CBC(segment.to_bytes(16, "big")))
    encryptor = cipher.encryptor()
    secret: bytes = encryptor.update(padder.update(clear) + padder.finalize()) + encryptor.finalize()
    return secret


class Content:
    """The prepared loop, read into memory, numbered without end."""

    def __init__(self, directory: Path) -> None:
        self.codecs: dict[str, str] = json.loads((directory / "codecs.json").read_text())
        tracks = [*self.codecs, "audio"]
        self.init = {name: (directory / name / "init.mp4").read_bytes() for name in tracks}
        self._fragments = {n: [(directory / n / f"{k}.m4s").read_bytes() for k in range(SEGMENTS)] for n in tracks}
        self._ts: dict[str, list[bytes]] = {
            n: [(directory / "ts" / n / f"{k}.ts").read_bytes() for k in range(SEGMENTS)] for n in self.codecs
        }
        self.timescale = {name: boxes.timescale(init) for name, init in self.init.items()}

    def start_of(self, track: str, segment: int) -> int:
        """Where a segment of the endless stream starts, in the track's ticks."""
        loop, place = divmod(segment, SEGMENTS)
        if track == "audio":
            return (loop * first_audio_frame(SEGMENTS) + first_audio_frame(place)) * AAC_FRAME
        return segment * SEGMENT_SECONDS * self.timescale[track]

    def segment_at(self, track: str, ticks: int) -> int | None:
        """The segment that starts at `ticks`, if one does."""
        near = round(ticks / self.timescale[track] / SEGMENT_SECONDS)
        return next((n for n in range(max(0, near - 1), near + 2) if self.start_of(track, n) == ticks), None)

    def fragment(self, track: str, segment: int) -> bytes:
        return boxes.retimed(self._fragments[track][segment % SEGMENTS], self.start_of(track, segment), segment + 1)

    def transport_stream(self, rendition: str, segment: int) -> bytes:
        """The segment and a null packet with its number: so no two segments of the endless stream are alike."""
        mark = b"\x47\x1f\xff\x10" + segment.to_bytes(8, "big")
        return self._ts[rendition][segment % SEGMENTS] + mark.ljust(188, b"\xff")


if __name__ == "__main__":
    os.write(1, f"{prepare()}\n".encode())
