"""What a recording says of each event and decision, and what it leaves out."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.recording import (
    FORMAT,
    Born,
    RecordedEvent,
    Recording,
    RecordingEnd,
    Witness,
    decided,
    in_memory_words,
    read_line,
)
from ecdn_proxy.core.values import ByteRange
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PartVoucher, SegmentHead, Voucher
from ecdn_proxy.wire.peer import Contact, Follow, Get, Part, Piece, Vouched
from tests.core.makers import permitting

ME = Contact("me", ("10.0.0.1",), 7688)
OTHER = Contact("other", ("10.0.0.2",), 7688)
KEY, STREAM = "ab" * 32, "cd" * 16
HEAD = SegmentHead(3, "video/mp2t", '"e"', None, 0.0, 60.0, "none", (("access-control-allow-origin", "https://who"),))
VOUCHER = Voucher("other", KEY, "g", 0, bytes(64), 3, HEAD, bytes(64), b"certificate")
PART = PartVoucher("other", KEY, "g", 0, 4, bytes(32), VOUCHER.head, bytes(64), b"who")
STORED = values.StoredSegment(KEY, STREAM, HEAD, b"abc", (VOUCHER,), 0.0)


class Anybody:
    """A seal that refuses what it is told to."""

    device, tenant = "me", "tenant"

    def __init__(self) -> None:
        self.refuses = ""

    def sign(self, data: bytes) -> bytes:
        return data[:1] * 64

    def certificate(self) -> bytes:
        return b"mine"

    def check(self, voucher: Voucher | PartVoucher) -> None:
        if self.refuses:
            raise PeerMisbehaved(self.refuses)


class Book:
    """A node that is recorded, and its lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.seal = Anybody()
        witness = Witness(self.seal)
        born = Born(
            format=FORMAT,
            version="1",
            me=ME,
            tenant="tenant",
            limits=Limits(),
            memory_bytes=1_000_000,
            disk_bytes=1_000_000,
            upload_mbps=20.0,
            share_after_watching_s=60.0,
            on_disk=((KEY, 3),),
            bans={"liar": 900.0},
        )
        self.node = born.node(witness)
        self.recording = Recording(self.node, witness, self.lines.append, born)

    def put(self, event: events.Event, now: float = 100.0) -> dict[str, Any]:
        self.recording.handle(event, now)
        line: dict[str, Any] = json.loads(self.lines[-1])
        return line


def wanted(viewer: int = 1, headers: values.Headers = ()) -> events.Wanted:
    origin = values.OriginRequest("https://secret.example/?token=1", headers)
    return events.Wanted(viewer, STREAM, "path/720p", KEY, 1, 2.0, True, ByteRange(0, 2), origin, 0.0)


def test_a_node_is_made_again_as_it_was() -> None:
    book = Book()
    assert book.node.cache.on_disk(KEY)
    assert book.node.context.membership.is_barred("liar", 800.0)
    born = read_line(book.lines[0])
    assert isinstance(born, Born)
    assert born.node(book.seal).cache.on_disk(KEY)


def test_a_viewers_request_is_recorded_without_what_is_its_own() -> None:
    line = Book().put(wanted(headers=(("cookie", "x=1"), ("authorization", "Bearer secret"))))
    assert line["what"]["origin"] == {"url": "", "headers": [["cookie", ""], ["authorization", ""]], "rule": None}
    assert line["what"]["resource_range"] == {"first": 0, "last": 2}
    assert "720p" not in str(line)
    assert line["did"] == [f"announce {STREAM}, serves=True", "load abababababababab"]


def test_a_rule_is_recorded_without_its_hosts() -> None:
    rule = permitting(ignore_no_store=True, fresh_s=60, path="/secret/")
    line = Book().put(replace(wanted(), origin=values.OriginRequest("https://secret.example/1", (), rule)))
    assert line["what"]["origin"]["rule"] == {
        "name": "event", "hosts": [], "ignore_no_store": True, "fresh_s": 60.0, "source": "agent.toml",
    }  # fmt: skip
    assert "secret" not in str(line)
    read = msgspec.convert(line["what"], events.Wanted)
    assert read.origin.rule is not None
    assert read.origin.rule.permits == rule.permits


def test_an_origins_answer_is_recorded_as_far_as_it_decides() -> None:
    headers = (("set-cookie", "x=1"), ("server", "s"), ("etag", '"e"'), ("location", "https://secret"))
    line = Book().put(events.OriginAnswered(1, 200, headers, 0.0))
    assert line["what"]["headers"] == [["set-cookie", ""], ["etag", '"e"']]


def test_bytes_are_recorded_as_their_number() -> None:
    book = Book()
    assert book.put(events.OriginSent(1, b"abc"))["what"] == {"fetch": 1, "data": 3}
    assert book.put(events.Received("other", Piece(1, 0, b"abcd")))["what"]["message"] == [22, 1, 0, 4]
    pages = [["access-control-allow-origin", "c344e52d"]]
    message = book.put(events.Received("other", Part(1, 0, b"abcd", PART)))["what"]["message"]
    assert message[:4] == [29, 1, 0, 4]
    assert message[4][5:] == [32, [3, "video/mp2t", '"e"', None, 0.0, 60.0, "none", pages], 64, 0]
    voucher = book.put(events.Received("other", Vouched(1, VOUCHER)))["what"]["message"][2]
    assert voucher[4:] == [64, 3, [3, "video/mp2t", '"e"', None, 0.0, 60.0, "none", pages], 64, 0]
    stored = book.put(events.Loaded(KEY, STORED))["what"]["stored"]
    assert stored["body"] == 3
    assert "who" not in str(stored)
    assert "stored" in book.put(events.Loaded(KEY, None))["what"]


