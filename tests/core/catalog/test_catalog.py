"""`core.catalog.catalog`: what is a segment, told as timetables; and laws over random manifests."""

# ruff: noqa: E501 - a manifest or a row of cases reads best on one line

import base64
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.catalog.catalog import Catalog
from ecdn_proxy.core.catalog.index import CatalogStream
from ecdn_proxy.core.catalog.lookup import Listed
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.manifest import parse as manifest
from ecdn_proxy.core.manifest.model import Format, Presentation, Rendition, Segment, SegmentKind
from ecdn_proxy.core.values import ByteRange
from tests.core import corpus

PROFILES = Profiles.load()
UTC = corpus.UTC
BASE = corpus.BASE
HEX = "0123456789abcdef" * 4


def make(**limits: Any) -> Catalog:
    return Catalog(salt=b"tenant", profiles=PROFILES, **limits)


def hls(*lines: str, url: str = BASE + "index.m3u8", **more: Any) -> Presentation:
    return manifest.parse(url, "\n".join(["#EXTM3U", *lines, ""]).encode(), None, UTC, **more)


def segments(*names: str, first: int = 0, end: bool = False) -> list[str]:
    rows = [f"#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}", *(f"#EXTINF:4,\n{name}" for name in names)]
    return [*rows, "#EXT-X-ENDLIST"] if end else rows


def known(catalog: Catalog) -> list[CatalogStream]:
    """Its streams, the least recently used first."""
    return list(catalog._streams)


def never_shared(catalog: Catalog, url: str) -> bool:
    """Whether a manifest names it as a key, a licence or session data."""
    canonical = PROFILES.canonical(url)
    return catalog._streams.is_never_shared(f"{canonical.provider}|{canonical.identity}")


def found(catalog: Catalog, url: str, covers: tuple[int, int | None] | None = None, utc: float = UTC) -> Listed:
    listed = catalog.look_up(url, covers, utc=utc)
    assert listed is not None, url
    return listed


@pytest.mark.parametrize("form", corpus.all_forms(), ids=lambda form: form.name)
def test_everything_the_corpus_lists_is_found(form: corpus.Form) -> None:
    catalog = make()
    said = manifest.parse(form.url, form.body, form.content_type, form.utc, variables=form.variables)
    stream = catalog.manifest_arrived(said, utc=form.utc)
    assert len(stream) == 32
    keys: dict[str, tuple[Any, ...]] = {}
    for row in form.listed:
        url, first, last, kind = row
        covers = None if first is None else (first, last if last is not None else 99)
        listed = catalog.look_up(url, covers, utc=form.utc)
        if url in form.secret:
            assert listed is None
            assert never_shared(catalog, url)
            continue
        assert listed is not None, row
        assert len(listed.key) == 64
        assert keys.setdefault(listed.key, (url, covers)) == (url, covers)
        assert (listed.kind.value, listed.live) == (kind, form.live)
        assert listed.byte_range == (ByteRange(*covers) if covers else None)
        assert len(listed.stream) == 32
        assert listed.stream[:8] in listed.why
    for url in (form.url, *form.children, *form.secret, BASE + "other.ts", BASE):
        assert catalog.look_up(url, None, utc=form.utc) is None
    assert {s.id for s in known(catalog)} == {stream}
    catalog.check()
    catalog.forget(utc=form.utc + 10**6)
    assert known(catalog) == []
    catalog.check()


def test_a_masters_playlists_belong_to_its_stream() -> None:
    catalog = make()
    master = hls(
        "#EXT-X-STREAM-INF:BANDWIDTH=1",
        "low.m3u8?t=1",
        "#EXT-X-STREAM-INF:BANDWIDTH=2",
        "high.m3u8",
        '#EXT-X-DEFINE:NAME="v",VALUE="x"',
    )
    stream = catalog.manifest_arrived(master, utc=UTC)
    assert catalog.variables_for(BASE + "high.m3u8") == (("v", "x"),)
    assert catalog.variables_for(BASE + "no.m3u8") == ()
    assert catalog.manifest_arrived(hls(*segments("h.ts"), url=BASE + "high.m3u8"), utc=UTC) == stream
    assert catalog.manifest_arrived(hls(*segments("l.ts"), url=BASE + "low.m3u8?t=1"), utc=UTC) == stream
    assert (found(catalog, BASE + "h.ts").rendition, found(catalog, BASE + "l.ts").rendition) == (
        "variant-1",
        "variant-0",
    )
    (one,) = known(catalog)
    assert (one.url, one.format, one.live, one.weight()) == (BASE + "index.m3u8", Format.HLS, True, 2)
    catalog.check()


