"""Timetables of what the coordinator is told: nothing is lost while it is away, nothing is told twice as new."""

from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.report.usage_reports import UsageReport, UsageReports
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.tracker import read_from_agent
from ecdn_proxy.wire.usage import ReportedUsage


def counted(origin: int) -> ReportedUsage:
    return ReportedUsage(bytes_origin=origin)


def report(sequence: int, origin: int) -> UsageReport:
    return UsageReport(sequence, counted(origin))


def test_each_report_is_what_came_since_the_one_that_was_taken() -> None:
    reports = UsageReports(70)
    first = reports.next(counted(100))
    assert first == report(70, 100)
    reports.sent(first)
    reports.taken()
    second = reports.next(counted(130))
    assert second == report(71, 30)
    reports.sent(second)
    reports.taken()
    assert reports.next(counted(130)) == report(72, 0)


def test_what_could_not_be_sent_is_in_the_next_one() -> None:
    reports = UsageReports(1)
    assert reports.next(counted(100)) == report(1, 100)
    assert reports.next(counted(250)) == report(1, 250)


def test_while_an_answer_is_awaited_nothing_is_due() -> None:
    reports = UsageReports(1)
    reports.sent(report(1, 100))
    assert reports.next(counted(250)) is None
    reports.taken()
    assert reports.next(counted(250)) == report(2, 150)


def test_a_report_whose_answer_was_lost_is_told_again_as_it_was() -> None:
    reports = UsageReports(1)
    reports.sent(report(1, 100))
    reports.no_answer()
    again = reports.next(counted(250))
    assert again == report(1, 100)
    reports.sent(again)
    reports.taken()
    assert reports.next(counted(250)) == report(2, 150)


def test_answers_to_nothing_change_nothing() -> None:
    reports = UsageReports(1)
    reports.taken()
    reports.no_answer()
    assert reports.next(counted(5)) == report(1, 5)
    reports.sent(report(1, 5))
    reports.no_answer()
    reports.taken()
    assert reports.next(counted(5)) == report(1, 5)


def test_after_years_a_report_still_fits_into_its_frame() -> None:
    """100 Gbit/s for ten years."""
    much = 100_000_000_000 // 8 * 86_400 * 366 * 10
    beat = UsageReports(1_800_000_000).next(counted(much))
    assert beat is not None
    sent = beat.usage.beat(beat.sequence, (), links_tls=0, links_webrtc=0)
    assert read_from_agent(pack(sent)) == sent


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["away", "taken", "lost before", "lost after"]))))
def test_the_coordinator_counts_all_that_it_was_told_of_once(story: list[tuple[int, str]]) -> None:
    """`lost before`, `lost after`: the connection breaks before, or after, the coordinator has taken the beat."""
    reports, watched, total, last = UsageReports(1), 0, 0, -1
    for more, happens in [*story, (0, "taken"), (0, "taken")]:
        watched += more
        due = reports.next(counted(watched))
        assert due is not None
        if happens == "away":
            continue
        reports.sent(due)
        if happens != "lost before" and due.sequence != last:
            last, total = due.sequence, total + due.usage.bytes_origin
        if happens == "taken":
            reports.taken()
        else:
            reports.no_answer()
    assert total == watched
