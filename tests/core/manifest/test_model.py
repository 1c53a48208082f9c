"""`core.manifest.model`: templates find exactly what they make."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.manifest.model import Template, Timeline, TimelineRun, fill, literal, matcher
from tests.core.corpus import written_out


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**15),
    st.integers(0, 12),
    st.sampled_from(["$Number{}$", "$Time{}$", "$$-$Number{}$-x", "$Time$.$Number{}$"]),
)
def test_what_a_pattern_makes_it_finds(number: int, time: int, width: int, form: str) -> None:
    pattern = "https://h/a+b/" + form.format(f"%0{width}d" if width else "")
    url = fill(pattern, number=number, time=time)
    expression = matcher(pattern)
    assert expression is not None
    hit = expression.fullmatch(url)
    assert hit is not None
    assert all(int(v) == {"Number": number, "Time": time}[k] for k, v in hit.groupdict().items())


def test_one_segment_has_one_spelling() -> None:
    wide = matcher("$Number%05d$")
    plain = matcher("$Number$/$Number$")
    assert wide is not None
    assert plain is not None
    assert [bool(wide.fullmatch(t)) for t in ("00042", "42", "000042", "123456", "٤٤٤٤٤")] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert [bool(plain.fullmatch(t)) for t in ("7/7", "7/8", "07/07")] == [True, False, False]


def test_patterns_nobody_uses_match_nothing() -> None:
    assert matcher("no variable") is None
    assert matcher("$Number$" * 5) is None
    assert matcher("$Number$$Number%05d$") is None
    assert literal("a$b") == "a$$b"
    assert Template(("x",)).match("x", 0.0) is None


def test_computed_templates() -> None:
    by_number = Template(("n$Number$",), timescale=10, start_number=5, duration_ticks=20, period_s=5.0)
    assert [by_number.match(f"n{n}", 0.0) is not None for n in (4, 5, 7, 8)] == [False, True, True, False]
    by_time = Template(("t$Time$",), timescale=10, start_ticks=7, duration_ticks=20)
    assert [by_time.match(f"t{n}", 0.0) is not None for n in (7, 8, 27)] == [True, False, True]
    both = Template(("$Number$-$Time$",), timescale=10, start_number=0, duration_ticks=20)
    assert both.match("1-20", 0.0) is not None
    assert both.match("1-40", 0.0) is None
    assert Template(("$Number$",)).match("1", 0.0) is None
    assert list(written_out(Template(("$Number$",)), 0.0, 5)) == []
    alternatives = next(iter(written_out(Template(("a$Number$", "b$Number$"), duration_ticks=1), 0.0, 1)))
    assert (alternatives.url, alternatives.alternatives) == ("a1", ("b1",))


def test_timelines() -> None:
    line = Timeline((TimelineRun(10, 5, 2, 1), TimelineRun(30, 7, None, 3)))
    assert [line.at_time(t) is not None for t in (9, 10, 12, 15, 20, 30, 37)] == [
        False,
        True,
        False,
        True,
        False,
        True,
        True,
    ]
    assert [line.at_number(n) is not None for n in (0, 1, 2, 3, 9)] == [False, True, True, True, True]
    found = Template(("$Number$",), timeline=line).match("2", 0.0)
    assert found is not None
    assert found.start_ticks == 15


def test_a_newer_timeline_keeps_what_just_left() -> None:
    older = Timeline((TimelineRun(0, 10, 1, 0), TimelineRun(10, 10, 5, 1)))
    newer = Timeline((TimelineRun(40, 10, 5, 4),))
    merged = newer.after(older, 1000)
    assert [merged.at_time(t) is not None for t in range(0, 90, 10)] == [True] * 9
    assert merged.runs == (TimelineRun(0, 10, 1, 0), TimelineRun(10, 10, 3, 1), TimelineRun(40, 10, 5, 4))
    assert newer.after(Timeline((TimelineRun(0, 10, 1, 0),)), 20).runs == newer.runs
    assert newer.after(replace(older, runs=(TimelineRun(35, 10, 1, 3),)), 20).runs == newer.runs
    assert TimelineRun(5, 10, None, 0).end_ticks() == 15