@pytest.mark.parametrize(
    ("bandwidths", "best_kbps"),
    [((700_000, 2_400_000), 2_400), ((2_400_000, 2_400_000), 0), ((2_400_000,), 0), ((128_000, 700_000), 0)],
)
def test_players_have_a_choice_among_pictures_of_several_speeds(bandwidths: tuple[int, ...], best_kbps: int) -> None:
    catalog = make()
    rows = (f"#EXT-X-STREAM-INF:BANDWIDTH={bps}\n{at}.m3u8" for at, bps in enumerate(bandwidths))
    catalog.manifest_arrived(hls(*rows), utc=UTC)
    catalog.manifest_arrived(hls(*segments("s.ts"), url=BASE + "0.m3u8"), utc=UTC)
    assert found(catalog, BASE + "s.ts").best_kbps == best_kbps


def test_a_playlist_seen_before_its_master_moves_over() -> None:
    catalog = make()
    alone = catalog.manifest_arrived(
        hls(
            '#EXT-X-KEY:METHOD=AES-128,URI="k"',
            '#EXT-X-RENDITION-REPORT:URI="low.m3u8"',
            *segments("h.ts"),
            url=BASE + "high.m3u8",
        ),
        utc=UTC,
    )
    assert catalog.manifest_arrived(hls(*segments("l.ts"), url=BASE + "low.m3u8"), utc=UTC) == alone
    other = hls("#EXT-X-STREAM-INF:BANDWIDTH=1", "low.m3u8", url=BASE + "other.m3u8")
    taken = catalog.manifest_arrived(other, utc=UTC)
    assert found(catalog, BASE + "l.ts").proof == taken
    catalog.check()
    master = hls("#EXT-X-STREAM-INF:BANDWIDTH=1", "high.m3u8", "#EXT-X-STREAM-INF:BANDWIDTH=1", "low.m3u8")
    stream = catalog.manifest_arrived(master, utc=UTC)
    assert {found(catalog, BASE + n).proof for n in ("h.ts", "l.ts")} == {stream}
    assert never_shared(catalog, BASE + "k")
    assert {s.id for s in known(catalog)} == {stream, taken}
    catalog.check()


def test_a_master_cannot_take_another_master() -> None:
    catalog = make()
    first = catalog.manifest_arrived(hls("#EXT-X-STREAM-INF:BANDWIDTH=1", "low.m3u8"), utc=UTC)
    second = catalog.manifest_arrived(
        hls("#EXT-X-STREAM-INF:BANDWIDTH=1", "index.m3u8", url=BASE + "outer.m3u8"), utc=UTC
    )
    assert first != second
    assert {s.id for s in known(catalog)} == {first, second}
    catalog.check()


def test_two_viewers_with_different_tokens_share_a_key() -> None:
    token = f"hdnts=exp=1~acl=/*~hmac={HEX}"
    catalog = make()
    catalog.manifest_arrived(hls(*segments(f"a.ts?{token}"), url=f"{BASE}index.m3u8?{token}"), utc=UTC)
    one = found(catalog, f"{BASE}a.ts?{token}")
    other = found(catalog, f"{BASE}a.ts?hdnts=exp=2~acl=/*~hmac={HEX[::-1]}")
    bare = found(catalog, f"{BASE}a.ts")
    assert one.key == other.key == bare.key
    assert (one.tokens, bare.tokens) == ((token,), ())
    assert one.tokens != other.tokens
    assert catalog.listed_tokens(f"{BASE}index.m3u8") == ((token,),)
    assert catalog.listed_tokens(BASE + "none.m3u8") == ()
    assert HEX not in known(catalog)[0].url + one.why
    second = make()
    second.manifest_arrived(hls(*segments("a.ts")), utc=UTC)
    assert found(second, BASE + "a.ts").key == one.key
    assert found(second, BASE + "a.ts").stream == one.stream
    elsewhere = Catalog(salt=b"other tenant", profiles=PROFILES)
    elsewhere.manifest_arrived(hls(*segments("a.ts")), utc=UTC)
    assert found(elsewhere, BASE + "a.ts").key != one.key


def test_what_may_never_be_a_segment() -> None:
    catalog = make()
    catalog.manifest_arrived(hls("#EXT-X-STREAM-INF:BANDWIDTH=1", "a.ts"), utc=UTC)
    catalog.manifest_arrived(
        hls(
            '#EXT-X-KEY:METHOD=AES-128,URI="key?x=1"',
            *segments(
                "a.ts",
                "index.m3u8",
                "key?x=1",
                "http://127.1/x",
                "http://[::1]/y",
                "https://r.googlevideo.com/z",
                "b.ts",
            ),
            url=BASE + "a.ts",
        ),
        utc=UTC,
    )
    for name in (
        "a.ts",
        "index.m3u8",
        "key?x=1",
        "http://127.0.0.1/x",
        "http://127.1/x",
        "http://[::1]/y",
        "https://r.googlevideo.com/z",
        "ftp://x/",
        "",
    ):
        url = name if ":" in name or not name else BASE + name
        assert catalog.look_up(url, None, utc=UTC) is None, url
    assert found(catalog, BASE + "b.ts").number == 6
    assert never_shared(catalog, BASE + "key?x=1")
    assert not never_shared(catalog, BASE + "b.ts")
    local = make(allow_local=True)
    local.manifest_arrived(hls(*segments("http://127.0.0.1:8080/x")), utc=UTC)
    assert found(local, "http://127.0.0.1:8080/x").key


