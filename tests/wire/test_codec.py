"""Whatever arrives, the codec answers with a message or with PeerMisbehaved, and holds at most one frame."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, pack
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Piece, read_peer_message
from ecdn_proxy.wire.tracker import read_from_agent, read_from_coordinator

READERS = (read_peer_message, read_from_agent, read_from_coordinator)
LATER = 250
"""A tag that no message has yet."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bodies_are_a_message_or_misbehaviour_or_of_a_later_release(body: bytes) -> None:
    for read in READERS:
        try:
            message = read(body)
        except (PeerMisbehaved, UnknownMessage):
            continue
        assert isinstance(message, msgspec.Struct)


@settings(deadline=None)
@given(st.integers(LATER, 2**64 - 1) | st.integers(-(2**63), -1), st.lists(VALUES))
def test_whatever_a_later_release_says_is_known_by_its_tag(tag: int, fields: list[object]) -> None:
    body = msgspec.msgpack.encode([tag, *fields])
    for read in READERS:
        with pytest.raises(UnknownMessage) as caught:
            read(memoryview(body))
        assert caught.value.tag == tag


def test_a_whole_piece_fits_in_a_frame() -> None:
    piece = Piece(2**32 - 1, 8_191, bytes(PIECE_BYTES))
    assert len(pack(piece)) <= FRAME_BYTES_MAX
    assert read_peer_message(pack(piece)) == piece


def test_an_oversize_body_is_refused_without_decoding() -> None:
    with pytest.raises(PeerMisbehaved, match="limit"):
        read_peer_message(bytes(FRAME_BYTES_MAX + 1))


def test_we_never_send_what_others_must_refuse() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        pack(Piece(1, 1, bytes(FRAME_BYTES_MAX)))


@pytest.mark.parametrize(
    "body",
    [
        b"\x92\x03\xff",  # negative number where a request is meant
        b"\x91\x03",  # a missing field
        b"\x90",
        b"\xc1",
        b"\x93\x16\x01\x02",  # a piece without data
        b"\x92\xcc\xfa",  # an unknown tag, and less than it announces
        b"\x92\xcc\xfa\xc1",  # an unknown tag, and no MessagePack
        b"\x92\xcc\xfa\x01\x00",  # an unknown tag, and more than it announces
        b"\x92\xcc\xfa" + b"\x91" * 60_000 + b"\x90",  # an unknown tag, deeper than anybody reads
        b"\xcc\xfa",  # a tag alone
        b"\x81\x00\xcc\xfa",  # a map
        b"\x91\xa3250",  # tags that are no integers
        b"\x91\xc3",
        b"\x91\xc0",
        b"\x91\xca\x43\x7a\x00\x00",
    ],
)
def test_wrong_messages_name_what_is_wrong(body: bytes) -> None:
    with pytest.raises(PeerMisbehaved, match="no message of this protocol"):
        read_peer_message(body)
