"""Manifests of every form that the product reads, each with what it lists.

Map: `Form` · `hls_forms`, `dash_forms`, `smooth_forms` · `all_forms`. `listed` is what our parser must find: (url, first
byte, last byte, kind), templates written out as of `utc`.
"""

# ruff: noqa: E501 - a manifest or a row of cases reads best on one line

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ecdn_proxy.core.manifest.model import (
    SKEW_S,
    Presentation,
    Segment,
    SegmentKind,
    Template,
    TemplateSegment,
    fill,
)  # fmt: skip

type Row = tuple[str, int | None, int | None, str]

BASE = "https://cdn.example.com/live/show/"
UTC = 1_700_000_000.0
"""2023-11-14T22:13:20Z."""
HLS_TYPE = "application/vnd.apple.mpegurl"
DASH_TYPE = "application/dash+xml"
SMOOTH_TYPE = "text/xml"


@dataclass(frozen=True)
class Form:
    """One manifest and what it says."""

    name: str
    url: str
    body: bytes
    content_type: str
    listed: tuple[Row, ...]
    utc: float = UTC
    oracle: str = ""
    children: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    live: bool = False
    variables: tuple[tuple[str, str], ...] = field(default=())


def written_out(template: Template, utc: float, limit: int) -> Iterator[Segment]:
    """The template's first `limit` segments that are available at `utc`, as a player computes their URLs."""
    for found in _each(template, utc, limit):
        ended = template.end_number is not None and found.number > template.end_number
        if not ended and template._is_available(found, utc):
            made = [fill(pattern, number=found.number, time=found.start_ticks) for pattern in template.patterns]
            yield Segment(made[0], None, found.duration_s, found.number, SegmentKind.MEDIA, tuple(made[1:]))


def _first_place(template: Template, utc: float) -> int:
    if template.available_from_utc is None or template.depth_s is None or not template.duration_ticks:
        return 0
    oldest_s = utc - template.available_from_utc - template.depth_s - SKEW_S
    return max(0, int(oldest_s * template.timescale / template.duration_ticks) - 3)


def _each(template: Template, utc: float, limit: int) -> Iterator[TemplateSegment]:
    if template.timeline is None:
        first = template.start_number + _first_place(template, utc)
        for number in range(first, first + limit):
            found = template._computed(number, None)
            if found is None:
                return
            yield found
        return
    for run in template.timeline.runs:
        for place in range(limit if run.count is None else min(limit, run.count)):
            start = run.start_ticks + place * run.duration_ticks
            yield TemplateSegment(run.number + place, start, run.duration_ticks / template.timescale)
            limit -= 1


def rows_of(presentation: Presentation, utc: float, limit: int = 1000) -> tuple[Row, ...]:
    """What a presentation lists, templates written out."""
    out: list[Row] = []
    for rendition in presentation.renditions:
        segments = [*rendition.segments, *(s for t in rendition.templates for s in written_out(t, utc, limit))]
        for s in segments:
            span = (s.byte_range.first, s.byte_range.last) if s.byte_range is not None else (None, None)
            out.append((s.url, *span, s.kind.value))
    return tuple(out)


def media(urls: Iterable[str]) -> tuple[Row, ...]:
    """Whole media segments."""
    return tuple((url, None, None, SegmentKind.MEDIA.value) for url in urls)


def hls(name: str, lines: Iterable[str], listed: Iterable[Row], end: str = "\n", **more: object) -> Form:
    """An HLS playlist out of lines."""
    text = end.join(["#EXTM3U", *lines, ""])
    values: dict[str, object] = {
        "live": "#EXT-X-ENDLIST" not in text and "STREAM-INF" not in text,
        "oracle": "hls",
        **more,
    }
    return Form(name, BASE + "index.m3u8", text.encode(), HLS_TYPE, tuple(listed), **values)  # type: ignore[arg-type]


def hls_long(count: int, token: str = "", first: int = 0) -> bytes:
    """A plain media playlist of `count` segments."""
    rows = "".join(f"#EXTINF:4.000,\nseg-{i}.ts{token}\n" for i in range(first, first + count))
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n{rows}".encode()


