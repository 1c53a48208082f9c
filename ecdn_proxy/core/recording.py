"""A recording of one node: every event with its time and the node's decisions on it, to be replayed elsewhere.

    Recording(node, witness, write, born)   stands before the node and notes what goes in and comes out
    Witness(seal)                     notes which vouchers the real seal refused
    decided(effect)                   one decision with its reason, as it is recorded, printed and compared
    happened(event)                   one event in words, for a log
    read_line(line)                   one line of the file: Born | RecordedEvent | RecordingEnd

A recording holds no segment's bytes, no URL, cookie, token, user, title or host of an origin, no decryption or signing
key and no signature: bytes are recorded as their number, and header fields only as far as `core/http/cacheability`
reads them. It does hold the ids of devices, streams and segments and the addresses of neighbours, as the status page
does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Any, assert_never

import msgspec
from msgspec import Meta

from ecdn_proxy.core import events, values
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PartVoucher, SegmentHead, Voucher
from ecdn_proxy.wire.peer import Contact, Message, Part, Piece, Vouched

FORMAT = 1
LINE_BYTES_MAX = 1_048_576
"""The longest line is a list of denied devices: 1,600 of 40 characters."""
WRONG_BYTES = "does not match its signed hash"
_FIELDS = frozenset(
    {"access-control-allow-origin", "age", "cache-control", "content-encoding", "content-length", "content-range",
     "content-type", "date", "etag", "expires", "last-modified", "vary"}
)  # fmt: skip
"""The fields of an origin's answer that are recorded as they are. Of Set-Cookie only its presence is recorded."""


class Born(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="born"):
    """How a node was made. A second such line in a file is of a node that took the place of one that failed."""

    format: int
    version: Annotated[str, Meta(max_length=40)]
    me: Contact
    tenant: Annotated[str, Meta(max_length=64)]
    limits: Limits
    memory_bytes: int
    disk_bytes: int
    upload_mbps: float
    share_after_watching_s: float
    on_disk: tuple[tuple[str, int], ...] = ()
    bans: dict[str, float] = {}

    def node(self, seal: Seal) -> Node:
        """A new node, made as the recorded one was."""
        node = Node(
            self.me,
            seal,
            limits=self.limits,
            memory_bytes=self.memory_bytes,
            disk_bytes=self.disk_bytes,
            upload_mbps=self.upload_mbps,
            share_after_watching_s=self.share_after_watching_s,
        )
        for key, size in self.on_disk:
            node.remember_on_disk(key, size)
        node.remember_bans(self.bans)
        return node


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="event", omit_defaults=True):
    """One call of the node, and what it decided."""

    at: float
    """Seconds on the node's clock."""
    event: Annotated[str, Meta(max_length=40)]
    """The name of a class in `core/events`, or `wake`, or `in_memory`."""
    what: dict[str, Any] = {}
    """The event's fields, without what a recording must not hold."""
    did: tuple[str, ...] = ()
    """The decisions in their order, each as `decided` says it."""
    refused: str = ""
    """Why the seal refused this event's voucher; "" if it did not."""
    wrong: bool = False
    """Whether the bytes of this event's piece were others than those that were vouched for."""
    failed: str = ""
    """The fault of ours that ended the node; "" without one."""


class RecordingEnd(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="end"):
    """The last line of a recording, and why nothing follows."""

    why: Annotated[str, Meta(max_length=200)]


Line = Born | RecordedEvent | RecordingEnd
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def read_line(line: bytes) -> Line:
    """Read one line of a recording.

    Raises:
        ValueError: it is no such line; the message says why.
    """
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


class Witness:
    """A seal (`core.seal.Seal`) that asks the real one and remembers its last refusal."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self.device, self.tenant = seal.device, seal.tenant
        self.refused = ""

    def sign(self, data: bytes) -> bytes:
        """The real seal's signature of `data`."""
        return self._seal.sign(data)

    def certificate(self) -> bytes:
        """The real seal's certificate, DER."""
        return self._seal.certificate()

    def check(self, voucher: Voucher | PartVoucher) -> None:
        """Let the real seal check a voucher, and keep the reason if it refuses.

        Raises:
            PeerMisbehaved: the real seal refused the voucher.
        """
        try:
            self._seal.check(voucher)
        except PeerMisbehaved as fault:
            self.refused = fault.why
            raise