def test_local_alternatives_and_templates_are_dropped() -> None:
    body = corpus.mpd(
        "<BaseURL>http://10.0.0.1/</BaseURL><BaseURL>https://a.example/</BaseURL>"
        + corpus.video('<SegmentTemplate media="$Number$" duration="2"/>')
    )
    catalog = make()
    catalog.manifest_arrived(manifest.parse(BASE, body, None, UTC), utc=UTC)
    assert catalog.look_up("http://10.0.0.1/1", None, utc=UTC) is None
    assert found(catalog, "https://a.example/1").number == 1
    only = corpus.mpd(
        "<BaseURL>http://10.0.0.1/</BaseURL>" + corpus.video('<SegmentTemplate media="$Number$" duration="2"/>')
    )
    catalog.manifest_arrived(manifest.parse(BASE + "x", only, None, UTC), utc=UTC)
    assert catalog.look_up("http://10.0.0.1/1", None, utc=UTC) is None
    catalog.check()


def test_alternatives_have_one_key() -> None:
    body = corpus.mpd(
        "<BaseURL>https://a.example/</BaseURL><BaseURL>https://b.example/</BaseURL>"
        + corpus.video('<SegmentTemplate media="$Number$" initialization="i" duration="2"/>')
    )
    turned = (
        body.replace(b"a.example", b"c.example").replace(b"b.example", b"a.example").replace(b"c.example", b"b.example")
    )
    catalog, other = make(), make()
    catalog.manifest_arrived(manifest.parse(BASE, body, None, UTC), utc=UTC)
    other.manifest_arrived(manifest.parse(BASE, turned, None, UTC), utc=UTC)
    for name in ("1", "i"):
        assert len({found(c, f"https://{h}.example/{name}").key for c in (catalog, other) for h in "ab"}) == 1
    assert found(catalog, "https://a.example/1").key != found(catalog, "https://a.example/2").key


def test_ranges() -> None:
    catalog = make()
    catalog.manifest_arrived(hls("#EXTINF:1,", "#EXT-X-BYTERANGE:10@0", "r.ts", "#EXTINF:1,", "whole.ts"), utc=UTC)
    whole = found(catalog, BASE + "whole.ts")
    assert (
        found(catalog, BASE + "whole.ts", (5, 9)).key == found(catalog, BASE + "whole.ts", (5, None)).key == whole.key
    )
    assert whole.byte_range is None
    part = found(catalog, BASE + "r.ts", (0, 9))
    assert part.byte_range == ByteRange(0, 9)
    assert [catalog.look_up(BASE + "r.ts", r, utc=UTC) for r in (None, (0, 8), (0, None))] == [None] * 3
    base = corpus.mpd(
        corpus.video(
            '<BaseURL>v.mp4</BaseURL><SegmentBase indexRange="10-19"><Initialization range="0-9"/></SegmentBase>'
        )
    )
    catalog.manifest_arrived(manifest.parse(BASE + "m.mpd", base, None, UTC), utc=UTC)
    assert found(catalog, BASE + "v.mp4", (0, 9)).kind is SegmentKind.INIT
    assert found(catalog, BASE + "v.mp4", (10, 19)).kind is SegmentKind.INDEX
    any_of = found(catalog, BASE + "v.mp4", (20, 99))
    assert (any_of.kind, any_of.byte_range) == (SegmentKind.MEDIA, ByteRange(20, 99))
    assert any_of.key != found(catalog, BASE + "v.mp4", (20, 98)).key
    assert catalog.look_up(BASE + "v.mp4", None, utc=UTC) is None
    assert catalog.look_up(BASE + "v.mp4", (20, None), utc=UTC) is None


def test_parts_and_hints_are_found_beside_their_segments() -> None:
    part = '#EXT-X-PART:DURATION=1,URI="5.mp4",BYTERANGE="100@0"'
    hint = '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="6.mp4",BYTERANGE-START=0'
    catalog = make()
    catalog.manifest_arrived(hls(part, *segments("5.mp4", first=5), hint), utc=UTC)
    first = found(catalog, BASE + "5.mp4", (0, 99))
    assert (first.kind, first.rendition, first.number, first.byte_range) == (
        SegmentKind.PART,
        "parts",
        5,
        ByteRange(0, 99),
    )
    assert found(catalog, BASE + "5.mp4", (0, 98)).key == found(catalog, BASE + "5.mp4").key != first.key
    assert catalog.look_up(BASE + "6.mp4", (0, None), utc=UTC) is None  # how long it is, nobody says


