"""A WebSocket's frames, held against wsproto on the other side."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage

from coordinator.web.frames import NORMAL_CLOSURE, Frames, Opcode, frame
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX
from ecdn_proxy.wire.faults import PeerMisbehaved

EVENTS = st.lists(
    st.one_of(
        st.binary(max_size=300).map(BytesMessage),
        st.sampled_from([0, 125, 126, 127, 65_535, FRAME_BYTES_MAX]).map(lambda size: BytesMessage(b"x" * size)),
        st.text(max_size=200).map(TextMessage),
        st.binary(max_size=125).map(Ping),
    ),
    max_size=5,
)


def heard(pieces: list[bytes]) -> list[tuple[int, bytes]]:
    frames = Frames()
    return [found for piece in pieces for found in frames.feed(piece)]


def told(event: Event) -> tuple[int, bytes]:
    if isinstance(event, Ping):
        return Opcode.PING, bytes(event.payload)
    assert isinstance(event, Message)
    data = event.data
    return (Opcode.TEXT, data.encode()) if isinstance(data, str) else (Opcode.BINARY, bytes(data))


@given(EVENTS, st.integers(1, 5_000))
def test_what_a_client_says_is_heard_however_it_is_cut(events: list[Event], size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    said = b"".join(client.send(event) for event in events)
    assert heard([said[at : at + size] for at in range(0, len(said), size)]) == [told(event) for event in events]


@given(EVENTS)
def test_what_we_say_is_heard_by_a_client(events: list[Event]) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(b"".join(frame(Opcode(opcode), payload) for opcode, payload in map(told, events)))
    whole: list[tuple[int, bytes]] = []
    for event in client.events():
        if isinstance(event, Message) and not event.message_finished:
            pytest.fail("a message of ours in parts")
        whole.append(told(event))
    assert whole == [told(event) for event in events]


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=4), st.binary(max_size=125))
def test_a_message_in_parts_with_a_ping_between(parts: list[bytes], ping: bytes) -> None:
    client = Connection(ConnectionType.CLIENT)
    said = [client.send(BytesMessage(part, message_finished=False)) for part in parts[:-1]]
    said += [client.send(Ping(ping)), client.send(BytesMessage(parts[-1]))]
    assert heard(said) == [(Opcode.PING, ping), (Opcode.BINARY, b"".join(parts))]


def test_both_ends_of_a_close_are_understood() -> None:
    client = Connection(ConnectionType.CLIENT)
    assert heard([client.send(CloseConnection(1000))]) == [(Opcode.CLOSE, NORMAL_CLOSURE)]
    client.receive_data(frame(Opcode.CLOSE, NORMAL_CLOSURE))
    assert [event.code for event in client.events() if isinstance(event, CloseConnection)] == [1000]


MASK = b"\1\2\3\4"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\x82\x01x", "no mask"),
        (b"\xc2\x80" + MASK, "reserved bits"),
        (b"\x83\x80" + MASK, "unknown opcode"),
        (b"\x89\xfe\x00\x7e" + MASK, "control frame"),
        (b"\x09\x80" + MASK, "control frame"),
        (b"\x82\xfe\x00\x01" + MASK + b"x", "more bytes than it needs"),
        (b"\x82\xff" + (65_535).to_bytes(8), "more bytes than it needs"),
        (b"\x82\xff" + (FRAME_BYTES_MAX + 1).to_bytes(8), "65537 bytes announced"),
        (b"\x82\xff" + b"\xff" * 8, "bytes announced"),
        (b"\x80\x80" + MASK, "the end of none"),
        (b"\x02\x80" + MASK + b"\x82\x80" + MASK, "within another"),
        ((b"\x02\xfe\xff\xff" + MASK + b"x" * 65_535) + (b"\x80\x82" + MASK + b"xx"), "a message of more than"),
    ],
)
def test_what_no_client_may_send_is_misbehaviour(said: bytes, why: str) -> None:
    with pytest.raises(PeerMisbehaved, match=why):
        heard([said])
    with pytest.raises(PeerMisbehaved, match=why):
        heard([said[at : at + 1] for at in range(len(said))])


@given(st.binary(max_size=200))
def test_any_bytes_are_heard_or_misbehaviour(said: bytes) -> None:
    with contextlib.suppress(PeerMisbehaved):
        heard([said])
