"""Whatever arrives, the codec answers with a message or with PeerMisbehaved, and holds at most one frame."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, Splitter, encode, pack
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Cancel, Piece, Ping, read_peer_message
from ecdn_proxy.wire.tracker import read_from_agent, read_from_coordinator


@given(st.binary(max_size=300))
def test_random_bodies_raise_only_peer_misbehaved(body: bytes) -> None:
    for read in (read_peer_message, read_from_agent, read_from_coordinator):
        try:
            message = read(body)
        except PeerMisbehaved:
            continue
        assert isinstance(message, msgspec.Struct)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20), st.data())
def test_messages_survive_any_cut_of_the_stream(numbers: list[int], data: st.DataObject) -> None:
    stream = b"".join(encode(Ping(number)) for number in numbers)
    splitter = Splitter(read_peer_message)
    got: list[object] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += splitter.feed(stream[:cut])
        stream = stream[cut:]
    assert got == [Ping(number) for number in numbers]


def test_a_whole_piece_fits_in_a_frame() -> None:
    piece = Piece(2**32 - 1, 8_191, bytes(PIECE_BYTES))
    assert len(pack(piece)) <= FRAME_BYTES_MAX
    assert read_peer_message(pack(piece)) == piece


def test_an_oversize_length_is_refused_before_its_body_comes() -> None:
    with pytest.raises(PeerMisbehaved, match="65537"):
        Splitter(read_peer_message).feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


def test_an_oversize_body_is_refused_without_decoding() -> None:
    with pytest.raises(PeerMisbehaved, match="limit"):
        read_peer_message(bytes(FRAME_BYTES_MAX + 1))


def test_we_never_send_what_others_must_refuse() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        pack(Piece(1, 1, bytes(FRAME_BYTES_MAX)))


def test_half_a_frame_is_held_and_no_more() -> None:
    splitter = Splitter(read_peer_message)
    frame = encode(Cancel(7))
    assert splitter.feed(frame[:3]) == []
    assert splitter.feed(frame[3:] + frame[:1]) == [Cancel(7)]


@pytest.mark.parametrize(
    "body",
    [
        b"\x92\x03\xff",  # negative number where a request is meant
        b"\x92\xcc\xfa\x01",  # an unknown tag
        b"\x91\x03",  # a missing field
        b"\x90",
        b"\xc1",
        b"\x93\x16\x01\x02",  # a piece without data
    ],
)
def test_wrong_messages_name_what_is_wrong(body: bytes) -> None:
    with pytest.raises(PeerMisbehaved, match="no message of this protocol"):
        read_peer_message(body)