def test_a_hint_is_the_part_that_comes_of_it() -> None:
    catalog = make()
    hint = '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="6.1.mp4"'
    part = '#EXT-X-PART:DURATION=1,URI="6.1.mp4"'
    catalog.manifest_arrived(hls(*segments("5.mp4", first=5), hint), utc=UTC)
    hinted = found(catalog, BASE + "6.1.mp4")
    delta = ("#EXT-X-MEDIA-SEQUENCE:5", "#EXT-X-SKIP:SKIPPED-SEGMENTS=1", part)
    catalog.manifest_arrived(hls(*delta, url=BASE + "index.m3u8?_HLS_msn=6&_HLS_part=1&_HLS_skip=YES"), utc=UTC + 1)
    listed = found(catalog, BASE + "6.1.mp4")
    assert (listed.key, listed.number) == (hinted.key, hinted.number) == (hinted.key, 6)
    assert found(catalog, BASE + "5.mp4").number == 5
    catalog.check()


def test_parts_that_a_delta_update_lists_no_more_are_forgotten() -> None:
    catalog = make()
    part = '#EXT-X-PART:DURATION=1,URI="5.0.mp4"'
    catalog.manifest_arrived(hls(part, *segments("5.mp4", first=5)), utc=UTC)
    delta = ("#EXT-X-MEDIA-SEQUENCE:5", "#EXT-X-SKIP:SKIPPED-SEGMENTS=1", "#EXTINF:4,", "6.mp4")
    for after in range(0, 200, 4):
        catalog.manifest_arrived(hls(*delta), utc=UTC + after)
    assert catalog.look_up(BASE + "5.0.mp4", None, utc=UTC + 200) is None
    assert found(catalog, BASE + "5.mp4", utc=UTC + 200).number == 5


def test_a_part_that_is_all_of_its_segment_counts_as_the_segment() -> None:
    catalog = make()
    part = '#EXT-X-PART:DURATION=4,URI="5.mp4"'
    catalog.manifest_arrived(hls(part, *segments("5.mp4", first=5)), utc=UTC)
    assert (found(catalog, BASE + "5.mp4").kind, found(catalog, BASE + "5.mp4").rendition) == (SegmentKind.MEDIA, "")


def test_blocking_reloads_are_the_same_playlist() -> None:
    catalog = make()
    first = catalog.manifest_arrived(hls(*segments("1.ts", first=1)), utc=UTC)
    second = catalog.manifest_arrived(
        hls(*segments("2.ts", first=2), url=BASE + "index.m3u8?_HLS_msn=2&_HLS_part=0"), utc=UTC
    )
    assert first == second
    assert len(known(catalog)) == 1
    assert found(catalog, BASE + "2.ts?CMCD=bl%3D9").key == found(catalog, BASE + "2.ts").key


def test_a_live_window_moves_on() -> None:
    catalog = make()
    catalog.manifest_arrived(hls(*segments("1.ts", "2.ts", first=1)), utc=UTC)
    catalog.manifest_arrived(hls(*segments("2.ts", "3.ts", first=2)), utc=UTC + 4)
    assert found(catalog, BASE + "1.ts", utc=UTC + 100).number == 1  # a player may still ask for it
    assert catalog.look_up(BASE + "1.ts", None, utc=UTC + 125) is None
    catalog.manifest_arrived(hls(*segments("2.ts", "3.ts", first=2)), utc=UTC + 60)
    assert found(catalog, BASE + "2.ts", utc=UTC + 125).number == 2
    catalog.forget(utc=UTC + 190)
    assert known(catalog)[0].weight() == 0
    catalog.manifest_arrived(hls(*segments("3.ts", first=3, end=True)), utc=UTC + 200)
    assert not known(catalog)[0].live
    assert found(catalog, BASE + "3.ts", utc=UTC + 7200).live is False
    catalog.check()


def test_a_delta_update_keeps_what_it_skips() -> None:
    catalog = make()
    catalog.manifest_arrived(hls(*segments("1.ts", "2.ts", "3.ts", first=1)), utc=UTC)
    for step in range(1, 4):
        catalog.manifest_arrived(
            hls("#EXT-X-MEDIA-SEQUENCE:2", "#EXT-X-SKIP:SKIPPED-SEGMENTS=2", "#EXTINF:4,", "4.ts"), utc=UTC + 100 * step
        )
    assert [catalog.look_up(f"{BASE}{n}.ts", None, utc=UTC + 300) is not None for n in (1, 2, 3, 4)] == [
        False,
        True,
        True,
        True,
    ]


def test_a_recorded_refresh_replaces() -> None:
    def listed(name: str) -> Presentation:
        return manifest.parse(
            BASE + "m.mpd",
            corpus.mpd(
                corpus.video(f'<SegmentTemplate media="{name}$Number$" initialization="{name}i" duration="2"/>')
            ),
            None,
            UTC,
        )

    catalog = make()
    catalog.manifest_arrived(listed("a/"), utc=UTC)
    catalog.manifest_arrived(listed("b/"), utc=UTC)
    catalog.manifest_arrived(listed("b/"), utc=UTC)
    assert catalog.look_up(BASE + "a/1", None, utc=UTC) is None
    assert catalog.look_up(BASE + "a/i", None, utc=UTC) is None
    assert found(catalog, BASE + "b/1").number == 1
    catalog.check()


