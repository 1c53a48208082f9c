"""Protocol 1 as bytes and as shapes. What is golden is never edited, only added to: see docs/adr/0046."""

import json
import typing
from pathlib import Path

import msgspec
import pytest

from ecdn_proxy.wire import integrity, peer, signalling, tracker
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.version import PROTOCOL
from tests.repository.words import hints, structs, words
from tests.wire import frames

GOLDEN = Path(__file__).parent / "golden" / f"protocol-{PROTOCOL}.json"
SHAPES = Path(__file__).parent / "golden" / f"shapes-{PROTOCOL}.json"
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


def shapes() -> dict[str, list[str]]:
    """Of every message and structure: its tag if it has one, then each field with all its bounds."""
    found = {}
    for module in (peer, integrity, tracker, signalling):
        for struct in structs(module):
            kinds, tag = hints(struct), struct.__struct_config__.tag
            lines = [] if tag is None else [f"tag {tag}"]
            for field in msgspec.structs.fields(struct):
                default = "" if field.default is msgspec.NODEFAULT else f"; else {field.default!r}"
                lines.append(f"{field.name}: {words(kinds[field.name], {})}{default}")
            found[f"{module.__name__.rpartition('.')[2]}.{struct.__name__}"] = lines
    return found


def test_a_message_grows_by_fields_with_defaults_and_does_not_change_otherwise() -> None:
    """Offices run several releases at once: an earlier one refuses a bound or a value that it does not know."""
    now, before = shapes(), json.loads(SHAPES.read_text("utf-8"))
    for name, lines in before.items():
        assert now[name][: len(lines)] == lines, "this needs a new protocol number"
        assert all("; else " in further for further in now[name][len(lines) :]), "a further field needs a default"
    head = "integrity.SegmentHead"
    assert now[head] == before[head], "it is signed whole: a further field would not be under an earlier one's check"
    assert now == before, f"write what is new into {SHAPES.name}: from now on it stays as it is"


def later(value: object) -> object:
    """What a release would send that has a further field at the end of every structure."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        return [*(() if tag is None else (tag,)), *map(later, msgspec.structs.astuple(value)), {"further": [7]}]
    return [later(it) for it in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_that_a_later_release_adds_are_ignored(family: str) -> None:
    examples, _, read = FAMILIES[family]
    for example in examples:
        assert read(msgspec.msgpack.encode(later(example))) == example


def test_a_voucher_is_bound_to_its_tenant_key_and_content() -> None:
    signed = frames.VOUCHER.signed_bytes("tenant-a")
    assert signed != frames.VOUCHER.signed_bytes("tenant-b")
    for change in ({"key": "ee" * 32}, {"first": 8}, {"hashes": bytes(64)}, {"generation": "x"}, {"total_bytes": 1},
                   {"signer": frames.OTHER}, {"head": None}):  # fmt: skip
        assert msgspec.structs.replace(frames.VOUCHER, **change).signed_bytes("tenant-a") != signed