def hls_forms() -> list[Form]:
    """TS, fMP4, ranges, encryption, LL-HLS, masters, and what real servers get wrong."""
    init, seg = SegmentKind.INIT.value, SegmentKind.MEDIA.value
    two = media([BASE + "a.ts", BASE + "b.ts"])
    plain = ["#EXT-X-TARGETDURATION:4", "#EXTINF:4,", "a.ts", "#EXTINF:3.5,t", "b.ts", "#EXT-X-ENDLIST"]
    key = '#EXT-X-KEY:METHOD=AES-128,URI="key.bin?x=1,2",IV=0x00000000000000000000000000000001'
    return [
        hls("plain", plain, two),
        hls("crlf and trailing spaces", [line + "  " for line in plain], two, end="\r\n"),
        hls("carriage returns only", plain, two, end="\r", oracle=""),
        Form("byte order mark", BASE + "index.m3u8", b"\xef\xbb\xbf#EXTM3U\n" + "\n".join(plain).encode(), "text/plain", two),
        Form("no break after EXTM3U", BASE + "i", b"#EXTM3U" + "\n".join(plain).encode(), "", media([BASE + "a.ts", BASE + "b.ts"])),
        hls("fractional target, broken date, comments",
            ["#EXT-X-TARGETDURATION:4.5", "#EXT-X-PROGRAM-DATE-TIME:yesterday", "## hello", *plain[1:]], two, oracle=""),
        hls("live window", ["#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:77", "#EXTINF:4,", "../s//77.ts?t=1"],
            media(["https://cdn.example.com/live/s//77.ts?t=1"])),
        hls("absolute, protocol-relative, other origin", [
            "#EXTINF:4,", "http://other.example:8080/x.ts", "#EXTINF:4,", "//third.example/y.ts", "#EXTINF:4,", "/z.ts"],
            media(["http://other.example:8080/x.ts", "https://third.example/y.ts", "https://cdn.example.com/z.ts"])),
        hls("unicode line separators stay in URLs", ["#EXTINF:4,", "a\u2028b.ts"], media([BASE + "a%E2%80%A8b.ts"])),
        hls("fmp4 with maps and a discontinuity", [
            '#EXT-X-MAP:URI="init.mp4",BYTERANGE="720@0"', "#EXTINF:4,", "1.m4s", "#EXT-X-DISCONTINUITY",
            '#EXT-X-MAP:URI="init2.mp4"', "#EXTINF:4,", "2.m4s", "#EXT-X-ENDLIST"],
            [(BASE + "init.mp4", 0, 719, init), (BASE + "1.m4s", None, None, seg),
             (BASE + "init2.mp4", None, None, init), (BASE + "2.m4s", None, None, seg)]),
        hls("byte ranges with implicit offsets", [
            "#EXTINF:4,", "#EXT-X-BYTERANGE:1000@500", "all.ts", "#EXTINF:4,", "#EXT-X-BYTERANGE:200", "all.ts",
            "#EXTINF:4,", "#EXT-X-BYTERANGE:300", "all.ts", "#EXT-X-ENDLIST"],
            [(BASE + "all.ts", 500, 1499, seg), (BASE + "all.ts", 1500, 1699, seg), (BASE + "all.ts", 1700, 1999, seg)]),
        hls("encrypted", [key, *plain, '#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://one"'], two,
            secret=(BASE + "key.bin?x=1,2", "skd://one")),
        hls("a segment that is also a key", ['#EXT-X-KEY:METHOD=SAMPLE-AES,URI="a.ts"', *plain], two, secret=(BASE + "a.ts",)),
        hls("low latency", [
            "#EXT-X-TARGETDURATION:4", "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0", "#EXT-X-PART-INF:PART-TARGET=0.33",
            "#EXT-X-MEDIA-SEQUENCE:5", '#EXT-X-PART:DURATION=2,URI="5.1.m4s"', '#EXT-X-PART:DURATION=2,URI="5.2.m4s"', "#EXTINF:4,",
            "5.m4s", '#EXT-X-PART:DURATION=1,URI="6.m4s",BYTERANGE="100@0"', '#EXT-X-PART:DURATION=1,URI="6.m4s",BYTERANGE="50"',
            '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="6.m4s",BYTERANGE-START=150', '#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="init9.mp4"',
            '#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=5'],
            media([BASE + "5.m4s"]), passed=(BASE + "6.m4s",), parts=(BASE + "5.1.m4s", BASE + "5.2.m4s", BASE + "6.m4s", BASE + "init9.mp4"),
            children=("https://cdn.example.com/live/low/index.m3u8",)),
        hls("delta update", ["#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:100", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
                             "#EXTINF:4,", "103.ts"], media([BASE + "103.ts"]), oracle=""),
        hls("gap", ["#EXTINF:4,", "a.ts", "#EXT-X-GAP", "#EXTINF:4,", "gone.ts", "#EXTINF:4,", "b.ts"], two,
            passed=(BASE + "gone.ts",), oracle=""),
        hls("variables", ['#EXT-X-DEFINE:NAME="d",VALUE="v1/x"', '#EXT-X-DEFINE:IMPORT="m"', "#EXTINF:4,", "{$d}/{$m}.ts"],
            media([BASE + "v1/x/master.ts"]), variables=(("m", "master"),), oracle=""),
        Form("query variables", BASE + "i.m3u8?tok=abc", b'#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM="tok"\n#EXTINF:1,\ns.ts?t={$tok}\n',
             HLS_TYPE, media([BASE + "s.ts?t=abc"]), live=True),
        hls("master", [
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="audio/en.m3u8"', '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="c",NAME="x"',
            '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="k"', '#EXT-X-SESSION-DATA:DATA-ID="x",URI="data.json"',
            '#EXT-X-CONTENT-STEERING:SERVER-URI="/steer",PATHWAY-ID="A"',
            '#EXT-X-STREAM-INF:BANDWIDTH=1000,AVERAGE-BANDWIDTH=nonsense,FRAME-RATE=x,CODECS="avc1,mp4a",AUDIO="a"', "low/index.m3u8?v=1",
            "#EXT-X-STREAM-INF:BANDWIDTH=2000", "high/index.m3u8",
            '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=9,URI="high/iframes.m3u8"', "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=9"],
            [], children=(BASE + "low/index.m3u8?v=1", BASE + "high/index.m3u8", BASE + "audio/en.m3u8", BASE + "high/iframes.m3u8"),
            secret=(BASE + "k", BASE + "data.json", "https://cdn.example.com/steer")),
        hls("inserted ads and data URIs", [
            '#EXT-X-DATERANGE:ID="a",CLASS="com.apple.hls.interstitial",START-DATE="x",X-ASSET-URI="https://ads.example/p.m3u8"',
            '#EXT-X-KEY:METHOD=AES-128,URI="data:text/plain;base64,AAAA"', '#EXT-X-MAP:URI="data:,x"', "#EXTINF:4,", "a.ts", "#EXTINF:2,", "b.ts"],
            two, secret=("https://ads.example/p.m3u8", "data:text/plain;base64,AAAA"), oracle=""),
    ]  # fmt: skip