def test_a_live_timeline_keeps_what_just_left() -> None:
    live = 'type="dynamic" availabilityStartTime="2023-11-14T22:12:20Z"'

    def at(media: str, first: int, location: str = "") -> Presentation:
        entries = f'<S t="{first}" d="2" r="2"/>'
        inner = corpus.video(
            f'<SegmentTemplate media="{media}" timescale="1"><SegmentTimeline>{entries}</SegmentTimeline></SegmentTemplate>'
        )
        return manifest.parse(
            BASE + (location or "m.mpd"),
            corpus.mpd(f"<Location>{BASE}session/1.mpd</Location>" + inner, live),
            None,
            UTC,
        )

    catalog = make()
    stream = catalog.manifest_arrived(at("$Time$.m4s", 40), utc=UTC)
    assert catalog.manifest_arrived(at("../$Time$.m4s", 42, "session/1.mpd"), utc=UTC) == stream
    assert [catalog.look_up(f"{BASE}{t}.m4s", None, utc=UTC) is not None for t in (38, 40, 41, 42, 44, 46, 48)] == [
        False,
        True,
        False,
        True,
        True,
        True,
        False,
    ]
    catalog.manifest_arrived(at("new-$Time$.m4s", 42), utc=UTC + 1)
    assert catalog.look_up(BASE + "42.m4s", None, utc=UTC + 100) is not None
    assert catalog.look_up(BASE + "42.m4s", None, utc=UTC + 122) is None
    catalog.forget(utc=UTC + 122)
    assert known(catalog)[0].weight() == 4  # by the URL of the MPD and by its Location
    catalog.check()


def test_a_changed_timescale_starts_anew() -> None:
    live = 'type="dynamic"'
    catalog = make()
    for scale in (1, 10):
        inner = corpus.video(
            f'<SegmentTemplate media="$Time$" timescale="{scale}"><SegmentTimeline><S t="0" d="2"/></SegmentTimeline></SegmentTemplate>'
        )
        catalog.manifest_arrived(manifest.parse(BASE, corpus.mpd(inner, live), None, UTC), utc=UTC)
    assert found(catalog, BASE + "0").duration_s == 0.2


def test_templates_that_cannot_be_shared_or_found() -> None:
    catalog = make()
    body = corpus.mpd(corpus.video('<SegmentTemplate media="https://r.googlevideo.com/$Number$" duration="2"/>'))
    catalog.manifest_arrived(manifest.parse(BASE, body, None, UTC), utc=UTC)
    assert catalog.look_up("https://r.googlevideo.com/1", None, utc=UTC) is None
    tokens = corpus.mpd(corpus.video(f'<SegmentTemplate media="$Number$?hdnts=exp=1~hmac={HEX}" duration="2"/>'))
    catalog.manifest_arrived(manifest.parse(BASE, tokens, None, UTC), utc=UTC)
    assert found(catalog, BASE + "1").key == found(catalog, f"{BASE}1?hdnts=exp=9~hmac={HEX}").key
    assert catalog.listed_tokens(BASE) == ((f"hdnts=exp=1~hmac={HEX}",),)
    assert catalog.look_up(BASE + "x", None, utc=UTC) is None


MASTER = (
    "#EXT-X-STREAM-INF:BANDWIDTH=1",
    "{0}low/index.m3u8{1}",
    "#EXT-X-STREAM-INF:BANDWIDTH=2",
    "{0}high/index.m3u8{1}",
)
CDN = "https://cdn.example/event/"


def watching(viewer: str, rendition: str, *listed: str, first: int = 700, master: bool = True) -> Catalog:
    """A viewer with a master and a media playlist of its own, which list what they list for everybody."""
    catalog, own = make(), f"https://api.example/session/{viewer}/"
    if master:
        catalog.manifest_arrived(
            hls(*(line.format(own, "?s=" + viewer) for line in MASTER), url=own + "master.m3u8"), utc=UTC
        )
    rows = segments(*listed, first=first)
    catalog.manifest_arrived(hls(*rows, url=f"{own}{rendition}/index.m3u8?s={viewer}"), utc=UTC)
    catalog.check()
    return catalog


def test_those_who_list_the_same_segments_meet_whatever_their_playlists_urls() -> None:
    names = [f"{CDN}low/{n}.ts" for n in range(3)]
    ann, bob, late = (watching(who, "low", *names, master=who != "late") for who in ("ann", "bob", "late"))
    for name in names:
        one, other, third = (found(catalog, name) for catalog in (ann, bob, late))
        assert one.key == other.key == third.key
        assert one.stream == other.stream == third.stream
    ordinary = make()
    ordinary.manifest_arrived(hls(*(line.format("", "") for line in MASTER), url=CDN + "master.m3u8"), utc=UTC)
    assert ordinary.streams_of(CDN + "master.m3u8") == (found(ann, names[0]).stream,), (
        "told before any playlist is here"
    )
    ordinary.manifest_arrived(hls(*segments("9.ts"), url=CDN + "high/index.m3u8"), utc=UTC)
    assert found(ordinary, CDN + "high/9.ts").stream == found(ann, names[0]).stream, "one stream for all renditions"
    assert late.streams_of("https://api.example/session/late/low/index.m3u8?s=late") == (found(ann, names[0]).stream,)
    assert ordinary.streams_of(CDN + "none.m3u8") == ()


