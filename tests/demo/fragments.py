"""Takes a fragment apart into its frames and writes fragments anew: in parts, or encrypted.

Map:
    Fragment              one moof and mdat: track, time, frames
    read, write           from bytes and to bytes (ISO/IEC 14496-12, section 8.8); new_box, full_box: one box
    parts                 the same frames as several fragments, for low-latency HLS
    protected             the same frames encrypted: Common Encryption, scheme cenc (ISO/IEC 23001-7)
    protected_init        the initialisation that goes with them
"""

import itertools
import struct
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.demo import boxes

_CLEAR_BYTES = 128  # of each NAL unit: its length, its type and the slice header stay readable
_DATA_OFFSET, _FIRST_FLAGS, _SIZES = 0x1, 0x4, 0x200
_CLEARKEY_SYSTEM = bytes.fromhex("1077efecc0b24d02ace33c1e52e2fb4b")
KEY_FRAME_FLAGS = 0x02000000


@dataclass(frozen=True)
class Fragment:
    """One fragment of one track. All frames last `ticks`; `key_first`: picture that starts with a key frame."""

    sequence: int
    start: int
    ticks: int
    later_flags: int
    key_first: bool
    frames: list[bytes]


class _Header(NamedTuple):
    flags: int
    at: int


def _full_box(data: bytes, *path: bytes) -> _Header:
    box = boxes.find(data, *path)
    return _Header(int.from_bytes(data[box.body + 1 : box.body + 4]), box.body + 4)


def read(segment: bytes) -> Fragment:
    """A fragment as our own muxer writes them: one duration for all frames, sizes one by one."""
    header = _full_box(segment, b"moof", b"traf", b"tfhd")
    if header.flags != 0x020038:
        raise ValueError(f"tfhd flags {header.flags:x}")
    ticks, _, flags = struct.unpack_from(">III", segment, header.at + 4)
    run = _full_box(segment, b"moof", b"traf", b"trun")
    if run.flags & ~_FIRST_FLAGS != _DATA_OFFSET | _SIZES:
        raise ValueError(f"trun flags {run.flags:x}")
    (count,) = struct.unpack_from(">I", segment, run.at)
    sizes = struct.unpack_from(f">{count}I", segment, run.at + (12 if run.flags & _FIRST_FLAGS else 8))
    ends = list(itertools.accumulate(sizes, initial=boxes.find(segment, b"mdat").body))
    frames = [segment[a:b] for a, b in itertools.pairwise(ends)]
    (sequence,) = struct.unpack_from(">I", segment, boxes.find(segment, b"moof", b"mfhd").body + 4)
    return Fragment(sequence, boxes.decode_time(segment), ticks, flags, bool(run.flags & _FIRST_FLAGS), frames)


