"""`core.manifest.dash`: random timelines against the players' parser, and the corners of inheritance and live windows."""

# ruff: noqa: E501 - a manifest or a row of cases reads best on one line

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.manifest import parse as manifest
from ecdn_proxy.core.manifest.model import Presentation, SegmentKind, Template
from tests.core import corpus, oracle


def parse(inner: str, attributes: str = 'mediaPresentationDuration="PT100S"', utc: float = corpus.UTC) -> Presentation:
    return manifest.parse(corpus.BASE, corpus.mpd(inner, attributes), None, utc)


@st.composite
def timelines(draw: st.DrawFn) -> str:
    entries = []
    at = draw(st.integers(0, 1000))
    for place in range(draw(st.integers(1, 6))):
        length, repeat = draw(st.integers(1, 50)), draw(st.integers(0, 4))
        start = f't="{at}" ' if place == 0 or draw(st.booleans()) else ""
        entries.append(f'<S {start}d="{length}"' + (f' r="{repeat}"' if repeat else "") + "/>")
        at += length * (repeat + 1)
    media = draw(
        st.sampled_from(
            ["$Time$.m4s", "$Number$.m4s", "s/$Number%04d$-$Time$.m4s", "$RepresentationID$/$Bandwidth$/$Time%09d$"]
        )
    )
    start_number = draw(st.integers(0, 100))
    return (
        f'<SegmentTemplate timescale="10" startNumber="{start_number}" media="{media}" initialization="i.mp4"><SegmentTimeline>'
        + "".join(entries)
        + "</SegmentTimeline></SegmentTemplate>"
    )


@pytest.mark.node
def test_random_timelines_as_players_read_them() -> None:
    inner: list[str] = []

    @settings(max_examples=150, deadline=None, database=None)
    @given(timelines())
    def collect(text: str) -> None:
        inner.append(text)

    collect()
    bodies = [corpus.mpd(corpus.video(text), 'type="static" mediaPresentationDuration="PT9000S"') for text in inner]
    answers = oracle.ask([{"mode": "dash", "url": corpus.BASE, "text": b.decode(), "now": corpus.UTC} for b in bodies])
    for body, theirs in zip(bodies, answers, strict=True):
        template = manifest.parse(corpus.BASE, body, None, corpus.UTC).renditions[0].templates[0]
        ours: list[Any] = [[s.url, pytest.approx(s.duration_s)] for s in corpus.written_out(template, corpus.UTC, 1000)]
        assert ours == [[s["url"], s["duration"]] for s in theirs["playlists"][0]["segments"]], body
        for url, _ in ours:
            assert template.match(url, corpus.UTC) is not None
        assert template.match(ours[-1][0] + "0", corpus.UTC) is None


def test_alternatives_are_one_resource() -> None:
    bases = "".join(f"<BaseURL>https://{n}.example/</BaseURL>" for n in "abcdefghijk")
    found = parse(bases + corpus.video('<SegmentTemplate media="$Number$" duration="2" initialization="i"/>'))
    rendition = found.renditions[0]
    assert rendition.segments[0].url == "https://a.example/i"
    assert rendition.segments[0].alternatives[0] == "https://b.example/i"
    assert len(rendition.templates[0].patterns) == 4
    assert rendition.templates[0].match("https://b.example/3", corpus.UTC) is not None


def test_live_numbers_are_available_only_around_now() -> None:
    live = 'type="dynamic" availabilityStartTime="2023-11-14T22:12:20" timeShiftBufferDepth="PT8S"'
    inner = corpus.video('<SegmentTemplate media="$Number$" duration="2" availabilityTimeOffset="{}"/>')
    template = parse(inner.format(0), live).renditions[0].templates[0]
    ahead = parse(inner.format("INF"), live).renditions[0].templates[0]
    found = {n for n in range(200) if template.match(f"{corpus.BASE}{n}", corpus.UTC)}
    assert found == set(range(20, 37))
    assert ahead.match(f"{corpus.BASE}150", corpus.UTC) is not None
    later = {n for n in range(200) if template.match(f"{corpus.BASE}{n}", corpus.UTC + 20)}
    assert later == set(range(30, 47))


def asked(template: Template, utc: float = corpus.UTC) -> set[int]:
    return {n for n in range(200) if template.match(f"{corpus.BASE}{n}", utc)}


def test_the_clocks_of_origin_and_utc_timing_count_as_well_as_this_machines() -> None:
    live = 'type="dynamic" availabilityStartTime="2023-11-14T22:12:20" timeShiftBufferDepth="PT8S"'
    inner = corpus.video('<SegmentTemplate media="$Number$" duration="2"/>')
    timing = '<UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="{}"/>'

    def found(off_s: float, origin_s: float | None = None, more: str = "") -> set[int]:
        """What is listed on a machine whose clock is before the right one; the origin's may be known."""
        origin_utc = None if origin_s is None else corpus.UTC + origin_s
        body = corpus.mpd(inner + more, live)
        made = manifest.parse(corpus.BASE, body, None, corpus.UTC + off_s, origin_utc=origin_utc)
        return asked(made.renditions[0].templates[0], corpus.UTC + off_s)

    right = set(range(20, 37))
    assert found(0) == right
    assert not found(60) & {29, 30}  # what a player at the live edge asks for now
    assert found(60, origin_s=0) >= right
    assert found(-60, origin_s=0) >= right
    assert found(-60, more=timing.format("2023-11-14T22:13:20Z")) >= right
    assert found(60, more=timing.format("2023-11-14T22:13:20.000+00:00")) >= right
    assert found(0, more=timing.format("noon") + timing.format("")) == right
    assert found(0, origin_s=-1e9) == right  # no clock is two days off and speaks TLS