def mpd(inner: str, attributes: str = 'type="static" mediaPresentationDuration="PT10S"') -> bytes:
    """An MPD around periods."""
    return f'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {attributes}>{inner}</MPD>'.encode()


def video(inner: str, more: str = "", representation: str = "") -> str:
    """One period, one adaptation set, one representation."""
    return (
        f'<Period>{more}<AdaptationSet mimeType="video/mp4">{representation or ""}'
        f'<Representation id="v1" bandwidth="300000" width="640" height="360" codecs="avc1.4d401e">{inner}</Representation></AdaptationSet></Period>'
    )


def dash(name: str, body: bytes, listed: Iterable[Row], **more: object) -> Form:
    """A DASH manifest."""
    return Form(name, BASE + "m.mpd", body, DASH_TYPE, tuple(listed), **{"oracle": "dash", **more})  # type: ignore[arg-type]


def dash_forms() -> list[Form]:
    """Templates, timelines, lists, bases; static and dynamic."""
    init, index = SegmentKind.INIT.value, SegmentKind.INDEX.value
    first = (BASE + "v1/init.mp4", None, None, init)
    number = '<SegmentTemplate initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/$Number%05d$.m4s" duration="2000" timescale="1000"{}/>'
    timeline = (
        '<SegmentTemplate initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/$Time$.m4s" timescale="10"{}>'
        "<SegmentTimeline>{}</SegmentTimeline></SegmentTemplate>"
    )
    began = 'type="dynamic" availabilityStartTime="2023-11-14T22:12:20Z" timeShiftBufferDepth="PT8S" minimumUpdatePeriod="PT2S"'
    pro = base64.b64encode(
        b"\x01" * 10 + "<WRMHEADER><LA_URL>https://lic.example/pr?a=1&amp;b=2</LA_URL></WRMHEADER>".encode("utf-16-le")
    ).decode()
    protection = (
        '<ContentProtection schemeIdUri="urn:uuid:x"><Laurl xmlns="https://dashif.org/CPS">https://lic.example/w</Laurl>'
        '<ms:laurl xmlns:ms="urn:microsoft" licenseUrl="https://lic.example/ms"/>'
        f'<mspr:pro xmlns:mspr="urn:microsoft:playready">{pro}</mspr:pro></ContentProtection>'
    )
    return [
        dash("number", mpd(video(number.format(""))), [first, *media(f"{BASE}v1/{n:05d}.m4s" for n in range(1, 6))]),
        dash("start number, bases, dollars", mpd(video('<BaseURL>r/</BaseURL>' + number.format(' startNumber="0"').replace("/init", "/$$init"), "<BaseURL>p//</BaseURL>")),
             [(BASE + "p//r/v1/$init.mp4", None, None, init), *media(f"{BASE}p//r/v1/{n:05d}.m4s" for n in range(5))], oracle=""),
        dash("time", mpd(video(timeline.format("", '<S t="5" d="20" r="2"/><S d="30"/><S t="100" d="10"/>'))),
             [first, *media(f"{BASE}v1/{t}.m4s" for t in (5, 25, 45, 65, 100))]),
        dash("time, open repeat to the next S", mpd(video(timeline.format("", '<S t="0" d="20" r="-1"/><S t="60" d="40"/>'))),
             [first, *media(f"{BASE}v1/{t}.m4s" for t in (0, 20, 40, 60))]),
        dash("time, open repeat to the end", mpd(video(timeline.format("", '<S t="0" d="20" r="-1"/>'))),
             [first, *media(f"{BASE}v1/{t}.m4s" for t in (0, 20, 40, 60, 80))]),
        dash("number and bandwidth in a timeline", mpd(video('<SegmentTemplate media="$Bandwidth%08d$-$Number$.m4s" startNumber="7"><SegmentTimeline><S d="5" r="1"/></SegmentTimeline></SegmentTemplate>')),
             media([BASE + "00300000-7.m4s", BASE + "00300000-8.m4s"])),
        dash("inherited from the period", mpd('<Period><SegmentTemplate timescale="1000" duration="5000" media="p-$Number$.m4s"/>'
             '<AdaptationSet mimeType="video/mp4"><SegmentTemplate media="a-$Number$.m4s"/><Representation id="x" bandwidth="1" width="1" height="1" codecs="avc1">'
             '<SegmentTemplate startNumber="3"/></Representation></AdaptationSet></Period>'), media([BASE + "a-3.m4s", BASE + "a-4.m4s"])),
        dash("two periods", mpd(
             '<Period duration="PT4S">' + video(number.format("")).removeprefix("<Period>") + '<Period start="PT4S"><BaseURL>two/</BaseURL>' + video(number.format("")).removeprefix("<Period>")),
             [first, *media(f"{BASE}v1/{n:05d}.m4s" for n in (1, 2)), (BASE + "two/v1/init.mp4", None, None, init),
              *media(f"{BASE}two/v1/{n:05d}.m4s" for n in (1, 2, 3))], oracle=""),
        dash("live numbers", mpd(video(number.format("")), began), [first, *media(f"{BASE}v1/{n:05d}.m4s" for n in range(20, 37))],
             live=True, oracle=""),
        dash("live timeline", mpd(video(timeline.format("", '<S t="500" d="20" r="3"/>')) + "<Location>https://cdn.example.com/s/1/m.mpd</Location>", began),
             [row for at in (BASE, "https://cdn.example.com/s/1/") for row in ((at + "v1/init.mp4", None, None, init), *media(f"{at}v1/{t}.m4s" for t in (500, 520, 540, 560)))],
             live=True, oracle="", children=("https://cdn.example.com/s/1/m.mpd",)),
        dash("list with ranges", mpd(video('<SegmentList duration="5"><Initialization sourceURL="i.mp4" range="0-99"/><SegmentURL mediaRange="100-299" media="x.mp4"/>'
             '<SegmentURL mediaRange="300-499" media="x.mp4" indexRange="300-310"/></SegmentList>')),
             [(BASE + "i.mp4", 0, 99, init), (BASE + "x.mp4", 100, 299, "media"), (BASE + "x.mp4", 300, 499, "media"), (BASE + "x.mp4", 300, 310, index)]),
        dash("list with a timeline", mpd(video('<SegmentList timescale="10"><SegmentTimeline><S d="50" r="1"/></SegmentTimeline><SegmentURL media="1.mp4"/><SegmentURL media="2.mp4"/></SegmentList>')),
             media([BASE + "1.mp4", BASE + "2.mp4"]), oracle=""),
        dash("base", mpd(video('<BaseURL>v.mp4</BaseURL><SegmentBase indexRange="820-2087"><Initialization range="0-819"/></SegmentBase>')),
             [(BASE + "v.mp4", 0, 819, init), (BASE + "v.mp4", 820, 2087, index), (BASE + "v.mp4", 0, None, "media")]),
        dash("captions and a bare file", mpd('<Period><AdaptationSet mimeType="text/vtt"><Representation id="t" bandwidth="1"><BaseURL>en.vtt</BaseURL></Representation></AdaptationSet>'
             '<AdaptationSet><Representation mimeType="video/mp4" id="v" bandwidth="1"><BaseURL>v.mp4</BaseURL></Representation></AdaptationSet></Period>'),
             [(BASE + "en.vtt", None, None, "media"), (BASE + "v.mp4", 0, None, "media")], oracle=""),
        dash("end number", mpd(video(number.format(' endNumber="3"'))), [first, *media(f"{BASE}v1/{n:05d}.m4s" for n in (1, 2, 3))]),
        dash("start and end number", mpd(video(number.format(' startNumber="2" endNumber="4"'))), [first, *media(f"{BASE}v1/{n:05d}.m4s" for n in (2, 3, 4))], oracle=""),
        dash("live numbers ahead of time", mpd('<BaseURL availabilityTimeOffset="6">a/</BaseURL>' + video('<BaseURL availabilityTimeOffset="1">b/</BaseURL>'
             + number.format(' availabilityTimeOffset="1"')), began),
             [(BASE + "a/b/v1/init.mp4", None, None, init), *media(f"{BASE}a/b/v1/{n:05d}.m4s" for n in range(20, 41))], live=True, oracle=""),
        dash("a timeline with an end number", mpd(video(timeline.format(' startNumber="7" endNumber="8"', '<S t="0" d="20" r="5"/>'))),
             [first, *media(f"{BASE}v1/{t}.m4s" for t in (0, 20))], oracle=""),
        dash("one segment without variable", mpd(video('<SegmentTemplate media="$RepresentationID$.vtt" duration="10"/>')), media([BASE + "v1.vtt"]), oracle=""),
        dash("several bases", mpd("<BaseURL>https://a.example/x/</BaseURL><BaseURL>https://b.example/x/</BaseURL>" + video(number.format(""))),
             [("https://a.example/x/v1/init.mp4", None, None, init), *media(f"https://a.example/x/v1/{n:05d}.m4s" for n in range(1, 6))], oracle=""),
        dash("licences, events, remote elements", mpd(
             '<Period xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="https://ads.example/p"/>'
             + video(number.format(""), '<EventStream schemeIdUri="x"><Event>http://127.0.0.1/</Event></EventStream>', protection)
             + '<ContentSteering defaultServiceLocation="a">/steer</ContentSteering><UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="x"/>'),
             [first, *media(f"{BASE}v1/{n:05d}.m4s" for n in range(1, 6))], oracle="",
             secret=("https://lic.example/w", "https://lic.example/ms", "https://lic.example/pr?a=1&b=2", "https://cdn.example.com/steer")),
        dash("no media, sub-numbers", mpd(video('<SegmentTemplate initialization="i.mp4"/>').replace("</Representation>", "</Representation><Representation id='s'>"
             "<SegmentTemplate duration='1' media='$Number$-$SubNumber$'/></Representation>")), [(BASE + "i.mp4", None, None, init)], oracle=""),
    ]  # fmt: skip


