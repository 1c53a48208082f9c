"""`ecdn-proxy replay FILE`: what a real agent recorded, put to a fresh node; its decisions with their why.

    replay(lines, name, say) -> Replayed    line by line: memory does not grow with the recording
    command                                 the command line

The node is the shipped one, without sockets, clock or disk. No effect is performed here, so none of the simulator's
hosts takes part: all events come from the recording, and the node's decisions are compared with the recorded ones.
Bytes were not recorded: `SubstituteBytes` makes some for each segment, of the recorded lengths, with hashes that match
them. A piece that was wrong in the office is wrong here.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click
import msgspec

from ecdn_proxy.core import events
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.recording import (
    FORMAT,
    LINE_BYTES_MAX,
    Born,
    RecordedEvent,
    RecordingEnd,
    decided,
    in_memory_words,
    read_line,
)
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import HASH_BYTES, PIECE_BYTES, SEGMENT_BYTES_MAX, PartVoucher, Voucher
from ecdn_proxy.wire.peer import Get

EVENTS: dict[str, type[Any]] = {it.__name__: it for it in events.Event.__args__}
KEYS_REMEMBERED = 4_096
"""Of each kind of key; older ones are forgotten, so that memory does not grow with the recording."""
RECORD_AGAIN = "Record again with `ecdn-proxy run --record FILE`, and copy the file as it is."
_PIECE, _VOUCHED, _PART = 22, 21, 29
"""Tags of the messages (`ecdn_proxy.wire.peer`) that carry what was not recorded."""


class BadRecording(Exception):
    """The file is no recording that can be replayed; the message says which line, why, and what to do."""


@dataclass(slots=True)
class Replayed:
    """What came of a replay."""

    events: int = 0
    """Events put to the nodes."""
    decisions: int = 0
    seconds: float = 0.0
    """From the first event to the last one."""
    nodes: int = 0
    """Births in the recording: a node that failed is followed by another."""
    notes: list[str] = field(default_factory=list)
    """Why the replay ended before the recording did, or the recording before the agent."""
    difference: str = ""
    """The first event on which this node decided otherwise; empty when there was none."""


class _RecordedSeal:
    """A seal that signs with zeros, and refuses the vouchers that the real seal refused."""

    def __init__(self, device: str, tenant: str) -> None:
        self.device, self.tenant = device, tenant
        self.refuses = ""
        """Why the real seal refused the voucher of the event in hand; empty when it did not."""

    def sign(self, data: bytes) -> bytes:
        """64 zeros, the length of a signature."""
        del data
        return bytes(64)

    def certificate(self) -> bytes:
        """No certificate: its bytes were not recorded."""
        return b""

    def check(self, voucher: Voucher | PartVoucher) -> None:
        """Refuse what was refused.

        Raises:
            PeerMisbehaved: the real seal refused this event's voucher.
        """
        del voucher
        if self.refuses:
            raise PeerMisbehaved(self.refuses)


class _NewestEntries(OrderedDict[Any, Any]):
    """A dictionary of the newest `KEYS_REMEMBERED` entries."""

    def note(self, key: object, value: object) -> None:
        """Add an entry; the oldest one is forgotten."""
        self[key] = value
        if len(self) > KEYS_REMEMBERED:
            self.popitem(last=False)


@lru_cache(maxsize=KEYS_REMEMBERED)
def _pattern(key: str) -> bytes:
    return sha256(key.encode()).digest()


def _body(key: str, at: int, size: int) -> bytes:
    """Bytes of a segment, from `at` on: 32 that are the segment's own, over and over.

    So every whole piece of the segment has the same hash.

    Raises:
        ValueError: the size is none that a segment can have.
    """
    if not 0 <= size <= SEGMENT_BYTES_MAX:
        raise ValueError(f"{size} bytes at once")
    pattern = _pattern(key)
    begins = at % len(pattern)
    return (pattern * (size // len(pattern) + 2))[begins : begins + size]


@lru_cache(maxsize=KEYS_REMEMBERED)
def _hash(key: str, size: int) -> bytes:
    return sha256(_body(key, 0, size)).digest()


class SubstituteBytes:
    """Bytes and hashes in place of those that were not recorded.

    What the node asked for (`learn`) says to which segment the bytes belong that come afterwards (`event`).
    """

    def __init__(self) -> None:
        self._gets = _NewestEntries()
        """(device, request) -> key of the segment asked for."""
        self._fetches = _NewestEntries()
        """Fetch -> key of the segment fetched; events carry keys in place of URLs."""
        self._places = _NewestEntries()
        """Fetch -> where in the segment its next bytes belong."""
        self._bases = _NewestEntries()
        """Key -> where the segment begins in the origin's resource."""
        self._totals = _NewestEntries()
        """Key -> bytes of the segment."""

    def learn(self, effects: Iterable[events.Effect]) -> None:
        """Note what the node asks for: peers, and the origin."""
        for effect in effects:
            match effect:
                case events.Send(device, Get(request, key)):
                    self._gets.note((device, request), key)
                case events.FetchOrigin(fetch=fetch, request=request):
                    self._fetches.note(fetch, request.url)
                case _:
                    pass

    def event(self, entry: RecordedEvent) -> events.Event:
        """A recorded event as the node takes it, with bytes.

        Raises:
            ValueError: there is no such event, or its content cannot be.
        """
        kind = EVENTS.get(entry.event)
        if kind is None:
            raise ValueError(f"there is no event {entry.event!r}")
        what = dict(entry.what)
        match entry.event:
            case "Received":
                what["message"] = self._message(what["device"], list(what["message"]), wrong=entry.wrong)
            case "Loaded" if what["stored"] is not None:
                stored = dict(what["stored"])
                stored["body"] = _body(what["key"], 0, stored["body"])
                stored["vouchers"] = [self._voucher(list(it)) for it in stored["vouchers"]]
                what["stored"] = stored
            case "OriginSent":
                at = self._places.get(what["fetch"], 0)
                self._places.note(what["fetch"], at + what["data"])
                what["data"] = _body(self._fetches.get(what["fetch"], ""), at, what["data"])
            case "OriginAnswered":
                self._origin_answered(what)
            case "Wanted":
                what["origin"] = {**what["origin"], "url": what["key"]}
                self._bases.note(what["key"], (what["resource_range"] or {"first": 0})["first"])
            case _:
                pass
        event: events.Event = msgspec.convert(what, kind, builtin_types=(bytes,))
        return event

    def _origin_answered(self, what: dict[str, Any]) -> None:
        """Note where in the segment the body begins that the origin's head announces."""
        fields = dict(what["headers"])
        first = fields.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        base = self._bases.get(self._fetches.get(what["fetch"], ""), 0)
        self._places.note(what["fetch"], int(first) - base if what["status"] == 206 and first.isdigit() else 0)

    def _message(self, device: str, message: list[Any], *, wrong: bool) -> list[Any]:
        if message[0] == _PIECE:
            _, request, index, size = message
            data = _body(self._gets.get((device, request), ""), index * PIECE_BYTES, size)
            return [_PIECE, request, index, bytes([data[0] ^ 1]) + data[1:] if wrong and data else data]
        if message[0] == _VOUCHED:
            return [_VOUCHED, message[1], self._voucher(list(message[2])), *message[3:]]
        if message[0] == _PART:
            _, request, offset, size, voucher = message
            index, size_bytes = voucher[3], voucher[4]
            data = _body(self._gets.get((device, request), ""), index * PIECE_BYTES + offset, size)
            word = [*voucher[:5], _hash(voucher[1], size_bytes), voucher[6], bytes(64), b""]
            return [_PART, request, offset, bytes([data[0] ^ 1]) + data[1:] if wrong else data, word]
        return message

    def _voucher(self, it: list[Any]) -> list[Any]:
        """A voucher with hashes of the bytes that stand in for the segment's."""
        _, key, _, first, hashes, total, head, _, _ = it
        if total is None and head is not None:
            total = head[0]
        total = self._totals.get(key) if total is None else total
        if total is not None:
            self._totals.note(key, total)
        sizes = [
            PIECE_BYTES if total is None else max(0, min(PIECE_BYTES, total - index * PIECE_BYTES))
            for index in range(first, first + hashes // HASH_BYTES)
        ]
        return [*it[:4], b"".join(_hash(key, size) for size in sizes), it[5], head, bytes(64), b""]


class _ReplayedNode:
    """A fresh node, as the recorded one was when it was born."""

    def __init__(self, born: Born) -> None:
        self.seal = _RecordedSeal(born.me.device, born.tenant)
        self.bytes = SubstituteBytes()
        self.node = born.node(self.seal)

    def decide(self, entry: RecordedEvent) -> tuple[str, ...]:
        """Put one event to the node; returns its decisions as they would be recorded."""
        if entry.event == "in_memory":
            demand = msgspec.convert(entry.what.get("demand", {"asked_at": entry.at}), Demand)
            return (in_memory_words(self.node.in_memory(entry.what["key"], demand, entry.at)),)
        if entry.event == "wake":
            effects = self.node.wake(entry.at)
        else:
            self.seal.refuses = entry.refused
            effects = self.node.handle(self.bytes.event(entry), entry.at)
        self.bytes.learn(effects)
        return tuple(decided(effect) for effect in effects)


def lines_of(file: BinaryIO, name: str) -> Iterable[bytes]:
    """The lines of a file.

    Raises:
        BadRecording: a line is longer than any of a recording.
    """
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise BadRecording(f"{name}, line {number}: longer than any line of a recording. {RECORD_AGAIN}")
        yield line


def replay(lines: Iterable[bytes], name: str, say: Callable[[str], None] = lambda _: None) -> Replayed:
    """Put a recording to fresh nodes until one decides otherwise than the recorded node did.

    Args:
        lines: of the recording.
        name: what errors call the recording.
        say: called with every event and every decision, each as a line of text.

    Raises:
        BadRecording: the recording cannot be replayed.
    """
    found = Replayed()
    node: _ReplayedNode | None = None
    began: float | None = None
    number = 0
    for number, line in enumerate(lines, 1):
        try:
            it = read_line(line)
        except ValueError as error:
            if not line.endswith(b"\n") and node is not None:
                found.notes.append(f"Line {number} was cut off; the {number - 1} lines before it are replayed.")
                break
            raise BadRecording(
                f"{name}, line {number}: this is no line of a recording ({error}). {RECORD_AGAIN}"
            ) from error
        match it:
            case Born(format=version) if version != FORMAT:
                raise BadRecording(
                    f"{name}, line {number}: recorded by version {it.version} in format {version}, this program reads "
                    f"format {FORMAT}. Replay it with that version."
                )
            case Born():
                node = _ReplayedNode(it)
                found.nodes += 1
                say(f"line {number}: a node of version {it.version}, device {it.me.device}")
            case RecordingEnd():
                found.notes.append(f"The recording ends at line {number}: {it.why}.")
                break
            case RecordedEvent():
                if node is None:
                    raise BadRecording(f"{name}, line {number}: a recording begins with a node's birth. {RECORD_AGAIN}")
                began = it.at if began is None else began
                found.seconds = it.at - began
                if not _decides_the_same(node, it, number, found, say):
                    break
    if not number or node is None:
        raise BadRecording(f"{name} is empty. {RECORD_AGAIN}")
    return found


def _decides_the_same(
    node: _ReplayedNode, entry: RecordedEvent, number: int, found: Replayed, say: Callable[[str], None]
) -> bool:
    """Put the event of line `number` to the node; a difference is noted in `found`."""
    failed, did = "", tuple[str, ...]()
    try:
        did = node.decide(entry)
    except (msgspec.ValidationError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadRecording(
            f"line {number}: the event {entry.event} cannot be read ({error!r}). {RECORD_AGAIN}"
        ) from error
    except (Impossible, AssertionError) as error:
        failed = f"{type(error).__name__}: {error}"[:2_000]
    found.events += 1
    found.decisions += len(did)
    say(f"{found.seconds:10.3f}  {_event(entry)}")
    for decision in did:
        say(f"{'':12}→ {decision}")
    if (did, failed) == (entry.did, entry.failed):
        return True
    was = [*entry.did, *([f"failed: {entry.failed}"] if entry.failed else [])]
    now = [*did, *([f"failed: {failed}"] if failed else [])]
    at = next(
        (at for at, pair in enumerate(zip(was, now, strict=False)) if pair[0] != pair[1]), min(len(was), len(now))
    )
    nothing = "nothing more"
    found.difference = (
        f"line {number}, {found.seconds:.3f} s, {_event(entry)}: decision {at + 1} was "
        f"“{was[at] if at < len(was) else nothing}”, here it is “{now[at] if at < len(now) else nothing}”"
    )
    return False


def _event(entry: RecordedEvent) -> str:
    what = entry.what
    if entry.event == "Received":
        kind = events.Received.__name__
        return f"{kind} from {what.get('device')}: message {what.get('message')}"[:200]
    told = ", ".join(f"{name}={value}" for name, value in what.items() if name not in ("origin", "headers"))
    return f"{entry.event} {told}"[:200].rstrip()


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--quiet", is_flag=True, help="Only whether the decisions are the same.")
def command(file: Path, quiet: bool) -> None:
    """Replay what an agent recorded (run --record FILE), and say where this version would decide otherwise."""
    say: Callable[[str], None] = (lambda _: None) if quiet else click.echo
    try:
        with file.open("rb") as opened:
            found = replay(lines_of(opened, str(file)), str(file), say)
    except OSError as error:
        _stop(f"{file} cannot be read: {error.strerror}.")
    except BadRecording as error:
        _stop(str(error))
    for note in found.notes:
        click.echo(note)
    counted = f"{found.events} events in {found.seconds:.1f} s, {found.decisions} decisions"
    if found.difference:
        click.echo(f"Decided otherwise after {counted}: {found.difference}.")
        raise SystemExit(1)
    click.echo(f"Decided the same: {counted}.")


def _stop(sentence: str) -> NoReturn:
    click.echo(f"ecdn-proxy: {sentence}", err=True)
    raise SystemExit(2)
