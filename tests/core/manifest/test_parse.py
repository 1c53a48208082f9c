"""`core.manifest`: every form of the corpus, the players' own parsers as judges, and what must be refused."""

# ruff: noqa: E501 - a manifest or a row of cases reads best on one line

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.catalog.catalog import Catalog
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.http import urls
from ecdn_proxy.core.manifest import parse as manifest
from ecdn_proxy.core.manifest.model import Format, ManifestError, Presentation
from ecdn_proxy.core.values import ByteRange
from tests.core import corpus, oracle
from tests.core.effort import calls

FORMS = corpus.all_forms()
PROFILES = Profiles.load()


def parsed(form: corpus.Form) -> Presentation:
    return manifest.parse(form.url, form.body, form.content_type, form.utc, variables=form.variables)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_corpus(form: corpus.Form) -> None:
    found = parsed(form)
    assert corpus.rows_of(found, form.utc) == form.listed
    assert set(found.child_manifests) == set(form.children)
    assert found.never_share == set(form.secret)
    assert {url for url, _ in found.passed} == set(form.passed)
    assert {part.url for rendition in found.renditions for part in rendition.parts} == set(form.parts)
    assert found.live is form.live
    for url, *_ in form.listed:
        assert urls.normal(url) == url
    for rendition in found.renditions:
        for template in rendition.templates:
            for segment in corpus.written_out(template, form.utc, 50):
                for url in (segment.url, *segment.alternatives):
                    hit = template.match(url, form.utc)
                    assert hit is not None
                    assert (hit.number, hit.duration_s) == (segment.number, segment.duration_s)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_sniffed(form: corpus.Form) -> None:
    expected = {corpus.DASH_TYPE: Format.DASH, corpus.SMOOTH_TYPE: Format.SMOOTH}.get(form.content_type, Format.HLS)
    assert manifest.sniff(form.content_type, form.body[:600]) is expected
    assert manifest.sniff("application/octet-stream", form.body) is expected
    assert manifest.sniff("image/png", form.body) is None
    assert manifest.sniff("video/mp2t", form.body) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", None),
        (b"GIF89a", None),
        (b"<html><MPD ", None),
        (b"<MPDX>", None),
        (b"#EXT", None),
        (b" \n#EXTM3U", Format.HLS),
        (b'<?xml version="1.0"?><!-- a --> <!-- <b> -->\n<mpd:MPD a="">', Format.DASH),
        ("<SmoothStreamingMedia>".encode("utf-16-le"), Format.SMOOTH),
        ("<SmoothStreamingMedia>".encode("utf-16-be"), Format.SMOOTH),
        (b'<Patch xmlns="urn:mpeg:dash:schema:mpd-patch:2020" mpdId="a">', Format.DASH),
        (b"\x47" * 188, None),
    ],
)
def test_sniff(body: bytes, expected: Format | None) -> None:
    assert manifest.sniff(None, body) is expected


@pytest.mark.parametrize(
    "kind", ["video/vnd.mpeg.dash.mpd", "application/dash-patch+xml", "Video/Vnd.Mpeg.Dash.Mpd; a=b"]
)
def test_media_types_of_dash(kind: str) -> None:
    assert manifest.sniff(kind, b"<MPD>") is Format.DASH


def test_latin_1_is_no_reason_to_fail() -> None:
    found = manifest.parse(corpus.BASE, b"#EXTM3U\n#EXTINF:4,\xe9\na.ts\n", None, corpus.UTC)
    assert corpus.rows_of(found, 0)[0][0] == corpus.BASE + "a.ts"


BOMB = b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY b "&lol;&lol;&lol;&lol;&lol;&lol;">]><MPD>&b;</MPD>'


def timed(entries: str, attributes: str = 'mediaPresentationDuration="PT9S"') -> bytes:
    inner = f"<SegmentTemplate media='$Time$'><SegmentTimeline>{entries}</SegmentTimeline></SegmentTemplate>"
    return corpus.mpd(corpus.video(inner), attributes)


def numbered(attributes: str) -> bytes:
    return corpus.mpd(corpus.video(f"<SegmentTemplate media='$Number$' {attributes}/>"))


