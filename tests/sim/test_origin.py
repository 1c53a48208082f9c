"""The origin's answers as timetables: the head after its first byte's time, the body at the link's rate."""

import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.sim.links import CHUNK_BYTES, SharedLink
from ecdn_proxy.sim.origin import REACHED_S, Origin, OriginResource, OriginResponse, respond
from tests.sim.surroundings import Surroundings

BODY = bytes(range(250)) * 400
URL = "https://origin.test/1"


def asked(*, first: int | None = None) -> events.FetchOrigin:
    request = values.OriginRequest(URL, ())
    return events.FetchOrigin(7, request, first or 0, None, ranged=first is not None)


class Answered(Surroundings):
    """A machine whose node's fetch 7 is answered over a link of 100,000 bytes per second."""

    def __init__(self, response: OriginResponse) -> None:
        super().__init__("ann")
        self.ann = self.host("ann")
        self.origin = Origin(self.clock, SharedLink(self.clock, 100_000.0))
        self.flow = self.origin.answer(self.ann, 7, response)

    def came(self) -> list[tuple[float, str]]:
        """What the node was told: when and what."""
        return [(at, type(event).__name__.removeprefix("Origin")) for at, event in self.heard("ann")]


def whole(*, first: int | None = None) -> OriginResponse:
    resource = OriginResource(url=URL, body=BODY)
    return respond(asked(first=first), resource, (("etag", '"v1"'),), first_byte_s=0.5)


def test_a_chunk_is_read_once_for_all_fetches_and_any_other_bytes_too() -> None:
    resource = OriginResource(url=URL, body=BODY, chunk_bytes=1_000)
    assert resource.read(2_000, 1_000) is resource.read(2_000, 1_000)
    assert resource.read(2_000, 10) == BODY[2_000:2_010]
    assert resource.read(1_999, 1_000) == BODY[1_999:2_999]


def test_a_head_says_how_much_comes_and_from_where() -> None:
    full, rest = whole(), whole(first=40_000)
    assert (full.status, full.begins) == (200, 0)
    assert dict(full.headers) == {"etag": '"v1"', "content-length": "100000"}
    assert (rest.status, rest.begins) == (206, 40_000)
    assert dict(rest.headers)["content-range"] == "bytes 40000-99999/100000"
    assert dict(rest.headers)["content-length"] == "60000"


@pytest.mark.parametrize("first", [0, 40_000])
def test_a_fetch_is_answered_chunk_by_chunk(first: int) -> None:
    response = whole(first=first or None)
    office = Answered(response)
    office.run(0.49)
    assert office.came() == [(REACHED_S, "Reached")]
    office.run(5.0)
    sent = [(at, event.data) for at, event in office.heard("ann") if isinstance(event, events.OriginSent)]
    assert b"".join(data for _, data in sent) == BODY[first:]
    assert [at for at, _ in sent][:1] == [pytest.approx(0.5 + CHUNK_BYTES / 100_000, abs=1e-5)]
    assert office.came()[1] == (0.5, "Answered")
    ended_at, what = office.came()[-1]
    assert what == "Ended"
    assert ended_at == pytest.approx(0.5 + (len(BODY) - first) / 100_000)
    assert office.ann.fetches == {}
    assert response.resource.origin_bytes == pytest.approx(len(BODY) - first)
    assert sum(office.origin.link_bytes.values()) == pytest.approx(len(BODY) - first)


def test_a_connection_that_hangs_says_nothing_more_and_stays() -> None:
    response = whole()
    response.stalls_after_bytes = CHUNK_BYTES + 1
    office = Answered(response)
    office.run(60.0)
    assert [what for _, what in office.came()] == ["Reached", "Answered", "Sent", "Sent"]
    assert 7 in office.ann.fetches
    assert response.resource.origin_bytes == pytest.approx(2 * CHUNK_BYTES)


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    office = Answered(OriginResponse(404, (), OriginResource(url=URL, body=b""), 0, 0.5))
    office.run(5.0)
    assert office.came()[1:] == [(0.5, "Answered"), (0.5, "Ended")]


@pytest.mark.parametrize(("first_byte_s", "hangs"), [(0.05, False), (0.5, True)])
def test_an_origin_that_answers_at_once_or_is_not_reached_has_not_been_reached_before(
    first_byte_s: float, *, hangs: bool
) -> None:
    office = Answered(OriginResponse(404, (), OriginResource(url=URL, body=b""), 0, first_byte_s, hangs=hangs))
    office.run(5.0)
    assert [what for _, what in office.came()] == ["Answered", "Ended"]


def test_a_fetch_that_is_given_up_before_its_head_costs_nothing() -> None:
    response = whole()
    office = Answered(response)
    office.ann.perform(events.AbortOrigin(7))
    office.run(5.0)
    assert office.heard("ann") == []
    assert response.resource.origin_bytes == 0


def test_a_fetch_that_is_handed_over_is_the_nodes_no_more() -> None:
    office = Answered(whole())
    ends: list[float] = []
    office.run(0.6)
    office.origin.hand_over(office.ann, 7, lambda: ends.append(office.clock.now))
    office.run(5.0)
    assert [what for _, what in office.came()] == ["Reached", "Answered"]
    assert ends == [pytest.approx(101.5)]
    assert office.ann.fetches == {}


def test_a_viewer_that_was_passed_on_has_the_whole_or_nothing() -> None:
    office = Answered(whole())
    office.ann.perform(events.AbortOrigin(7))
    ends: list[float] = []
    resource = OriginResource(url=URL, body=BODY)
    office.origin.send(office.ann, -1, resource, first_byte_s=0.5, whole=lambda: ends.append(office.clock.now))
    office.origin.send(office.ann, -2, resource, first_byte_s=0.5, whole=lambda: ends.append(office.clock.now))
    office.ann.fetches[-2].cancel()
    office.run(5.0)
    assert ends == [pytest.approx(101.5)]
    assert office.heard("ann") == []