def smooth(inner: str, attributes: str = 'Duration="60000000"') -> str:
    """A Smooth client manifest."""
    return f'<SmoothStreamingMedia MajorVersion="2" MinorVersion="2" {attributes}>{inner}</SmoothStreamingMedia>'


def smooth_forms() -> list[Form]:
    """Recorded, live, with custom attributes, UTF-16."""
    at = "https://ams.example.com/x/show.ism/manifest"
    root = "https://ams.example.com/x/show.ism/"
    stream = (
        '<StreamIndex Type="video" Name="video" QualityLevels="1" Url="QualityLevels({{bitrate}})/Fragments(video={{start time}})">'
        '<QualityLevel Index="0" Bitrate="400000"/>{}</StreamIndex>'
    )
    chunks = '<c t="0" d="20000000"/><c d="20000000"/><c d="10000000"/>'
    said = media(f"{root}QualityLevels(400000)/Fragments(video={t})" for t in (0, 20000000, 40000000))
    custom = smooth(
        '<StreamIndex Type="audio" TimeScale="10" Url="QualityLevels({bitrate},{CustomAttributes})/Fragments(a={start_time})"><QualityLevel Bitrate="64000">'
        '<CustomAttributes><Attribute Name="hwProfile" Value="1"/><Attribute Name="x" Value="$"/></CustomAttributes></QualityLevel>'
        '<c d="20" r="2"/><c t="90"/></StreamIndex><StreamIndex Type="text" Url=""><QualityLevel Bitrate="1"/></StreamIndex>',
        'TimeScale="10" Duration="100"',
    )
    body = smooth(
        stream.format(chunks) + '<StreamIndex Type="text" Name="none"><QualityLevel/><c t="0" d="1"/></StreamIndex>'
    )
    head = "<Protection><ProtectionHeader>{}</ProtectionHeader></Protection>"
    header = base64.b64encode("<LA_URL>https://lic.example/rights</LA_URL>".encode("utf-16-le")).decode()
    return [
        Form("recorded", at, body.encode(), SMOOTH_TYPE, said),
        Form("utf-16 with mark", at, ('<?xml version="1.0" encoding="utf-16"?>' + body).encode("utf-16"), SMOOTH_TYPE, said),
        Form("utf-16 little endian, marked", at, b"\xff\xfe" + body.encode("utf-16-le"), SMOOTH_TYPE, said),
        Form("custom attributes", at, custom.encode(), SMOOTH_TYPE,
             media(f"{root}QualityLevels(64000,hwProfile=1,x=$)/Fragments(a={t})" for t in (0, 20, 90))),
        Form("protected", at, smooth(stream.format(chunks) + head.format(header) + head.format("&&!".replace("&", "?"))).encode(), SMOOTH_TYPE, said,
             secret=("https://lic.example/rights",)),
        Form("live", at, smooth(stream.format('<c t="0" d="20000000"/><c t="20000000" d="20000000"/><c t="40000000"/>'), 'IsLive="TRUE" Duration="0"').encode(),
             SMOOTH_TYPE, said, live=True),
    ]  # fmt: skip


def all_forms() -> list[Form]:
    """Everything above."""
    makers: list[Callable[[], list[Form]]] = [hls_forms, dash_forms, smooth_forms]
    return [form for maker in makers for form in maker()]