def test_advertisements_are_streams_of_their_own_and_the_programme_stays_where_it_is() -> None:
    programme = [f"{CDN}low/{n}.ts" for n in range(3)]
    before = watching("ann", "low", *programme)
    ads = [f"https://ads.example/v1/segment/{who}/0/0.ts" for who in ("ann", "bob")]
    ann, bob = (
        watching(who, "low", "#EXT-X-DISCONTINUITY\n" + ad, programme[2], first=702)
        for who, ad in zip(("ann", "bob"), ads, strict=True)
    )
    stream = found(before, programme[2]).stream
    assert found(ann, programme[2]).stream == found(bob, programme[2]).stream == stream
    personal = found(ann, ads[0])
    assert personal.stream != stream
    assert personal.key != found(bob, ads[1]).key
    assert personal.stream != found(bob, ads[1]).stream
    assert ann.look_up(ads[1], None, utc=UTC) is None


def test_a_stream_stays_while_its_window_moves_on() -> None:
    catalog = make()
    streams = set()
    for first in range(0, 30, 2):
        rows = segments(*(f"low/{n}.ts" for n in range(first, first + 4)), first=first)
        catalog.manifest_arrived(hls(*rows, url=CDN + "low.m3u8"), utc=UTC + first)
        streams |= {found(catalog, f"{CDN}low/{n}.ts", utc=UTC + first).stream for n in range(first, first + 4)}
    assert len(streams) == 1


def test_the_streams_of_one_list_are_few() -> None:
    catalog = make()
    rows = segments(*(f"parts/{n}/x/{n}.ts" for n in range(500)), end=True)
    catalog.manifest_arrived(hls(*rows, url=CDN + "index.m3u8"), utc=UTC)
    assert len({found(catalog, f"{CDN}parts/{n}/x/{n}.ts").stream for n in range(500)}) == 1
    several = make()
    rows = segments(*(f"{language}/x/{n}.aac" for language in "abcdef" for n in range(3)), end=True)
    several.manifest_arrived(hls(*rows, url=CDN + "index.m3u8"), utc=UTC)
    assert len({found(several, f"{CDN}{language}/x/1.aac").stream for language in "abcdef"}) == 6
    assert len(several.streams_of(CDN + "index.m3u8")) == 3


def test_hls_and_dash_viewers_of_the_same_segments_meet() -> None:
    playlist, mpd = make(), make()
    playlist.manifest_arrived(hls(*segments("v/1.m4s", "v/2.m4s", first=1, end=True), url=CDN + "v.m3u8"), utc=UTC)
    body = corpus.mpd(
        '<Period duration="PT8S"><AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1"><SegmentTemplate media="$RepresentationID$/$Number$.m4s" duration="4"/></Representation></AdaptationSet></Period>'
    )
    mpd.manifest_arrived(manifest.parse(CDN + "manifest.mpd", body, None, UTC), utc=UTC)
    one, other = found(playlist, CDN + "v/1.m4s"), found(mpd, CDN + "v/1.m4s")
    assert (one.key, one.stream) == (other.key, other.stream)
    assert mpd.streams_of(CDN + "manifest.mpd") == (one.stream,)


@pytest.mark.parametrize("host", ["h.example.", "h.example:443", "h.example.:443", "H.EXAMPLE."])
def test_one_host_has_several_spellings(host: str) -> None:
    """A browser asks for `https://h.example./` under the name with the dot, which is the same host (RFC 1034, 3.1)."""
    plain, dotted = make(), make()
    plain.manifest_arrived(hls(*segments("a/b/1.ts"), url="https://h.example/i.m3u8"), utc=UTC)
    dotted.manifest_arrived(hls(*segments("a/b/1.ts"), url=f"https://{host}/i.m3u8"), utc=UTC)
    one = found(plain, "https://h.example/a/b/1.ts")
    for catalog in (plain, dotted):
        listed = found(catalog, f"https://{host}/a/b/1.ts")
        assert (listed.key, listed.stream, listed.proof) == (one.key, one.stream, one.proof)
    assert plain.look_up("https://h.example:8443/a/b/1.ts", None, utc=UTC) is None
    assert plain.look_up("https://h.example../a/b/1.ts", None, utc=UTC) is None


def test_another_origins_segments_need_their_own_proof() -> None:
    catalog = make()
    stream = catalog.manifest_arrived(hls(*segments("a.ts", "https://other.example/b.ts")), utc=UTC)
    assert found(catalog, BASE + "a.ts").proof == stream
    other = found(catalog, "https://other.example/b.ts")
    assert len(other.proof) == 32
    assert other.proof != stream
    assert catalog.proof_of(BASE + "index.m3u8") == stream
    assert catalog.proof_of(BASE + "none.m3u8") == ""


