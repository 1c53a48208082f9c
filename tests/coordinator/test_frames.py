"""An agent's WebSocket as the coordinator hears it: what a client says arrives whole, and too much does not arrive."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from coordinator.web import frames
from coordinator.web.frames import FrameReader
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX
from ecdn_proxy.wire.faults import PeerMisbehaved

EVENTS = st.lists(
    st.one_of(
        st.binary(max_size=300).map(BytesMessage),
        st.sampled_from([0, 125, 126, 127, 65_535, FRAME_BYTES_MAX]).map(lambda size: BytesMessage(b"x" * size)),
        st.binary(max_size=125).map(Ping),
    ),
    max_size=5,
)


def heard(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    made = FrameReader()
    return [(opcode.name, payload) for piece in pieces for opcode, payload in made.feed(piece)]


def told(event: Event) -> tuple[str, bytes]:
    if isinstance(event, Ping):
        return "PING", bytes(event.payload)
    assert isinstance(event, BytesMessage)
    return "BINARY", bytes(event.data)


@given(EVENTS, st.integers(1, 5_000))
def test_what_a_client_says_is_heard_however_it_is_cut(events: list[Event], size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    said = b"".join(client.send(event) for event in events)
    assert heard([said[at : at + size] for at in range(0, len(said), size)]) == [told(event) for event in events]


@given(st.binary(max_size=FRAME_BYTES_MAX), st.binary(max_size=125))
def test_what_we_say_is_heard_by_a_client(body: bytes, payload: bytes) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(frames.message(body) + frames.ping() + frames.pong(payload) + frames.close())
    *parts, ping, pong, close = client.events()
    assert b"".join(bytes(part.data) for part in parts if isinstance(part, BytesMessage)) == body
    assert [isinstance(part, BytesMessage) and part.message_finished for part in parts][-1:] == [True]
    assert isinstance(ping, Ping)
    assert isinstance(pong, Pong)
    assert bytes(pong.payload) == payload
    assert isinstance(close, CloseConnection)
    assert close.code == 1000


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=4), st.binary(max_size=125))
def test_a_message_in_parts_with_a_ping_between(parts: list[bytes], ping: bytes) -> None:
    client = Connection(ConnectionType.CLIENT)
    said = [client.send(BytesMessage(part, message_finished=False)) for part in parts[:-1]]
    said += [client.send(Ping(ping)), client.send(BytesMessage(parts[-1]))]
    assert heard(said) == [("PING", ping), ("BINARY", b"".join(parts))]


@pytest.mark.parametrize("code", [1000, 1001, 4_000, 1005])
def test_both_ends_of_a_close_are_understood(code: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    ((kind, said),) = heard([client.send(CloseConnection(code))])
    assert kind == "CLOSE"
    client.receive_data(frames.close(int.from_bytes(said)))
    (answer,) = client.events()
    assert isinstance(answer, CloseConnection)


def test_a_text_is_heard_as_such() -> None:
    client = Connection(ConnectionType.CLIENT)
    assert heard([client.send(TextMessage("words"))]) == [("TEXT", b"")]


MASK = b"\1\2\3\4"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\x82\x01x", id="no mask"),
        pytest.param(b"\xc2\x80" + MASK, id="reserved bits"),
        pytest.param(b"\x83\x80" + MASK, id="unknown opcode"),
        pytest.param(b"\x89\xfe\x00\x7e" + MASK, id="a long control frame"),
        pytest.param(b"\x09\x80" + MASK, id="a control frame in parts"),
        pytest.param(b"\x82\xfe\x00\x01" + MASK + b"x", id="a length in more bytes than it needs"),
        pytest.param(b"\x82\xff" + b"\xff" * 8, id="a length beyond all bounds"),
        pytest.param(b"\x80\x80" + MASK, id="the end of none"),
        pytest.param(b"\x02\x80" + MASK + b"\x82\x80" + MASK, id="a message within another"),
    ],
)
def test_what_no_client_may_send_is_misbehaviour(said: bytes) -> None:
    with pytest.raises(PeerMisbehaved, match="framing broke"):
        heard([said])
    with pytest.raises(PeerMisbehaved, match="framing broke"):
        heard([said[at : at + 1] for at in range(len(said))])


@pytest.mark.parametrize("parts", [1, 2, 9])
def test_a_message_that_is_too_large_is_not_kept(parts: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    size = FRAME_BYTES_MAX // parts + 1
    said = b"".join(client.send(BytesMessage(b"x" * size, message_finished=at == parts - 1)) for at in range(parts))
    with pytest.raises(PeerMisbehaved, match="more than 65536 bytes"):
        heard([said])
    with pytest.raises(PeerMisbehaved, match="more than 65536 bytes"):
        heard([said[at : at + 999] for at in range(0, len(said), 999)])


@given(st.binary(max_size=200))
def test_any_bytes_are_heard_or_misbehaviour(said: bytes) -> None:
    with contextlib.suppress(PeerMisbehaved):
        heard([said])
