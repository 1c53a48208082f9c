"""Viewers of one segment: every byte once and in order, an honest end for each, a row in the books for each."""

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.viewers import Viewers
from ecdn_proxy.core.events import Abort, AnswerStatus, BeginAnswer, Deliver, Effect, Finish, HandOver, PassOn, Served
from ecdn_proxy.wire.integrity import PIECE_BYTES
from tests.core.makers import KEY, head, seal, stored, wanted
from tests.core.world import STREAM, UTC


class Hall:
    def __init__(self) -> None:
        self.out: list[Effect] = []
        self.viewers = Viewers(self.out, KEY, STREAM)
        self.assembly = Assembly(KEY, seal("me"))

    def join(self, viewer: int, now: float = 0.0, slack_s: float = 1.0) -> None:
        self.viewers.join(wanted(viewer), slack_s, now)

    def got(self, viewer: int) -> bytes:
        return b"".join(bytes(it.data) for it in self.out if isinstance(it, Deliver) and it.viewer == viewer)

    def of[T](self, kind: type[T]) -> list[T]:
        return [it for it in self.out if isinstance(it, kind)]


def test_before_the_head_is_known_nobody_is_answered() -> None:
    hall = Hall()
    hall.join(1)
    hall.viewers.deliver(hall.assembly, "origin", "so")
    assert hall.out == []


def test_each_gets_every_byte_once_wherever_it_joined() -> None:
    hall, body = Hall(), bytes(range(256)) * 300
    hall.join(1)
    hall.assembly.begin_origin(head(len(body)), 0, UTC)
    for at in range(0, len(body), 10_000):
        hall.assembly.take_origin(body[at : at + 10_000], 0.0)
        hall.viewers.deliver(hall.assembly, "origin", "so")
        hall.viewers.deliver(hall.assembly, "origin", "so")
        if at == 40_000:
            hall.join(2, 0.5)
    hall.viewers.finish("so", 1.0)
    assert hall.got(1) == hall.got(2) == body
    assert [it.viewer for it in hall.of(BeginAnswer)] == [1, 2]
    assert [(it.source, it.bytes_by_source) for it in hall.of(Served)] == [
        ("origin", (("origin", len(body)),)),
        ("cache", (("cache", len(body)),)),
    ]
    assert [it.ms for it in hall.of(Served)] == [1000.0, 500.0]
    assert len(hall.viewers) == 0


def test_what_just_came_goes_on_as_it_came_to_those_who_had_all_before_it() -> None:
    """Also after a broken fetch whose last bytes are worth nothing to others, but were delivered."""
    hall, body = Hall(), bytes(range(256)) * 1_000
    hall.join(1)

    def fetch(first: int, *ends: int) -> None:
        hall.assembly.begin_origin(head(len(body), etag='"v"'), first, UTC)
        for start, end in zip((first, *ends), ends, strict=False):
            hall.assembly.take_origin(body[start:end], 0.0)
            hall.viewers.deliver(hall.assembly, "origin", "so", body[start:end])

    fetch(0, 10, 70_000)
    assert [len(it.data) for it in hall.of(Deliver)] == [10, 69_990]
    hall.join(2)
    hall.assembly.stop_origin()
    fetch(2 * PIECE_BYTES, 69_000, 70_000, 90_000, len(body))
    assert hall.got(1) == hall.got(2) == body
    assert [len(it.data) for it in hall.of(Deliver) if it.viewer == 1] == [10, 69_990, 20_000, len(body) - 90_000]


def test_a_row_counts_each_source_and_is_named_after_the_largest() -> None:
    hall, body = Hall(), bytes(3 * PIECE_BYTES)
    hall.join(1)
    hall.assembly.begin_origin(head(len(body)), 0, UTC)
    for source, part in (("lan", 2), ("origin", 1)):
        hall.assembly.take_origin(body[: part * PIECE_BYTES], 0.0)
        hall.viewers.deliver(hall.assembly, source, "so")  # type: ignore[arg-type]
    hall.viewers.finish("so", 1.0)
    (row,) = hall.of(Served)
    assert (row.source, dict(row.bytes_by_source)) == ("lan", {"lan": 2 * PIECE_BYTES, "origin": PIECE_BYTES})