WORK_MAX = 4_000_000
"""Calls of functions: 15,000 segments of seven renditions take 2.9 million, everything else under 120,000."""
REFUSED: list[tuple[str, bytes]] = [
    ("50 MB", b"#EXTM3U\n" + b"#" * 50_000_000),
    ("500,000 segments", b"#EXTM3U\n" + b"#EXTINF:1,\na\n" * 500_000),
    ("endless lines", b"#EXTM3U\n" + b"#EXT-X-PART:\n" * 300_000),
    ("one endless line", b"#EXTM3U\n" + b"a" * 1_000_000),
    ("timeline entries", timed('<S d="1"/>' * 20_001)),
    ("elements", corpus.mpd("<a>" * 200_001)),
    ("attributes", corpus.mpd("<Period " + " ".join(f'a{i}=""' for i in range(400_001)) + "/>")),
    ("entity bomb", b'<?xml version="1.0"?><!-- x --><MPD>' + b"</MPD>" + BOMB),
    ("not well-formed", b"<MPD><a></MPD>"),
    ("not well-formed, prefixes", b"<MPD><a:b></MPD>"),
    ("prefixes in UTF-16", "<MPD><a:b/></MPD>".encode("utf-16")),
    ("a plain list of radio stations", b"#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"a\"\nhttp://radio.example/{$a}\n"),
    ("unknown encoding", b'<?xml version="1.0" encoding="no-such"?><MPD/>'),
    ("page", b"<html></html>"),
    ("bad range", b"#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:-5@3\na.ts\n"),
    ("bad URL", b"#EXTM3U\n#EXTINF:1,\nhttp://[\n"),
    ("undefined variable", b'#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="1"\n#EXTINF:1,\n{$b}.ts\n'),
    ("variable without source", b'#EXTM3U\n#EXT-X-DEFINE:IMPORT="a"\n'),
    ("many variables", b"#EXTM3U\n" + b"".join(b'#EXT-X-DEFINE:NAME="v%d",VALUE=""\n' % i for i in range(1001))),
    ("references without end", b'#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="1"\n' + b"{$a}" * 65),
    ("too many parts", b"#EXTM3U\n" + b'#EXT-X-PART:DURATION=1,URI="a"\n' * 4001),
    ("too many tags", b"#EXTM3U\n" + b"#EXT-X-GAP\n" * 100_001),
    ("huge number", timed(f"<S t='{'9' * 400}' d='1'/>")),
    ("huge qualities", corpus.smooth('<StreamIndex Type="v">' + "<QualityLevel/>" * 5000 + "</StreamIndex>").encode()),
    ("too many sets", corpus.mpd("<Period/>" * 5001)),
    ("variables that swell", b'#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="' + b"x" * 9000 + b'"\n' + b"{$a}{$a}{$a}\n" * 400),
    ("too many playlists", b"#EXTM3U\n" + b"".join(b"#EXT-X-STREAM-INF:BANDWIDTH=1\n%d\n" % i for i in range(1001))),
    ("negative S", timed("<S d='-1'/>")),
    ("open end", timed("<S d='1' r='-1'/>", "")),
    ("timescale", numbered("duration='1' timescale='0'")),
    ("duration", numbered("duration='-1'")),
    ("range", corpus.mpd(corpus.video("<SegmentList><SegmentURL mediaRange='9-1'/></SegmentList>"))),
    ("listed too often", corpus.mpd("<Period><AdaptationSet><SegmentList>" + "<SegmentURL media='a'/>" * 15_000
     + "</SegmentList>" + "<Representation/>" * 7 + "</AdaptationSet></Period>")),
    ("smooth timescale", corpus.smooth("", 'TimeScale="-1"').encode()),
    ("smooth chunk", corpus.smooth('<StreamIndex Type="v"><c t="5" d="1"/><c t="1" d="1"/></StreamIndex>').encode()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_refused(name: str, body: bytes) -> None:
    def refused() -> ManifestError:
        with pytest.raises(ManifestError) as caught:
            manifest.parse("https://cdn.example.com/m", body, None, corpus.UTC)
        return caught.value

    error = refused()
    assert calls(refused) < WORK_MAX, name
    assert error.what
    assert error.where
    assert error.cure
    assert all(part in str(error) for part in (error.what, error.where, error.cure))


def sets(*inner: str) -> bytes:
    """Adaptation sets of one period, each with one representation named after its place."""
    each = (
        f'<AdaptationSet><Representation id="r{at}">{one}</Representation></AdaptationSet>'
        for at, one in enumerate(inner)
    )
    return corpus.mpd("<Period>" + "".join(each) + "</Period>", 'mediaPresentationDuration="PT4S"')


GOOD = '<SegmentTemplate media="good-$Number$" duration="2"/>'
SAID = ["good-1", "good-2"]
STREAM = '<StreamIndex Type="{0}" Url="{0}-{{start time}}"><QualityLevel Bitrate="{1}"/><c {2}/></StreamIndex>'
PARTLY: list[tuple[str, bytes, list[str], tuple[str, ...]]] = [
    ("no sequence", b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:\n#EXTINF:4,\na.ts\n", ["a.ts"], ("MEDIA-SEQUENCE",)),
    ("no colon", b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE\n#EXTINF:4,\na.ts\n", ["a.ts"], ("MEDIA-SEQUENCE",)),
    ("huge sequence", b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:" + b"9" * 5000 + b"\n#EXTINF:4,\na.ts\n", ["a.ts"], ()),
    ("decimal sequence", b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7.0\n#EXTINF:4,\na.ts\n", ["a.ts"], ()),
    ("discontinuity sequence", b"#EXTM3U\n#EXT-X-DISCONTINUITY-SEQUENCE:\n#EXTINF:4,\na.ts\n", ["a.ts"], ()),
    ("target in words", b"#EXTM3U\n#EXT-X-TARGETDURATION:two\n#EXTINF:4,\na.ts\n", ["a.ts"], ("TARGETDURATION",)),
    ("no number", b"#EXTM3U\n#EXTINF:abc,\na.ts\n#EXTINF:,\nb.ts\n", ["a.ts", "b.ts"], ("EXTINF",)),
    ("endless duration", b"#EXTM3U\n#EXTINF:inf,\na.ts\n", ["a.ts"], ("EXTINF",)),
    ("unit", b"#EXTM3U\n#EXTINF:4.5s,\na.ts\n#EXTINF:4\nb.ts\n", ["a.ts", "b.ts"], ()),
    ("master never seen", b'#EXTM3U\n#EXT-X-DEFINE:IMPORT="x"\n#EXT-X-MAP:URI="{$x}.mp4"\n#EXTINF:4,\n{$x}/1.ts\n#EXTINF:4,\nb.ts\n',
     ["b.ts"], ("EXT-X-DEFINE of 'x'", "a line with the variable 'x'")),
    ("other variable", b'#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="1"\n#EXTINF:1,\n{$b}.ts\n#EXTINF:1,\n{$a}.ts\n', ["1.ts"], ("'b'",)),
    ("bad ranges", b"#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:-5@3\na.ts\n#EXTINF:1,\n#EXT-X-BYTERANGE:5\na.ts\n#EXTINF:1,\nb.ts\n",
     ["b.ts"], ("the segment 0", "the segment 1")),
    ("bad map", b'#EXTM3U\n#EXT-X-MAP:URI="i.mp4",BYTERANGE="x"\n#EXTINF:1,\nb.ts\n', ["b.ts"], ("EXT-X-MAP",)),
    ("bad URLs", b'#EXTM3U\n#EXT-X-MAP:URI="http://["\n#EXT-X-KEY:METHOD=AES-128,URI="http://["\n#EXTINF:1,\nhttp://[\n#EXTINF:1,\nb.ts\n',
     ["b.ts"], ("a URL: a host in brackets", "EXT-X-KEY")),
    ("bad parts", (b'#EXTM3U\n#EXT-X-PART:DURATION=x,URI="p",BYTERANGE=y\n#EXT-X-PART:URI="http://["\n#EXT-X-PART:DURATION=1\n'
     b'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="q",BYTERANGE-START=z\n#EXT-X-SKIP:SKIPPED-SEGMENTS=\n#EXTINF:1,\nb.ts\n'),
     ["b.ts"], ("EXT-X-PART", "PRELOAD-HINT", "EXT-X-SKIP")),
    ("bad variant", b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=x\nhttp://[\n#EXT-X-STREAM-INF:\nlow.m3u8\n", [], ("a URL: a host in brackets",)),
    ("decimal duration", sets('<SegmentTemplate media="t-$Number$" duration="1.5"/>', GOOD), ["t-1", "t-2", "t-3", *SAID], ()),
    ("thumbnails", sets('<SegmentTemplate media="t-$Number$" duration="120.5"/>', GOOD), ["t-1", *SAID], ()),
    ("decimal times", sets('<SegmentTemplate media="t-$Time$" duration="1.5"/>', GOOD), SAID, ("Representation 'r0'", "1.5")),
    ("fine parts", sets('<SegmentTemplate media="t-$Number$" duration="1.00001"/>', GOOD), SAID, ("Representation 'r0'",)),
    ("timescale", sets(GOOD, '<SegmentTemplate media="$Number$" duration="1" timescale="0"/>'), SAID, ("Representation 'r1'", "timescale 0")),
    ("endless", sets(GOOD, '<SegmentTemplate media="$Number$" duration="nan"/>'), SAID, ("Representation 'r1'",)),
    ("start", sets(GOOD, '<SegmentTemplate media="$Number$" duration="1" startNumber="one"/>'), SAID, ("Representation 'r1'", "'one'")),
    ("no bandwidth", sets(GOOD, '<SegmentTemplate media="$Bandwidth$-$Number$" duration="1"/>'), SAID, ("$Bandwidth$",)),
    ("ranges", sets('<SegmentList><SegmentURL media="a" mediaRange="9-1"/><SegmentURL media="b"/></SegmentList>'), ["b"], ("SegmentURL 1",)),
    ("base", sets("<BaseURL>http://[</BaseURL>" + GOOD), SAID, ("a URL: a host in brackets",)),
    ("a set of nothing", sets("", GOOD), SAID, ()),
    ("a base and no media", sets("<BaseURL>v</BaseURL><SegmentTemplate/>"), ["v"], ()),
    ("start after the end", corpus.mpd('<Period start="PT9S">' + corpus.video('<SegmentTemplate media="$Number$" duration="2"/>')[8:],
                                       'mediaPresentationDuration="PT4S"'), ["1", "2"], ()),
    ("undeclared prefix", sets('<cenc:pssh v:a="1">AAAA</cenc:pssh>' + GOOD), SAID, ()),
    ("ampersands", sets('<SegmentTemplate media="a?b=$Number$&c=&amp;d&#38;" duration="4"/>'), ["a?b=1&c=&d&"], ()),
    ("prefix declared elsewhere", sets('<a xmlns:x="urn:x"/><x:b/>' + GOOD), SAID, ()),
    ("decimal start", sets(GOOD, '<SegmentTemplate media="$Number$" duration="1" startNumber="1.5"/>'), SAID, ("1.5",)),
    ("offset in words", numbered("duration='9' availabilityTimeOffset='soon'"), ["1", "2"], ("availabilityTimeOffset",)),
    ("report elsewhere", b'#EXTM3U\n#EXT-X-RENDITION-REPORT:URI="data:,x"\n#EXTINF:1,\na.ts\n', ["a.ts"], ()),
    ("open offset", b"#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:9@\na.ts\n", ["a.ts"], ()),
    ("no EXTINF", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\na.ts\n#EXTINF:4,\nb.ts\nc.ts\n", ["a.ts", "b.ts", "c.ts"], ()),
    ("S in the past", timed("<S t='2' d='1'/><S t='1' d='1'/>"), ["2"], ("S 1",)),
    ("S without a length", timed("<S t='0' d='1' r='1'/><S r='3'/>"), ["0", "1"], ("S 1",)),
    ("ahead", numbered("duration='9' availabilityTimeOffset='nan'"), ["1", "2"], ("availabilityTimeOffset",)),
    ("length", corpus.mpd(corpus.video("<BaseURL>v</BaseURL>"), 'mediaPresentationDuration="10"'), ["v"], ("mediaPresentationDuration",)),
    ("huge length", corpus.mpd(corpus.video("<BaseURL>v</BaseURL>"), f'mediaPresentationDuration="PT{"9" * 400}S"'), ["v"], ()),
    ("date", corpus.mpd(corpus.video("<BaseURL>v</BaseURL>"), 'type="dynamic" availabilityStartTime="yesterday"'), ["v"], ("availabilityStartTime",)),
    ("period", corpus.mpd("<Period start='x' duration='y'>" + corpus.video("<BaseURL>v</BaseURL>")[8:]), ["v"], ("Period start", "Period duration")),
    ("smooth stream", corpus.smooth(STREAM.format("v", 1, 't="5" d="1"') + STREAM.format("w", 1, 't="5" d="x"')).encode(), ["v-5"], ("StreamIndex 'w'",)),
    ("smooth quality", corpus.smooth(STREAM.format("v", 1, 'd="1"') + STREAM.format("w", "x", 'd="1"')).encode(), ["v-0"], ("QualityLevel 'w-0'",)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "listed", "said"), PARTLY, ids=[row[0] for row in PARTLY])
def test_one_bad_value_leaves_the_rest(name: str, body: bytes, listed: list[str], said: tuple[str, ...]) -> None:
    found = manifest.parse(corpus.BASE, body, None, corpus.UTC)
    rows = [url.removeprefix(corpus.BASE) for url, _, _, kind in corpus.rows_of(found, corpus.UTC) if kind == "media"]
    assert rows == listed
    assert all(any(word in sentence for sentence in found.notices) for word in said), (said, found.notices)
    if not said and name not in {"huge sequence", "huge length"}:
        assert found.notices == ()


def test_no_token_stands_in_a_notice() -> None:
    body = b"#EXTM3U\n#EXTINF:1,\nhttp://[/secret/a.ts?t=secret\n#EXTINF:1,\nb.ts\n"
    assert "secret" not in str(manifest.parse(corpus.BASE, body, None, corpus.UTC).notices)


def test_many_bad_values_are_a_few_sentences() -> None:
    body = b"#EXTM3U\n" + b"".join(b"#EXTINF:1,\nhttp://[%d\n" % i for i in range(1000)) + b"#EXTINF:1,\na.ts\n"
    notices = manifest.parse(corpus.BASE, body, None, corpus.UTC).notices
    assert len(notices) == 21
    assert notices[-1] == "and 980 more"
    assert max(map(len, notices)) < 300


def test_a_range_that_players_read_differently_is_listed_both_ways() -> None:
    body = (
        b"#EXTM3U\n#EXTINF:4,\n#EXT-X-BYTERANGE:100@1000\none\n#EXTINF:4,\n#EXT-X-BYTERANGE:90@0\ntwo\n"
        b"#EXTINF:4,\n#EXT-X-BYTERANGE:80\none\n#EXTINF:4,\n#EXT-X-BYTERANGE:10\none\n"
    )
    found = manifest.parse(corpus.BASE, body, None, corpus.UTC)
    rows = [(s.url.rpartition("/")[2], s.byte_range, s.number) for r in found.renditions for s in r.segments]
    assert rows == [
        ("one", ByteRange(1000, 1099), 0),
        ("two", ByteRange(0, 89), 1),
        ("one", ByteRange(1100, 1179), 2),  # where this resource was left
        ("one", ByteRange(90, 169), 2),  # where the segment before ended, as hls.js reads it
        ("one", ByteRange(1180, 1189), 3),
        ("one", ByteRange(170, 179), 3),
    ]


def test_segments_after_an_unknown_one_keep_their_numbers() -> None:
    body = b'#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-DEFINE:IMPORT="x"\n#EXTINF:4,\n{$x}.ts\n#EXTINF:4,\nb.ts\n'
    (segment,) = manifest.parse(corpus.BASE, body, None, corpus.UTC).renditions[0].segments
    assert segment.number == 6


def test_entities_are_refused() -> None:
    external = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><MPD>&x;</MPD>'
    for body in (BOMB, external, b'<?xml version="1.0"?><!DOCTYPE MPD SYSTEM "http://127.0.0.1/x.dtd"><MPD/>'):
        with pytest.raises(ManifestError):
            manifest.xml_root(body)


def test_half_a_million_by_repetition_cost_one_run() -> None:
    body = corpus.mpd(
        corpus.video(
            "<SegmentTemplate media='$Time$'><SegmentTimeline><S d='1' r='499999'/></SegmentTimeline></SegmentTemplate>"
        )
    )
    template = manifest.parse(corpus.BASE, body, None, corpus.UTC).renditions[0].templates[0]
    assert template.match(corpus.BASE + "499999", corpus.UTC) is not None
    assert template.match(corpus.BASE + "500000", corpus.UTC) is None


def test_limits_are_arguments() -> None:
    body = corpus.hls_long(10)
    with pytest.raises(ManifestError):
        manifest.parse(corpus.BASE, body, None, corpus.UTC, bytes_max=20)
    with pytest.raises(ManifestError):
        manifest.parse(corpus.BASE, body, None, corpus.UTC, segments_max=9)
    with pytest.raises(ManifestError):
        manifest.parse("ftp://x/", body, None, corpus.UTC)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["#EXTM3U\n", "<MPD ", "<SmoothStreamingMedia ", ""]), st.binary(max_size=300))
@example("#EXTM3U\n", b"#EXT-X-PART:URI=a")
@example("#EXTM3U\n", b"#EXT-X-MAP:BYTERANGE=1@0\n#EXTINF:1\na")
def test_random_bytes_raise_only_manifest_error(head: str, tail: bytes) -> None:
    try:
        manifest.parse(corpus.BASE, head.encode() + tail, None, corpus.UTC)
    except ManifestError:
        return


DAMAGE = [
    b"",
    b'"',
    b"=",
    b"-1",
    b"9" * 23,
    b"$",
    b"\n",
    b"<",
    b">",
    b"nan",
    b",",
    b"{$x}",
    b"\xff",
    b":",
    b"@",
    b"?",
    b"#",
]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_manifests_raise_only_manifest_error(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMS))
    body = bytearray(form.body)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 12))] = data.draw(st.sampled_from(DAMAGE))
    try:
        found = manifest.parse(form.url, bytes(body), form.content_type, form.utc)
    except ManifestError:
        return
    catalog = Catalog(salt=b"", profiles=PROFILES)
    catalog.manifest_arrived(found, utc=form.utc)
    for url, first, last, _ in corpus.rows_of(found, form.utc, 20):
        catalog.look_up(url, None if first is None else (first, last), utc=form.utc)
    catalog.check()


@pytest.mark.node
def test_hls_as_players_do() -> None:
    forms = [form for form in FORMS if form.oracle == "hls"]
    answers = oracle.ask([{"mode": "hls", "url": f.url, "text": f.body.decode()} for f in forms])
    for form, theirs in zip(forms, answers, strict=True):
        found = parsed(form)
        medias = [s for r in found.renditions for s in r.segments if s.kind == "media"]
        ours: list[Any] = [
            [s.url, [s.byte_range.first, s.byte_range.last] if s.byte_range else None, s.duration_s] for s in medias
        ]
        assert ours == [
            [urls.normal(s["url"]), s["range"], pytest.approx(s["duration"])] for s in theirs["segments"]
        ], form.name
        inits = [
            [s.url, [s.byte_range.first, s.byte_range.last] if s.byte_range else None]
            for r in found.renditions
            for s in r.segments
            if s.kind == "init"
        ]
        listed: list[Any] = []
        for s in theirs["segments"]:
            if s["init"] and s["init"] not in listed:
                listed.append(s["init"])
        assert inits == listed, form.name
        assert set(theirs["children"]) <= set(found.child_manifests), form.name
        assert found.ended is theirs["ended"] or found.is_master
        keys = {s["key"] for s in theirs["segments"] if s["key"]}
        assert {urls.resolve(form.url, key) for key in keys} <= found.never_share


@pytest.mark.node
def test_dash_as_players_do() -> None:
    forms = [form for form in FORMS if form.oracle == "dash"]
    answers = oracle.ask([{"mode": "dash", "url": f.url, "text": f.body.decode(), "now": f.utc} for f in forms])
    for form, theirs in zip(forms, answers, strict=True):
        assert "error" not in theirs, (form.name, theirs)
        for ours, other in zip(parsed(form).renditions, theirs["playlists"], strict=True):
            assert ours.bandwidth_bps == other["bandwidth"]
            everything = [*ours.segments, *(s for t in ours.templates for s in corpus.written_out(t, form.utc, 1000))]
            rows = [
                [s.url, [s.byte_range.first, s.byte_range.last] if s.byte_range and s.byte_range.last else None]
                for s in everything
                if s.kind == "media"
            ]
            assert rows == [[s["url"], s["range"]] for s in other["segments"]] or other["index"], form.name
            inits = {
                (s.url, (s.byte_range.first, s.byte_range.last) if s.byte_range else None)
                for s in everything
                if s.kind == "init"
            }
            wanted = [s["init"] for s in other["segments"] if s["init"] and s["init"][0] not in {form.url, corpus.BASE}]
            assert {(u, tuple(r) if r else None) for u, r in wanted} <= inits, form.name
            lengths = [s.duration_s for s in everything if s.kind == "media"]
            if not other["index"]:  # they cut the last segment at the period's end
                assert lengths[:-1] == pytest.approx([s["duration"] for s in other["segments"]][:-1]), form.name
            if other["index"]:
                spans = {
                    (s.url, s.byte_range.first, s.byte_range.last)
                    for s in everything
                    if s.kind == "index" and s.byte_range
                }
                assert (other["index"][0], *other["index"][1]) in spans