def test_a_strangers_master_proves_nothing_at_the_playlists_origin() -> None:
    catalog = make()
    child = "https://victim.example/child.m3u8"
    catalog.manifest_arrived(hls("#EXT-X-STREAM-INF:BANDWIDTH=1", child, url="https://evil.example/m.m3u8"), utc=UTC)
    stream = catalog.manifest_arrived(hls(*segments("a.ts"), url=child), utc=UTC)
    listed = found(catalog, "https://victim.example/a.ts")
    assert stream == catalog.proof_of("https://evil.example/m.m3u8")
    assert listed.proof == catalog.proof_of(child) != stream
    own = catalog.manifest_arrived(
        hls("#EXT-X-STREAM-INF:BANDWIDTH=1", child, url="https://victim.example/m.m3u8"), utc=UTC
    )
    assert found(catalog, "https://victim.example/a.ts").proof == own == catalog.proof_of(child)
    catalog.manifest_arrived(hls("#EXT-X-STREAM-INF:BANDWIDTH=1", child, url="https://evil.example/m.m3u8"), utc=UTC)
    assert found(catalog, "https://victim.example/a.ts").proof == own
    catalog.check()


def test_the_newest_listing_counts_and_the_older_stays() -> None:
    catalog = make()
    one = catalog.manifest_arrived(hls(*segments("a.ts"), url=BASE + "1.m3u8"), utc=UTC)
    two = catalog.manifest_arrived(hls(*segments("a.ts"), url=BASE + "2.m3u8"), utc=UTC)
    assert found(catalog, BASE + "a.ts").proof == two
    found(catalog, BASE + "a.ts", utc=UTC + 100)
    catalog.manifest_arrived(hls(*segments("b.ts"), url=BASE + "2.m3u8"), utc=UTC + 100)
    catalog.manifest_arrived(hls(*segments("a.ts"), url=BASE + "1.m3u8"), utc=UTC + 200)
    assert found(catalog, BASE + "a.ts", utc=UTC + 300).proof == one


def test_streams_are_forgotten_when_idle() -> None:
    catalog = make(forget_after_s=3600)
    catalog.manifest_arrived(hls(*segments("v.ts", end=True), url=BASE + "v.m3u8"), utc=UTC)
    catalog.manifest_arrived(hls(*segments("l.ts"), url=BASE + "l.m3u8"), utc=UTC)
    assert catalog.forget(utc=UTC + 899) == 0
    assert catalog.forget(utc=UTC + 901) == 1
    found(catalog, BASE + "v.ts", utc=UTC + 3599)
    assert catalog.forget(utc=UTC + 7000) == 0
    assert catalog.forget(utc=UTC + 7300) == 1
    catalog.check()


def many(url: str, count: int, passed: int = 0) -> Presentation:
    rows = tuple(Segment(f"{BASE}{url}-{i}.ts", None, 4.0, i) for i in range(count))
    parts = frozenset((f"{BASE}{i}", None) for i in range(passed))
    return Presentation(BASE + url, Format.HLS, True, 4.0, (Rendition("", BASE + url, None, rows),), passed=parts)


def test_memory_is_bounded_whatever_manifests_say() -> None:
    catalog = make(max_streams=3, max_entries=100)
    for i in range(5):
        catalog.manifest_arrived(many(f"{i}.m3u8", 10), utc=UTC + i)
        catalog.check()
    assert [s.url[-6:] for s in known(catalog)] == ["2.m3u8", "3.m3u8", "4.m3u8"]
    catalog.manifest_arrived(many("big.m3u8", 500, 50), utc=UTC + 9)
    catalog.check()
    assert [s.weight() for s in known(catalog)] == [100]
    assert catalog.look_up(BASE + "big.m3u8-499.ts", None, utc=UTC + 9) is not None
    assert catalog.look_up(BASE + "big.m3u8-0.ts", None, utc=UTC + 9) is None
    master = hls(*(f"#EXT-X-STREAM-INF:BANDWIDTH=1\n{i}.m3u8" for i in range(400)))
    catalog.manifest_arrived(master, utc=UTC + 10)
    for i in range(390, 400):
        catalog.manifest_arrived(many(f"{i}.m3u8", 40), utc=UTC + 10)
        catalog.check()
    assert found(catalog, f"{BASE}399.m3u8-39.ts", utc=UTC + 10).rendition == "variant-399"
    timeline = "".join(f'<S t="{i * 10}" d="{i % 2 + 1}"/>' for i in range(200))
    inner = corpus.video(
        f'<SegmentTemplate media="$Time$"><SegmentTimeline>{timeline}</SegmentTimeline></SegmentTemplate>'
    )
    catalog.manifest_arrived(manifest.parse(BASE + "t.mpd", corpus.mpd(inner), None, UTC), utc=UTC + 11)
    catalog.check()
    assert sum(s.weight() for s in known(catalog)) == 0


