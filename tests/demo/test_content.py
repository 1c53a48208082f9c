"""The stream is what its manifests say: segments decode alone, start with a key frame and loop without a seam."""

import io
import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.demo import boxes, content, fragments, smooth
from tests.demo.content import SEGMENTS, Content, encrypted, first_audio_frame, key_of
from tests.demo.picture import Painter


@pytest.fixture(scope="module")
def directory() -> Path:
    return content.prepare()


@pytest.fixture(scope="module")
def made(directory: Path) -> Content:
    return Content(directory)


@pytest.mark.parametrize("rendition", content.RENDITIONS)
def test_every_segment_decodes_alone_and_starts_with_a_key_frame(made: Content, rendition: content.Rendition) -> None:
    for number in (0, 7, SEGMENTS - 1, SEGMENTS):
        for file in (
            made.transport_stream(rendition.name, number),
            made.init[rendition.name] + made.fragment(rendition.name, number),
        ):
            with av.open(io.BytesIO(file), "r") as opened:
                frames = list(opened.decode(video=0))
            assert len(frames) == 50
            assert frames[0].key_frame
            assert not any(frame.key_frame for frame in frames[1:])
            assert (frames[0].width, frames[0].height) == (rendition.width, rendition.height)


def test_sound_is_in_both_packagings(made: Content) -> None:
    for file in (made.transport_stream("720", 3), made.init["audio"] + made.fragment("audio", 3)):
        with av.open(io.BytesIO(file), "r") as opened:
            samples = [frame.to_ndarray() for frame in opened.decode(audio=0)]
        assert len(samples) in {93, 94}
        assert max(float(np.abs(block).max()) for block in samples[5:]) > 0.1


def test_renditions_keep_their_bitrate(made: Content) -> None:
    for rendition in content.RENDITIONS:
        sizes = [len(made.transport_stream(rendition.name, n)) for n in range(SEGMENTS)]
        mean = sum(sizes) * 8 / (SEGMENTS * content.SEGMENT_SECONDS)
        assert 0.75 * rendition.bits_a_second < mean < rendition.total_bits_a_second


@pytest.mark.parametrize("track", ["360", "720", "audio"])
def test_fragments_follow_each_other_across_the_seam(made: Content, track: str) -> None:
    for number in range(SEGMENTS - 2, 2 * SEGMENTS + 2):
        segment = made.fragment(track, number)
        assert boxes.decode_time(segment) == made.start_of(track, number)
        with av.open(io.BytesIO(made.init[track] + segment), "r") as opened:
            packets = [packet for packet in opened.demux() if packet.size]
            stream = opened.streams[0]
            assert stream.time_base is not None
            ends = [packet.pts + packet.duration for packet in packets if packet.pts is not None and packet.duration]
            assert packets[0].pts == made.start_of(track, number)
            assert ends[-1] == made.start_of(track, number + 1)
            assert all(b.pts == end for end, (_, b) in zip(ends, itertools.pairwise(packets), strict=False))


def test_a_segment_is_found_by_its_time(made: Content) -> None:
    for number in (0, 11, 12, 900_000_123):
        for track in ("720", "audio"):
            ticks = made.start_of(track, number)
            assert made.segment_at(track, ticks) == number
            assert made.segment_at(track, ticks + 1) is None
    assert first_audio_frame(SEGMENTS) * content.AAC_FRAME == 24 * content.SAMPLES_A_SECOND


def test_no_two_segments_of_the_endless_stream_are_alike(made: Content) -> None:
    assert made.transport_stream("360", 1) != made.transport_stream("360", 1 + SEGMENTS)
    assert made.fragment("360", 1) != made.fragment("360", 1 + SEGMENTS)


def test_encryption_is_the_one_of_the_standard(made: Content) -> None:
    clear = made.transport_stream("360", 25)
    decryptor = Cipher(algorithms.AES(key_of(2)), modes.CBC((25).to_bytes(16, "big"))).decryptor()
    padded = decryptor.update(encrypted(clear, 25)) + decryptor.finalize()
    assert padded[: -padded[-1]] == clear


