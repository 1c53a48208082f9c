"""The STUN responder: aioice's own client, a request of RFC 5769, and what it must not answer."""

import asyncio
import socket

import msgspec
import pytest
from aioice import Connection, stun
from hypothesis import given
from hypothesis import strategies as st

from coordinator.__main__ import _with_own_stun
from coordinator.core.limits import Settings
from coordinator.io.stun import REQUEST_BYTES_MAX, StunResponder, answer_to

RFC_5769_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
"""Section 2.1: a binding request as an ICE agent sends it."""
MAPPED = ("192.0.2.1", 32_853)


def test_the_answer_says_where_the_request_came_from() -> None:
    answer = answer_to(RFC_5769_REQUEST, MAPPED)
    assert answer is not None
    parsed = stun.parse_message(answer)
    assert (parsed.message_method, parsed.message_class) == (stun.Method.BINDING, stun.Class.RESPONSE)
    assert parsed.transaction_id == RFC_5769_REQUEST[8:20]
    assert parsed.attributes["XOR-MAPPED-ADDRESS"] == MAPPED
    # section 2.2 of RFC 5769 has the same address and transaction: these are its bytes
    assert bytes.fromhex("002000080001a147e112a643") in answer
    assert len(answer) <= len(RFC_5769_REQUEST)


def test_an_ipv6_address_too() -> None:
    answer = answer_to(RFC_5769_REQUEST, ("2001:db8:1234:5678:11:2233:4455:6677", 32_853))
    assert answer is not None
    # section 2.3
    assert bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9") in answer


@given(st.binary(max_size=700))
def test_anything_else_has_no_answer_and_does_no_harm(data: bytes) -> None:
    assert answer_to(data, MAPPED) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        RFC_5769_REQUEST[:-1],
        RFC_5769_REQUEST[:-1] + b"\x00",
        bytes.fromhex("0111") + RFC_5769_REQUEST[2:],
        bytes.fromhex("0101") + RFC_5769_REQUEST[2:],
        bytes.fromhex("0003") + RFC_5769_REQUEST[2:],
        RFC_5769_REQUEST + bytes(REQUEST_BYTES_MAX),
    ],
)
def test_no_binding_request(data: bytes) -> None:
    assert answer_to(data, MAPPED) is None


def test_agents_are_told_of_it_unless_their_table_names_others() -> None:
    given = Settings(listen="10.0.0.5:8443", stun_listen="0.0.0.0:3478")
    assert _with_own_stun(given).agents == {"stun_servers": ["stun:10.0.0.5:3478"]}
    named = msgspec.structs.replace(given, public_url="https://ecdn.example.com:8443")
    assert _with_own_stun(named).agents == {"stun_servers": ["stun:ecdn.example.com:3478"]}
    own = msgspec.structs.replace(given, agents={"stun_servers": []})
    assert _with_own_stun(own) == own
    assert _with_own_stun(Settings()) == Settings()


@pytest.mark.asyncio
async def test_aioice_finds_its_address_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    responder = StunResponder("127.0.0.1", 0)
    await responder.start()
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    connection = Connection(ice_controlling=True, stun_server=("127.0.0.1", responder.port))
    try:
        await connection.gather_candidates()
        assert {it.type for it in connection.local_candidates} == {"host", "srflx"}
        assert responder.answered == 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
            noise.sendto(b"hello", ("127.0.0.1", responder.port))
            while not responder.ignored:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
        await responder.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", responder.port))