def test_offsets_of_base_urls_reach_further_into_the_future() -> None:
    live = 'type="dynamic" availabilityStartTime="2023-11-14T22:12:20" timeShiftBufferDepth="PT8S"'
    inner = corpus.video('<SegmentTemplate media="$Number$" duration="2" availabilityTimeOffset="4"/>')
    base = '<BaseURL availabilityTimeOffset="{}">./</BaseURL>'
    assert max(asked(parse(inner, live).renditions[0].templates[0])) == 38
    assert max(asked(parse(base.format(3.5) + inner, live).renditions[0].templates[0])) == 39
    assert max(asked(parse(base.format("INF") + inner, live).renditions[0].templates[0])) == 199
    both = parse(base.format(2) + base.format(6) + inner, live)
    assert max(asked(both.renditions[0].templates[0])) == 41


def test_an_end_number_is_the_last() -> None:
    template = (
        parse(corpus.video('<SegmentTemplate media="$Number$" duration="2" endNumber="3"/>')).renditions[0].templates[0]
    )
    assert asked(template) == {1, 2, 3}


def test_an_open_live_timeline_grows_with_the_clock() -> None:
    live = 'type="dynamic" availabilityStartTime="2023-11-14T22:12:20Z"'
    inner = corpus.video(
        '<SegmentTemplate media="$Time$" timescale="1"><SegmentTimeline><S t="0" d="2" r="-1"/><S d="9"/></SegmentTimeline></SegmentTemplate>'
    )
    template = parse(inner, live).renditions[0].templates[0]
    assert template.match(corpus.BASE + "68", corpus.UTC) is not None
    assert template.match(corpus.BASE + "80", corpus.UTC) is None
    assert template.match(corpus.BASE + "80", corpus.UTC + 30) is not None
    assert template.match(corpus.BASE + "61", corpus.UTC) is None
    assert len(list(corpus.written_out(template, corpus.UTC, 10))) == 10


def test_periods_without_a_known_start_wait() -> None:
    live = 'type="dynamic"'
    found = parse(
        '<Period id="a" start="PT0S"/><Period id="b"><AdaptationSet><Representation id="x"/></AdaptationSet></Period>',
        live,
    )
    assert found.renditions == ()
    early = parse('<Period start="PT5S" duration="PT5S">' + corpus.video('<SegmentTemplate media="$Number$" duration="2"/>').removeprefix("<Period>")
                  + corpus.video('<SegmentTemplate media="two-$Number$" duration="2"/>'))  # fmt: skip
    assert [r.templates[0].period_s for r in early.renditions] == [5.0, 90.0]
    assert early.target_duration_s == 2.0


def test_index_elements_and_templates() -> None:
    found = parse(corpus.video(
        '<SegmentTemplate media="$Number$.m4s" index="$RepresentationID$.sidx" initialization="$Number$-i" duration="2"><RepresentationIndex sourceURL="x.idx"/></SegmentTemplate>'
    ))  # fmt: skip
    assert [(s.url.rpartition("/")[2], s.kind) for s in found.renditions[0].segments] == [
        ("v1.sidx", SegmentKind.INDEX),
        ("x.idx", SegmentKind.INDEX),
    ]


def test_lists_without_urls_and_their_index_files() -> None:
    found = parse(corpus.video('<SegmentList duration="5"><SegmentURL media="a" index="a.idx"/></SegmentList>'))
    assert [(s.url.rpartition("/")[2], s.kind.value) for s in found.renditions[0].segments] == [
        ("a", "media"),
        ("a.idx", "index"),
    ]
    empty = parse(corpus.video('<SegmentList duration="5"><Initialization sourceURL="data:,x"/></SegmentList>'))
    assert empty.renditions[0].segments == ()


def test_addresses_with_too_many_variables_and_timelines_that_are_too_short() -> None:
    found = parse(corpus.video('<SegmentTemplate media="$Number$$Time$$Number$$Time$$Number$" duration="2"/>'))
    assert (found.renditions[0].segments, found.renditions[0].templates) == ((), ())
    short = parse(
        corpus.video(
            '<SegmentList duration="7"><SegmentTimeline><S d="5"/><S d="6"/></SegmentTimeline><SegmentURL media="a"/><SegmentURL media="b"/><SegmentURL media="c"/></SegmentList>'
        )
    )
    assert [s.duration_s for s in short.renditions[0].segments] == [5.0, 6.0, 7.0]


def test_a_base_of_another_scheme_changes_nothing() -> None:
    found = parse("<BaseURL>urn:x</BaseURL>" + corpus.video("<BaseURL>v.mp4</BaseURL>"))
    assert [s.url for s in found.renditions[0].segments] == [corpus.BASE + "v.mp4"]


def test_repeats_that_reach_nowhere_are_left_out() -> None:
    found = parse(
        corpus.video(
            '<SegmentTemplate media="$Time$"><SegmentTimeline><S t="5" d="2" r="-1"/><S t="5" d="3"/></SegmentTimeline></SegmentTemplate>'
        )
    )
    timeline = found.renditions[0].templates[0].timeline
    assert timeline is not None
    assert [(r.start_ticks, r.count) for r in timeline.runs] == [(5, 1)]
    nothing = parse(corpus.video('<SegmentTemplate media="$Time$"><SegmentTimeline/></SegmentTemplate>'))
    assert nothing.renditions[0].templates[0].match(corpus.BASE + "1", corpus.UTC) is None