class Recording:
    """A machine that hands every event to the node behind it, and writes each with the node's decisions."""

    def __init__(self, node: Node, witness: Witness, write: Callable[[bytes], None], born: Born) -> None:
        self._node = node
        self._witness = witness
        self._write = write
        self._at: Instant = 0.0
        write(_encoder.encode(born) + b"\n")

    def handle(self, event: events.Event, now: Instant) -> Sequence[events.Effect]:
        """Hand one event to the node and write both the event and the node's decisions."""
        name, what = type(event).__name__, scrubbed(event)
        try:
            effects = self._node.handle(event, now)
        except Exception as error:
            self._note(RecordedEvent(at=now, event=name, what=what, failed=f"{type(error).__name__}: {error}"[:2_000]))
            raise
        refused, self._witness.refused = self._witness.refused, ""
        did = tuple(decided(effect) for effect in effects)
        wrong = name == "Received" and any(WRONG_BYTES in line for line in did)
        self._note(RecordedEvent(at=now, event=name, what=what, did=did, refused=refused, wrong=wrong))
        return effects

    def wake(self, now: Instant) -> Sequence[events.Effect]:
        """Wake the node and write what it decided."""
        try:
            effects = self._node.wake(now)
        except Exception as error:
            self._note(RecordedEvent(at=now, event="wake", failed=f"{type(error).__name__}: {error}"[:2_000]))
            raise
        self._note(RecordedEvent(at=now, event="wake", did=tuple(decided(effect) for effect in effects)))
        return effects

    def wake_at(self) -> Instant | None:
        """When the node must be woken at the latest; None when nothing is due."""
        return self._node.wake_at()

    def in_memory(self, key: str, demand: Demand, now: Instant) -> values.StoredSegment | None:
        """The segment with this key, if the node's memory holds it; see `Node.in_memory`.

        A look counts as a use of the segment and so changes what the cache drops first. Therefore it is recorded too.
        """
        found = self._node.in_memory(key, demand, now)
        what = {"key": key, "demand": msgspec.to_builtins(_without_page(demand))}
        self._note(RecordedEvent(at=now, event="in_memory", what=what, did=(in_memory_words(found),)))
        return found

    def _note(self, entry: RecordedEvent) -> None:
        self._at = entry.at
        self._write(_encoder.encode(entry) + b"\n")


def in_memory_words(found: values.StoredSegment | None) -> str:
    """What a look into the memory found, in words."""
    return "not in memory" if found is None else f"{len(found.body)} bytes in memory"


# ---- what is left out


def happened(event: events.Event) -> str:
    """One event in words, without what a recording leaves out."""
    return " ".join((type(event).__name__, *(f"{name}={value}" for name, value in scrubbed(event).items())))


def scrubbed(event: events.Event) -> dict[str, Any]:
    """What a recording holds of an event, as JSON has it: by the names of its fields, bytes as their number."""
    match event:
        case events.Wanted(origin=origin):
            judged = tuple(_field(name, value if name == "origin" else "") for name, value in origin.headers)
            rule = origin.rule and msgspec.structs.replace(origin.rule, hosts=(), path="/")
            # a rendition may be called by its path
            event = replace(event, origin=values.OriginRequest("", judged, rule), rendition=_digest(event.rendition))
        case events.OriginAnswered(headers=headers):
            event = replace(event, headers=tuple(_field(*it) for it in headers if it[0] in {*_FIELDS, "set-cookie"}))
        case events.Received(message=Vouched() as message):
            voucher = _bare(message.voucher)
            event = replace(event, message=msgspec.structs.replace(message, voucher=voucher))
        case events.Received(message=Part() as message):
            event = replace(event, message=msgspec.structs.replace(message, voucher=_bare(message.voucher)))
        case events.Loaded(stored=stored) if stored is not None:
            head = _bare_head(stored.head)
            vouchers = tuple(_bare(it) for it in stored.vouchers)
            event = replace(event, stored=replace(stored, head=head, vouchers=vouchers))
        case _:
            pass
    plain: dict[str, Any] = _lengths(msgspec.to_builtins(event, builtin_types=(bytes,)))
    return plain


def _field(name: str, value: str) -> tuple[str, str]:
    """A header field as it is recorded: of secrets only that they were there, of pages only which are the same."""
    if name == "set-cookie":
        return name, ""
    if name in ("origin", "access-control-allow-origin"):
        return name, value if value == "*" else _digest(value)
    return name, value


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def _without_page(demand: Demand) -> Demand:
    return demand if demand.page is None else replace(demand, page=_digest(demand.page))


