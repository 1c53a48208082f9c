"""What is counted: what a helpdesk and the coordinator read."""

from dataclasses import replace

import pytest

from ecdn_proxy.core.events import Served
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.core.report.usage import BySource, ByteCounts, Usage
from ecdn_proxy.core.values import Source
from tests.core.makers import KEY
from tests.core.world import STREAM


def served(source: Source, *parts: tuple[Source, int], stream: str = STREAM, rendition: str = "v1") -> Served:
    return Served(KEY, stream, rendition, 1, source, "so", 12.0, parts)


def test_bytes_count_where_they_came_from_and_segments_where_most_did() -> None:
    meter = Meter(50)
    meter.served(served("lan", ("lan", 900), ("origin", 100)), 1.0)
    meter.served(served("cache", ("cache", 1_000)), 2.0)
    meter.passed(77)
    counted = meter.usage(ByteCounts())
    assert counted.bytes == ByteCounts(cache=1_000, lan=900, webrtc=0, origin=100, passed=77)
    assert counted.segments == BySource(cache=1, lan=1, webrtc=0, origin=0, passed=0)
    assert counted.stalls_prevented == 0


def test_a_source_that_was_replaced_in_time_is_a_stall_prevented() -> None:
    meter = Meter(50)
    for replaced in (True, False, True):
        meter.served(replace(served("lan", ("lan", 9)), replaced=replaced), 1.0)
    assert meter.usage(ByteCounts()).stalls_prevented == 2


def test_what_came_between_two_looks_is_their_difference() -> None:
    meter = Meter(50)
    meter.served(served("origin", ("origin", 500)), 1.0)
    first = meter.usage(ByteCounts())
    meter.served(served("lan", ("lan", 300)), 2.0)
    second = meter.usage(ByteCounts(uploaded=7))
    assert first == Usage(ByteCounts(origin=500), BySource(origin=1))
    assert second - first == Usage(ByteCounts(lan=300, uploaded=7), BySource(lan=1))


def test_what_a_node_gave_before_it_was_replaced_still_counts() -> None:
    meter = Meter(50)
    assert meter.usage(ByteCounts(uploaded=100, uploaded_webrtc=60)).bytes.uploaded == 100
    meter.node_ended(ByteCounts(uploaded=130, uploaded_webrtc=70))
    assert meter.usage(ByteCounts()).bytes == ByteCounts(uploaded=130, uploaded_webrtc=70)
    meter.node_ended(ByteCounts(uploaded=5))
    assert meter.usage(ByteCounts(uploaded=2, uploaded_webrtc=1)).bytes == ByteCounts(uploaded=137, uploaded_webrtc=71)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((), "Ready: no stream has been watched on this machine since the agent started."),
        ((("passed", 9_000),), "Ready: no stream has been watched on this machine since the agent started."),
        (
            (("lan", 600), ("cache", 340), ("origin", 60)),
            "Working: 94 % of what was watched here came from your office.",
        ),
        ((("origin", 10),), "Working: 0 % of what was watched here came from your office."),
        ((("webrtc", 10),), "Working: 100 % of what was watched here came from your office."),
    ],
)
def test_the_first_sentence_for_a_helpdesk(parts: tuple[tuple[Source, int], ...], said: str) -> None:
    meter = Meter(50)
    meter.served(served("lan", *parts), 1.0)
    assert meter.sentence() == said


def test_the_newest_rows_come_first_and_old_ones_go() -> None:
    meter = Meter(2)
    for rendition in ("a", "b", "c"):
        meter.served(served("lan", rendition=rendition), 1.0)
    assert [it.rendition for it in meter.recent] == ["c", "b"]


def test_streams_and_renditions_are_bounded() -> None:
    meter = Meter(2)
    for number in range(20):
        meter.served(served("lan", rendition=f"v{number}"), float(number))
    watched = meter.streams[STREAM]
    assert (len(watched.renditions), watched.last) == (16, 19.0)
    assert "v3" not in watched.renditions
    for number in range(64):
        meter.served(served("lan", stream=f"{number:032x}"), 20.0)
    assert len(meter.streams) == 64
    assert STREAM not in meter.streams