def test_an_empty_segment_is_an_answer_too() -> None:
    hall = Hall()
    hall.join(1)
    hall.assembly.begin_origin(head(0), 0, UTC)
    hall.viewers.deliver(hall.assembly, "origin", "so")
    hall.viewers.finish("so", 1.0)
    assert [type(it).__name__ for it in hall.out] == ["BeginAnswer", "Finish", "Served"]


def test_all_at_once_from_the_disk() -> None:
    hall = Hall()
    hall.join(1)
    hall.join(2)
    hall.viewers.give_stored(stored(b"segment"), "on this machine's disk", 0.25)
    assert hall.got(1) == hall.got(2) == b"segment"
    assert [it.viewer for it in hall.of(Finish)] == [1, 2]
    assert {it.source for it in hall.of(Served)} == {"cache"}


def test_everybody_for_himself_whoever_has_had_something_sees_it_break() -> None:
    hall = Hall()
    hall.join(1)
    hall.assembly.begin_origin(head(100), 0, UTC)
    hall.assembly.take_origin(b"some", 0.0)
    hall.viewers.deliver(hall.assembly, "origin", "so")
    assert hall.viewers.any_sent()
    hall.join(2)
    hall.viewers.release("two versions", 0, 1.0)
    assert hall.of(Abort) == [Abort(1, "two versions")]
    assert hall.of(PassOn) == [PassOn(2, "two versions")]
    assert [it.source for it in hall.of(Served)] == ["passed", "passed"]
    assert len(hall.viewers) == 0


def test_a_404_is_told_to_those_who_wait() -> None:
    hall = Hall()
    hall.join(1)
    hall.viewers.release("gone", 404, 1.0)
    assert hall.of(AnswerStatus) == [AnswerStatus(1, 404, "gone")]
    assert not hall.viewers.any_sent()


def test_only_one_that_has_had_nothing_can_be_handed_over() -> None:
    hall = Hall()
    hall.join(1)
    hall.assembly.begin_origin(head(100), 0, UTC)
    hall.assembly.take_origin(b"some", 0.0)
    hall.viewers.deliver(hall.assembly, "origin", "so")
    hall.join(2)
    assert hall.viewers.any_answered()
    assert not hall.viewers.hand_over(1, 7, "private", 1.0)
    assert not hall.viewers.hand_over(9, 7, "private", 1.0)
    assert hall.viewers.hand_over(2, 7, "private", 1.0)
    assert hall.of(HandOver) == [HandOver(2, 7, "private")]
    assert [(it.source, it.why) for it in hall.of(Served)] == [("passed", "private")]
    assert (2 in hall.viewers, 1 in hall.viewers) == (False, True)


def test_who_waits_longest_lends_its_request_and_leaving_passes_it_on() -> None:
    hall = Hall()
    assert hall.viewers.longest_waiting() is None
    hall.join(1)
    hall.join(2)
    first = hall.viewers.longest_waiting()
    assert first is not None
    assert first.number == 1
    assert hall.viewers.leave(1)
    assert not hall.viewers.leave(1)
    second = hall.viewers.longest_waiting()
    assert second is not None
    assert (second.number, second.first) == (2, False)


def test_the_most_impatient_sets_the_deadline() -> None:
    hall = Hall()
    assert hall.viewers.deadline(1.0) is None
    hall.join(1, now=10.0, slack_s=6.0)
    hall.join(2, now=12.0, slack_s=1.0)
    assert hall.viewers.deadline(1.0) == 13.0
    assert hall.viewers.deadline(0.4) == 12.4