def new_box(kind: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def full_box(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return new_box(kind, struct.pack(">I", version << 24 | flags), *content)


def write(fragment: Fragment, auxiliary: list[bytes] | None = None) -> bytes:
    """The bytes of a fragment; `auxiliary` is what a decryptor needs to know of each frame (saiz, saio, senc)."""
    flags = _DATA_OFFSET | _SIZES | (_FIRST_FLAGS if fragment.key_first else 0)
    sizes = b"".join(struct.pack(">I", len(frame)) for frame in fragment.frames)
    first = struct.pack(">I", KEY_FRAME_FLAGS) if fragment.key_first else b""
    number = full_box(b"mfhd", 0, 0, struct.pack(">I", fragment.sequence & 0xFFFFFFFF))
    track = struct.pack(">IIII", 1, fragment.ticks, 0, fragment.later_flags)
    before = full_box(b"tfhd", 0, 0x020038, track) + full_box(b"tfdt", 1, 0, struct.pack(">Q", fragment.start))

    def moof(offset: int, place: int) -> bytes:
        count = struct.pack(">II", len(fragment.frames), offset)
        run = full_box(b"trun", 0, flags, count, first, sizes)
        return new_box(
            b"moof", number, new_box(b"traf", before, run, _encryption(auxiliary, place) if auxiliary else b"")
        )

    size = len(moof(0, 0))
    place = size - sum(map(len, auxiliary or []))  # senc stands last, and the frames' entries last in it
    return moof(size + 8, place) + new_box(b"mdat", *fragment.frames)


def _encryption(entries: list[bytes], place: int) -> bytes:
    lengths = bytes(map(len, entries))
    count = struct.pack(">I", len(entries))
    saiz = full_box(b"saiz", 0, 0, b"\0", count, lengths)
    saio = full_box(b"saio", 0, 0, struct.pack(">II", 1, place))
    return saiz + saio + full_box(b"senc", 0, 2 if max(lengths) > 8 else 0, count, *entries)


def parts(segment: bytes, count: int) -> list[bytes]:
    """The segment as `count` fragments of about the same length; joined, they are the segment again."""
    whole = read(segment)
    cuts = [round(i * len(whole.frames) / count) for i in range(count + 1)]
    return [
        write(
            replace(
                whole,
                sequence=whole.sequence * count + i,
                start=whole.start + a * whole.ticks,
                frames=whole.frames[a:b],
                key_first=whole.key_first and i == 0,
            )
        )
        for i, (a, b) in enumerate(itertools.pairwise(cuts))
    ]


def _clear_and_secret(frame: bytes) -> list[tuple[int, int]]:
    """By NAL unit: how many bytes stay clear and how many are encrypted, these in whole blocks."""
    found, at = [], 0
    while at < len(frame):
        size = 4 + int.from_bytes(frame[at : at + 4])
        secret = max(0, size - _CLEAR_BYTES) // 16 * 16
        found.append((size - secret, secret))
        at += size
    return found


def protected(segment: bytes, key: bytes, picture: bool) -> bytes:
    """The segment under AES-CTR: sound as a whole, picture but for the start of each NAL unit."""
    whole = read(segment)
    frames, entries = [], []
    for index, frame in enumerate(whole.frames):
        vector = struct.pack(">II", whole.sequence & 0xFFFFFFFF, index)
        encryptor = Cipher(algorithms.AES(key), modes.CTR(vector + bytes(8))).encryptor()
        spans = _clear_and_secret(frame) if picture else [(0, len(frame))]
        made, at = bytearray(), 0
        for clear, secret in spans:
            made += frame[at : at + clear] + encryptor.update(frame[at + clear : at + clear + secret])
            at += clear + secret
        frames.append(bytes(made))
        entries.append(vector + (_subsamples(spans) if picture else b""))
    return write(replace(whole, frames=frames), entries)


def _subsamples(spans: list[tuple[int, int]]) -> bytes:
    return struct.pack(">H", len(spans)) + b"".join(struct.pack(">HI", *span) for span in spans)


def protected_init(init: bytes, key_id: bytes) -> bytes:
    """The sample entry becomes encv or enca, with what it was and which key (sinf); pssh names the key for ClearKey."""
    path = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    around = [boxes.find(init, *path[: depth + 1]) for depth in range(len(path))]
    entry = next(boxes.walk(init, around[-1].body + 8, around[-1].end))
    tenc = full_box(b"tenc", 0, 0, b"\0\0\1\x08", key_id)
    scheme = full_box(b"schm", 0, 0, b"cenc", struct.pack(">I", 0x10000))
    sinf = new_box(b"sinf", new_box(b"frma", entry.kind), scheme, new_box(b"schi", tenc))
    pssh = full_box(b"pssh", 1, 0, _CLEARKEY_SYSTEM, struct.pack(">I", 1), key_id, bytes(4))
    made = bytearray(init)
    made[entry.start + 4 : entry.start + 8] = b"enca" if entry.kind == b"mp4a" else b"encv"
    for box in (*around, entry):
        struct.pack_into(
            ">I", made, box.start, box.end - box.start + len(sinf) + (len(pssh) if box is around[0] else 0)
        )
    made[around[0].end : around[0].end] = pssh
    made[entry.end : entry.end] = sinf
    return bytes(made)
