"""Protocol 1 as bytes. A golden frame is never edited: a message that changes needs a new protocol number."""

import json
import typing
from pathlib import Path

import msgspec
import pytest

from ecdn_proxy.wire import peer, tracker
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.version import PROTOCOL
from tests.wire import frames

GOLDEN = Path(__file__).parent / "golden" / f"protocol-{PROTOCOL}.json"
FAMILIES = {
    "peer": (frames.PEER_MESSAGES, peer.PeerMessage, peer.read_peer_message),
    "from_agent": (frames.FROM_AGENT, tracker.FromAgent, tracker.read_from_agent),
    "from_coordinator": (frames.FROM_COORDINATOR, tracker.FromCoordinator, tracker.read_from_coordinator),
}


def golden() -> dict[str, dict[str, str]]:
    loaded: dict[str, dict[str, str]] = json.loads(GOLDEN.read_text())
    return loaded


@pytest.mark.parametrize("family", FAMILIES)
def test_there_is_an_example_of_every_message(family: str) -> None:
    examples, union, _ = FAMILIES[family]
    assert {type(example) for example in examples} == set(typing.get_args(union))


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_frames_are_what_is_sent(family: str) -> None:
    examples, _, _ = FAMILIES[family]
    sent = {frames.NOW.get(name := type(it).__name__, name): pack(it).hex() for it in examples}
    assert sent == {name: frame for name, frame in golden()[family].items() if name not in frames.BEFORE}


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_frames_are_understood(family: str) -> None:
    examples, _, read = FAMILIES[family]
    for example in examples:
        name = type(example).__name__
        assert read(bytes.fromhex(golden()[family][frames.NOW.get(name, name)])) == example


@pytest.mark.parametrize("name", frames.BEFORE)
def test_what_agents_said_before_a_field_was_added_is_understood(name: str) -> None:
    family, before = frames.BEFORE[name]
    _, _, read = FAMILIES[family]
    assert read(bytes.fromhex(golden()[family][name])) == before
    today = bytes.fromhex(golden()[family][frames.NOW[name]])
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(today), 7])
    assert pack(read(longer)) == today, "further fields are ignored"


def test_a_voucher_is_bound_to_its_tenant_key_and_content() -> None:
    signed = frames.VOUCHER.signed_bytes("tenant-a")
    assert signed != frames.VOUCHER.signed_bytes("tenant-b")
    for change in ({"key": "ee" * 32}, {"first": 8}, {"hashes": bytes(64)}, {"generation": "x"}, {"total_bytes": 1},
                   {"signer": frames.OTHER}, {"head": None}):  # fmt: skip
        assert msgspec.structs.replace(frames.VOUCHER, **change).signed_bytes("tenant-a") != signed
