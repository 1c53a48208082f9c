"""The counters of a beat, as numbers that add up."""

from ecdn_proxy.wire.tracker import Beat
from ecdn_proxy.wire.usage import ReportedUsage

NO_COUNTERS = {"sequence", "conditions", "links_tls", "links_webrtc"}
"""Fields of a beat that say how something is now, and do not add up."""


def test_whatever_a_beat_counts_is_summed() -> None:
    assert set(ReportedUsage.__struct_fields__) == set(Beat.__struct_fields__) - NO_COUNTERS


def test_a_beat_carries_them_there_and_back() -> None:
    usage = ReportedUsage(1, 2, 3, 4, 5, 6, 7)
    beat = usage.beat(9, ["sharing-off"], links_tls=8, links_webrtc=10)
    assert beat == Beat(9, 1, 2, 3, 4, 5, ("sharing-off",), 8, 10, 6, 7)
    assert ReportedUsage.of(beat) == usage


def test_they_add_up() -> None:
    usage = ReportedUsage(1, 2, 3, 4, 5, 6, 7)
    assert usage + usage == ReportedUsage(2, 4, 6, 8, 10, 12, 14)
    assert usage + usage - usage == usage