def _bare_head(head: SegmentHead) -> SegmentHead:
    kept = tuple(_field(*it) for it in head.headers if it[0] in ("access-control-allow-origin", "vary"))
    return msgspec.structs.replace(head, headers=kept)


def _bare[V: (Voucher, PartVoucher)](voucher: V) -> V:
    head = None if voucher.head is None else _bare_head(voucher.head)
    return msgspec.structs.replace(voucher, head=head, certificate=b"")


def _lengths(value: Any) -> Any:
    """The same value, with the number of bytes in place of bytes."""
    match value:
        case bytes():
            return len(value)
        case dict():
            return {name: _lengths(it) for name, it in value.items()}
        case list() | tuple():
            return [_lengths(it) for it in value]
        case _:
            return value


# ---- decisions


def decided(effect: events.Effect) -> str:  # noqa: C901, PLR0911, PLR0912 - one match over all effects
    """One decision with its reason, in words. Nothing in it depends on bytes, on signing keys or on signatures."""
    match effect:
        case events.BeginAnswer(viewer, head, source, why, pace):
            paced = f" at {pace} kbit/s" if pace else ""
            return f"answer viewer {viewer} with {head.total_bytes} bytes{paced}, {source}: {why}"
        case events.Deliver(viewer, data):
            return f"deliver {len(data)} bytes to viewer {viewer}"
        case events.Finish(viewer):
            return f"finish viewer {viewer}"
        case events.Abort(viewer, why):
            return f"abort viewer {viewer}: {why}"
        case events.PassOn(viewer, why):
            return f"pass viewer {viewer} on to the origin: {why}"
        case events.HandOver(viewer, fetch, why):
            return f"hand fetch {fetch} over to viewer {viewer}: {why}"
        case events.AnswerStatus(viewer, status, why):
            return f"answer viewer {viewer} with {status}: {why}"
        case events.FetchOrigin(fetch=fetch, first_byte=first, last_byte=last, ranged=ranged):
            asks = ", unless the copy here still holds" if effect.conditions else ""
            until = "the end" if last is None else last
            return f"fetch {fetch} from the origin: bytes {first} to {until}, {ranged=}{asks}"
        case events.AbortOrigin(fetch):
            return f"abort fetch {fetch}"
        case events.Dial(contact):
            return f"dial {contact.device}"
        case events.HangUp(device, why):
            return f"hang up on {device}: {why}"
        case events.Send(device, message):
            return f"send to {device}: {_words(message)}"
        case events.AnnounceStreams(streams, serves, isolated):
            return f"announce {', '.join(streams) or 'no stream'}, {serves=}{', isolated' if isolated else ''}"
        case events.Save(stored):
            return f"save {stored.key[:16]}, {len(stored.body)} bytes"
        case events.Load(key):
            return f"load {key[:16]}"
        case events.Erase(key):
            return f"erase {key[:16]}"
        case events.RaiseCondition(code, detail):
            return f"condition {code}: {detail}"
        case events.ClearCondition(code):
            return f"condition {code} is over"
        case events.Served():
            return f"served segment {effect.number} from {effect.source} in {effect.ms:.1f} ms: {effect.why}"
        case _:
            assert_never(effect)


def _words(message: Message) -> str:
    match message:
        case Piece(request, index, data):
            return f"Piece request={request} index={index} {len(data)} bytes"
        case Vouched(request, voucher, _, age_ms, idle_ms):
            old = "" if age_ms is None else f", made {age_ms} ms ago, the origin spoke of it {idle_ms} ms ago"
            return f"Vouched request={request} pieces from {voucher.first} on: {voucher.count}{old}"
        case Part(request, offset, data, voucher):
            return f"Part request={request} of piece {voucher.index} from byte {offset} on: {len(data)} bytes"
        case _:
            fields = (f"{name}={_word(getattr(message, name))}" for name in message.__struct_fields__)
            return " ".join((type(message).__name__, *fields))


def _word(value: object) -> str:
    match value:
        case Contact():
            return value.device
        case tuple():
            return f"({', '.join(_word(it) for it in value)})"
        case str() if len(value) == 64:
            return value[:16]
        case _:
            return str(value)