def test_the_picture_moves() -> None:
    painter = Painter(640, 360, "DEMO 360P", 25, 14)
    first, second = painter.frame(1).astype(int), painter.frame(2).astype(int)
    assert (abs(first - second) > 8).mean() > 0.05


def test_the_second_start_finds_what_the_first_made(directory: Path) -> None:
    before = (directory / "codecs.json").stat().st_mtime_ns
    assert content.prepare() == directory
    assert (directory / "codecs.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("broken", [b"\0\0\0\x04moof", b"\0\0\1\0moof", b""])
def test_a_broken_file_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"no box|does not fit"):
        boxes.decode_time(broken)


def _packets(file: bytes, **options: str) -> list[tuple[int | None, bool, bytes]]:
    with av.open(io.BytesIO(file), "r", options=options) as opened:
        return [(packet.pts, packet.is_keyframe, bytes(packet)) for packet in opened.demux() if packet.size]


@pytest.mark.parametrize("track", ["720", "audio"])
def test_parts_hold_the_frames_of_their_segment(made: Content, track: str) -> None:
    segment, init = made.fragment(track, 15), made.init[track]
    parts = fragments.parts(segment, 5)
    assert _packets(init + b"".join(parts)) == _packets(init + segment)
    counts = [len(_packets(init + part)) for part in parts]
    assert max(counts) - min(counts) <= 1
    assert boxes.decode_time(parts[0]) == made.start_of(track, 15)


@pytest.mark.parametrize("track", ["720", "audio"])
def test_protected_segments_open_with_the_key_alone(made: Content, track: str) -> None:
    clear = made.init[track] + made.fragment(track, 15)
    key = key_of(1)
    secret = fragments.protected_init(made.init[track], key_of(2))
    secret += fragments.protected(made.fragment(track, 15), key, picture=track != "audio")
    assert _packets(secret, decryption_key=key.hex()) == _packets(clear)
    assert _packets(secret, decryption_key=key_of(3).hex()) != _packets(clear)
    shown = sum(a[2] == b[2] for a, b in zip(_packets(secret), _packets(clear), strict=True))
    assert shown == 0


def test_only_fragments_of_our_own_kind_are_read(made: Content) -> None:
    changed = bytearray(made.fragment("720", 0))
    changed[boxes.find(bytes(changed), b"moof", b"traf", b"tfhd").body + 3] ^= 1
    with pytest.raises(ValueError, match="tfhd"):
        fragments.read(bytes(changed))


@pytest.mark.parametrize("track", ["720", "audio"])
def test_smooth_fragments_hold_the_frames_of_their_segment(made: Content, track: str) -> None:
    found = smooth.fragment(made, track, 15)
    packets = _packets(made.init[track] + found)
    assert [packet[2] for packet in packets] == [p[2] for p in _packets(made.init[track] + made.fragment(track, 15))]
    information = smooth.information(found)
    assert found.startswith(information)
    assert len(information) < 0.2 * len(found)


def test_smooth_chunks_are_found_by_their_time_and_name_the_next(made: Content) -> None:
    start, following = 15 * 2 * smooth.TICKS_A_SECOND, 16 * 2 * smooth.TICKS_A_SECOND
    assert smooth.asked_for(made, f"QualityLevels(2400000)/Fragments(video={start})") == ("720", 15, True)
    assert smooth.asked_for(made, f"QualityLevels(700000)/FragmentInfo(video={start})") == ("360", 15, False)
    assert smooth.asked_for(made, f"QualityLevels(2400000)/Fragments(video={start + 1})") is None
    assert smooth.asked_for(made, f"QualityLevels(2400000)/Fragments(audio={start})") is None
    found = smooth.fragment(made, "720", 15)
    assert start.to_bytes(8) in found
    assert following.to_bytes(8) in found
