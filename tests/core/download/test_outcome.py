"""What a download leaves behind, whichever way it ended."""

import pytest

from ecdn_proxy.core import events
from ecdn_proxy.core.download.download import Download
from ecdn_proxy.core.download.outcome import Arrived, GivenUp, Unshareable
from ecdn_proxy.core.limits import Limits
from tests.core.makers import KEY, context, stored, wanted
from tests.core.world import STREAM, UTC

BODY = bytes(range(256)) * 300
NOW = 100.0
HEADERS = (("content-type", "video/mp2t"), ("content-length", str(len(BODY))), ("etag", '"v1"'))


class Alone:
    """A download of a machine without neighbours, for which viewer 1 waits."""

    def __init__(self, *, on_disk: bool = False) -> None:
        self.context = context()
        self.download = Download(self.context, KEY, STREAM, NOW, lambda _stream, _now: False)
        self.download.want(wanted(1), 4.0, NOW)
        self.download.begin(NOW, on_disk=on_disk, joining=False)
        self.download.check()

    def of[T](self, kind: type[T]) -> list[T]:
        return [it for it in self.context.out if isinstance(it, kind)]

    def answer(self, status: int, *more: tuple[str, str]) -> None:
        (asked,) = self.of(events.FetchOrigin)
        self.download.origin_answered(events.OriginAnswered(asked.fetch, status, (*HEADERS, *more), UTC), NOW)


def test_what_the_origin_gave_is_handed_out_once_and_kept_whole() -> None:
    alone = Alone()
    alone.answer(200)
    for at in range(0, len(BODY), 30_000):
        alone.download.origin_sent(BODY[at : at + 30_000], NOW)
        alone.download.check()
    alone.download.origin_ended(NOW + 1.0)
    alone.download.check()
    assert b"".join(it.data for it in alone.of(events.Deliver)) == BODY
    outcome = alone.download.outcome
    assert isinstance(outcome, Arrived)
    assert (outcome.from_disk, outcome.fetched) == (False, True)
    assert (outcome.stored.body, outcome.stored.head.total_bytes) == (BODY, len(BODY))


def test_what_the_disk_had_is_everything() -> None:
    alone = Alone(on_disk=True)
    kept = stored(BODY)
    alone.download.disk_answered(kept, NOW, joining=False)
    alone.download.check()
    assert alone.download.outcome == Arrived(kept, from_disk=True, fetched=False)
    assert [it.viewer for it in alone.of(events.Finish)] == [1]


@pytest.mark.parametrize(
    ("status", "more", "outcome"),
    [
        (
            200,
            ("cache-control", "no-store"),
            Unshareable("the origin said Cache-Control: no-store", Limits().private_s),
        ),
        (404, ("cache-control", "max-age=60"), GivenUp()),
    ],
)
def test_an_answer_that_is_not_for_others_goes_to_its_viewer(
    status: int, more: tuple[str, str], outcome: Unshareable | GivenUp
) -> None:
    alone = Alone()
    alone.answer(status, more)
    alone.download.check()
    assert alone.download.outcome == outcome
    assert [it.viewer for it in alone.of(events.HandOver)] == [1]


def test_nothing_is_left_when_its_viewer_left() -> None:
    alone = Alone()
    alone.download.viewer_left(1, NOW)
    alone.download.check()
    assert alone.download.outcome == GivenUp()