def test_a_window_that_races_on_is_bounded() -> None:
    catalog = make(max_entries=10)
    for step in range(0, 40, 8):
        catalog.manifest_arrived(
            hls(*segments(*(f"{n}.ts" for n in range(step, step + 8)), first=step)), utc=UTC + step
        )
        catalog.check()
    assert [catalog.look_up(f"{BASE}{n}.ts", None, utc=UTC + 40) is not None for n in (0, 29, 30, 39)] == [
        False,
        False,
        True,
        True,
    ]
    two = "".join(
        f"<Representation id='{n}'><SegmentTemplate media='{n}/$Number$' duration='1'/></Representation>"
        for n in range(12)
    )
    catalog.manifest_arrived(
        manifest.parse(BASE + "m.mpd", corpus.mpd(f"<Period><AdaptationSet>{two}</AdaptationSet></Period>"), None, UTC),
        utc=UTC + 41,
    )
    catalog.check()
    assert [catalog.look_up(f"{BASE}{n}/1", None, utc=UTC + 42) is not None for n in (0, 11)] == [False, True]


def test_children_and_keys_are_bounded() -> None:
    catalog = make()
    master = hls(*(f"#EXT-X-STREAM-INF:BANDWIDTH=1\n{i}.m3u8" for i in range(200)))
    catalog.manifest_arrived(master, utc=UTC)
    catalog.manifest_arrived(many("0.m3u8", 3), utc=UTC)
    again = hls(*(f"#EXT-X-STREAM-INF:BANDWIDTH=1\nagain-{i}.m3u8" for i in range(200)))
    catalog.manifest_arrived(again, utc=UTC)
    catalog.check()
    assert known(catalog)[0].weight() == 0
    keys = frozenset(f"{BASE}k{i}" for i in range(20_100)) | {"skd://x"}
    catalog.manifest_arrived(replace(many("1.m3u8", 1), never_share=keys), utc=UTC)
    assert sum(never_shared(catalog, k) for k in keys if "skd" not in k) == 20_000


def test_protected_content_is_found_and_its_licence_is_not() -> None:
    header = base64.b64encode("<LA_URL>https://lic.example/1</LA_URL>".encode("utf-16-le")).decode()
    body = corpus.smooth(
        f'<StreamIndex Type="v" Url="f={{start time}}"><QualityLevel Bitrate="1"/><c t="0" d="1"/></StreamIndex><Protection><ProtectionHeader>{header}</ProtectionHeader></Protection>'
    )
    catalog = make()
    catalog.manifest_arrived(manifest.parse(BASE + "manifest", body.encode(), None, UTC), utc=UTC)
    assert never_shared(catalog, "https://lic.example/1")
    assert found(catalog, BASE + "f=0").live is False


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 12), st.integers(0, 12), st.booleans(), st.integers(0, 400)),
        max_size=14,
    )
)
def test_laws(steps: list[tuple[int, int, int, bool, int]]) -> None:
    """Limits hold, what was just listed is found, one URL has one key, and forgetting leaves nothing."""
    catalog = make(max_streams=4, max_entries=40, forget_after_s=500)
    keys: dict[str, str] = {}
    utc = UTC
    for which, first, count, end, wait in steps:
        if which == 5:
            said = hls(
                *(f"#EXT-X-STREAM-INF:BANDWIDTH=1\n{i}.m3u8" for i in range(first % 5)),
                url=f"{BASE}master-{count % 2}.m3u8",
            )
        else:
            said = hls(
                *segments(*(f"s{which}-{n}.ts" for n in range(first, first + count)), first=first, end=end),
                url=f"{BASE}{which}.m3u8",
            )
        catalog.manifest_arrived(said, utc=utc)
        catalog.check()
        for rendition in said.renditions:
            for segment in rendition.segments:
                listed = found(catalog, segment.url, utc=utc)
                assert listed.number == segment.number
                assert keys.setdefault(segment.url, listed.key) == listed.key
        utc += wait
        catalog.forget(utc=utc)
        catalog.check()
    assert len(set(keys.values())) == len(keys)
    catalog.forget(utc=utc + 10_000)
    assert known(catalog) == []
    catalog.check()


def test_what_a_patch_changes_and_what_was_left_out_belong_to_the_stream() -> None:
    catalog = make()
    body = corpus.mpd(
        "<PatchLocation>p.mpp</PatchLocation>" + corpus.video("<BaseURL>http://[</BaseURL><BaseURL>v/</BaseURL>"),
        'id="e" publishTime="x"',
    )
    found = manifest.parse(BASE + "m.mpd", body, None, UTC)
    catalog.manifest_arrived(found, utc=UTC)
    assert found.patch_base is not None
    for name in ("p.mpp", "m.mpd"):
        assert catalog.patch_bases_for(BASE + name) == (found.patch_base,)
        assert catalog.notices_for(BASE + name) == found.notices != ()
    assert catalog.patch_bases_for(BASE + "other.mpp") == ()
    assert catalog.notices_for(BASE + "other.mpp") == ()
    assert catalog.look_up(BASE + "p.mpp", None, utc=UTC) is None
    catalog.check()