def test_looking_into_the_memory_is_recorded() -> None:
    book = Book()
    book.put(events.StreamOpened(STREAM), 150.0)
    assert book.recording.in_memory(KEY, Demand(7.0, "https://intranet.test", 0.0, 4), 150.0) is None
    line = json.loads(book.lines[-1])
    asked = {"asked_at": 7.0, "page": "b952e3bb", "max_age_s": 0.0, "number": 4, "sent": [], "changed_at": None}
    assert line == {
        "is": "event", "at": 150.0, "event": "in_memory",
        "what": {"key": KEY, "demand": asked}, "did": ["not in memory"],
    }  # fmt: skip
    assert in_memory_words(STORED) == "3 bytes in memory"


def test_waking_is_recorded() -> None:
    book = Book()
    book.put(wanted())
    assert book.recording.wake_at() == book.node.wake_at()
    book.recording.wake(101.0)
    assert json.loads(book.lines[-1])["event"] == "wake"


def test_a_refused_voucher_is_recorded_with_its_reason() -> None:
    witness = Witness(seal := Anybody())
    seal.refuses = "no"
    with pytest.raises(PeerMisbehaved):
        witness.check(VOUCHER)
    assert witness.refused == "no"
    seal.refuses = ""
    witness.check(VOUCHER)
    assert (witness.sign(b"a"), witness.certificate()) == (b"a" * 64, b"mine")


def test_a_fault_of_ours_is_recorded_before_it_goes_on() -> None:
    book = Book()
    book.node.announcements = None  # type: ignore[assignment]  # broken on purpose
    with pytest.raises(AttributeError):
        book.recording.handle(events.StreamOpened(STREAM), 100.0)
    assert json.loads(book.lines[-1])["failed"].startswith("AttributeError")
    with pytest.raises(AttributeError):
        book.recording.wake(100.0)
    assert json.loads(book.lines[-1])["event"] == "wake"


EFFECTS: list[tuple[events.Effect, str]] = [
    (events.BeginAnswer(1, HEAD, "lan", "why"), "answer viewer 1 with 3 bytes, lan: why"),
    (events.Deliver(1, b"abc"), "deliver 3 bytes to viewer 1"),
    (events.Finish(1), "finish viewer 1"),
    (events.Abort(1, "why"), "abort viewer 1: why"),
    (events.PassOn(1, "why"), "pass viewer 1 on to the origin: why"),
    (events.HandOver(1, 2, "why"), "hand fetch 2 over to viewer 1: why"),
    (events.AnswerStatus(1, 404, "why"), "answer viewer 1 with 404: why"),
    (events.FetchOrigin(2, values.OriginRequest("u", ()), 0, None, False),
     "fetch 2 from the origin: bytes 0 to the end, ranged=False"),
    (events.FetchOrigin(2, values.OriginRequest("u", ()), 5, 9, True),
     "fetch 2 from the origin: bytes 5 to 9, ranged=True"),
    (events.AbortOrigin(2), "abort fetch 2"),
    (events.Dial(OTHER), "dial other"),
    (events.HangUp("other", "why"), "hang up on other: why"),
    (events.Send("other", Piece(1, 2, b"abc")), "send to other: Piece request=1 index=2 3 bytes"),
    (events.Send("other", Part(1, 4, b"ab", PART)), "send to other: Part request=1 of piece 0 from byte 4 on: 2 bytes"),
    (events.Send("other", Vouched(1, VOUCHER)), "send to other: Vouched request=1 pieces from 0 on: 2"),
    (events.Send("other", Follow(1, KEY, (ME, OTHER), "why")),
     "send to other: Follow request=1 key=abababababababab parents=(me, other) why=why"),
    (events.Send("other", Get(1, KEY, STREAM, 0)),
     f"send to other: Get request=1 key={'ab' * 8} stream={STREAM} first=0 count=None errand=None judges_age=False"),
    (events.Send("other", Vouched(1, VOUCHER, 0, 2_500, 300)),
     "send to other: Vouched request=1 pieces from 0 on: 2, made 2500 ms ago, the origin spoke of it 300 ms ago"),
    (events.AnnounceStreams((), True), "announce no stream, serves=True"),
    (events.AnnounceStreams(("s", "t"), False), "announce s, t, serves=False"),
    (events.AnnounceStreams(("s",), True, True), "announce s, serves=True, isolated"),
    (events.Save(STORED), "save abababababababab, 3 bytes"),
    (events.Load(KEY), "load abababababababab"),
    (events.Erase(KEY), "erase abababababababab"),
    (events.RaiseCondition("code", "detail"), "condition code: detail"),
    (events.ClearCondition("code"), "condition code is over"),
    (events.Served(KEY, STREAM, "r", 1, "lan", "why", 1.25, ()), "served segment 1 from lan in 1.2 ms: why"),
]  # fmt: skip


@pytest.mark.parametrize(("effect", "said"), EFFECTS)
def test_decisions_are_sentences(effect: events.Effect, said: str) -> None:
    assert decided(effect) == said


def test_every_effect_has_its_sentence() -> None:
    assert {type(effect) for effect, _ in EFFECTS} == set(events.Effect.__args__)


def test_lines_come_back() -> None:
    assert read_line(b'{"is":"end","why":"enough"}') == RecordingEnd(why="enough")
    assert read_line(b'{"is":"event","at":1.5,"event":"wake"}') == RecordedEvent(at=1.5, event="wake")
    for bad in (b"", b"{", b"[]", b"{}", b'{"is":"event"}', b'{"is":"more"}', b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            read_line(bad)
