"""`core.manifest.hls`: random playlists against the players' parser, and what m3u8 alone gets wrong."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.manifest import hls
from ecdn_proxy.core.manifest.model import Presentation
from ecdn_proxy.core.values import ByteRange
from tests.core import oracle
from tests.core.effort import calls

URL = "https://cdn.example.com/a/b/index.m3u8?x=1"
names = st.sampled_from(
    ["a.ts", "b.ts", "../c.ts", "d//e.ts", "/f.ts", "?g", "h.ts?t=1,2", "https://o.example/i.ts", "j k.ts"]
)


@st.composite
def playlists(draw: st.DrawFn) -> str:
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{draw(st.integers(1, 10))}"]
    first = draw(st.none() | st.integers(0, 10**9))
    if first is not None:
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
    ends: dict[str, bool] = {}
    for _ in range(draw(st.integers(0, 8))):
        extra = draw(
            st.sampled_from(
                ["", "#EXT-X-DISCONTINUITY", '#EXT-X-MAP:URI="i.mp4"', '#EXT-X-MAP:URI="i.mp4",BYTERANGE="9@1"', "# x"]
            )
        )
        name = draw(names)
        ranged = draw(st.sampled_from(["", "@", "implicit"]))
        lines += [extra, f"#EXTINF:{draw(st.integers(1, 9999)) / 1000},{draw(st.sampled_from(['', 'a,b', 'ü']))}"]
        if ranged == "@" or (ranged and not ends.get(name)):
            lines.append(f"#EXT-X-BYTERANGE:{draw(st.integers(1, 999))}@{draw(st.integers(0, 999))}")
        elif ranged:
            lines.append(f"#EXT-X-BYTERANGE:{draw(st.integers(1, 999))}")
        ends = {name: bool(ranged)}
        lines.append(name)
    if draw(st.booleans()):
        lines.append("#EXT-X-ENDLIST")
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""])


def rows(found: Presentation) -> list[Any]:
    """Media segments as the oracle writes them."""
    return [
        [s.url, [s.byte_range.first, s.byte_range.last] if s.byte_range else None, pytest.approx(s.duration_s)]
        for s in found.renditions[0].segments
        if s.kind == "media"
    ]


@pytest.mark.node
def test_random_playlists_as_players_read_them() -> None:
    texts: list[str] = []

    @settings(max_examples=200, deadline=None, database=None)
    @given(playlists())
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    for text, theirs in zip(texts, oracle.ask([{"mode": "hls", "url": URL, "text": t} for t in texts]), strict=True):
        found = hls.parse_hls(URL, text)
        assert rows(found) == [[s["url"].replace(" ", "%20"), s["range"], s["duration"]] for s in theirs["segments"]], (
            text
        )
        assert found.ended is theirs["ended"]
        assert found.first_number == theirs["first"]
        numbers = [s.number for s in found.renditions[0].segments if s.kind == "media"]
        assert numbers == list(range(found.first_number, found.first_number + len(numbers)))


def test_numbers_go_on_after_skipped_segments() -> None:
    found = hls.parse_hls(URL, "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:100\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:4,\na.ts\n")
    assert (found.first_number, found.skipped, found.renditions[0].segments[0].number) == (100, 3, 103)


def test_parts_and_hints_keep_their_ranges() -> None:
    text = (
        '#EXTM3U\n#EXT-X-PART:DURATION=1,URI="s.mp4",BYTERANGE="100@50"\n#EXT-X-PART:DURATION=1,URI="s.mp4",BYTERANGE="10"\n'
        '#EXT-X-PART:DURATION=1,URI="data:,x"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI="s.mp4",BYTERANGE-START=160,BYTERANGE-LENGTH=5\n'
        "#EXT-X-RENDITION-REPORT:LAST-MSN=3\n#EXTINF:4,\ndata:,x\n"
    )
    found = hls.parse_hls(URL, text)
    parts = found.renditions[0].parts
    assert [part.byte_range for part in parts] == [ByteRange(50, 149), ByteRange(150, 159), ByteRange(160, 164)]
    assert found.renditions[0].segments == ()


def test_parts_and_hints_have_the_number_of_their_segment() -> None:
    text = """#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-SKIP:SKIPPED-SEGMENTS=3
#EXT-X-PART:DURATION=0.5,URI="10.0.m4s"
#EXT-X-PART:DURATION=0.48,URI="10.1.m4s",INDEPENDENT=YES
#EXTINF:0.98,
10.m4s
#EXT-X-PART:DURATION=0.5,URI="11.0.m4s"
#EXT-X-PART:DURATION=soon,URI="11.1.m4s"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="11.2.m4s"
#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="init2.mp4"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="data:,x"
"""
    (rendition,) = hls.parse_hls(URL, text).renditions
    assert [(part.url.rpartition("/")[2], part.number, part.duration_s, part.kind) for part in rendition.parts] == [
        ("10.0.m4s", 10, 0.5, "part"),
        ("10.1.m4s", 10, 0.48, "part"),
        ("11.0.m4s", 11, 0.5, "part"),
        ("11.1.m4s", 11, 0.0, "part"),
        ("11.2.m4s", 11, 0.5, "part"),
        ("init2.mp4", 11, 0.0, "part"),
    ]
    assert [segment.number for segment in rendition.segments] == [10]


@pytest.mark.parametrize(
    ("line", "span"),
    [
        ('#EXT-X-PRELOAD-HINT:TYPE=PART,URI="s.mp4",BYTERANGE-START=160', ByteRange(160, None)),
        ('#EXT-X-PRELOAD-HINT:TYPE=TUNE,URI="s.mp4"', None),
        ('#EXT-X-PART:DURATION=1,URI="s.mp4",BYTERANGE="10@5",GAP=YES', ByteRange(5, 14)),
    ],
)
def test_hints_without_an_end_gaps_and_unknown_hints_pass(line: str, span: ByteRange | None) -> None:
    """No answer to `bytes=160-` of a resource that still grows has a length by which a copy could be whole."""
    found = hls.parse_hls(URL, f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n{line}\n#EXTINF:4,\na.mp4\n")
    assert [span for _, span in found.passed] == [span]
    assert found.renditions[0].parts == ()


@pytest.mark.parametrize("span", ["BYTERANGE-START=-1", "BYTERANGE-LENGTH=0", "BYTERANGE-START=5,BYTERANGE-LENGTH=-9"])
def test_a_hint_of_no_bytes_is_left_out(span: str) -> None:
    found = hls.parse_hls(URL, f'#EXTM3U\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI="s.mp4",{span}\n#EXTINF:4,\na.mp4\n')
    assert (found.renditions[0].parts, found.passed) == ((), frozenset())
    assert any("PRELOAD-HINT" in notice for notice in found.notices)


def test_an_empty_key_address_is_none() -> None:
    assert hls.parse_hls(URL, '#EXTM3U\n#EXT-X-KEY:METHOD=NONE,URI=""\n#EXTINF:4,\na.ts\n').never_share == frozenset()


def test_a_range_with_nothing_before_it_begins_at_zero() -> None:
    found = hls.parse_hls(URL, "#EXTM3U\n#EXTINF:4,\n#EXT-X-BYTERANGE:10\na.ts\n")
    assert found.renditions[0].segments[0].byte_range == ByteRange(0, 9)


def test_attributes() -> None:
    assert hls.attributes('A="x,B=1",B=2,B=3, C=4') == {"A": "x,B=1", "B": "2", "C": "4"}
    hls.attributes("A" * 4_000_000)  # in square time it would not end before this test's limit


def test_many_keys_stay_linear() -> None:
    def work(count: int) -> int:
        lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="k{i}"\n#EXTINF:1,\n{i}.ts' for i in range(count)]
        text = "#EXTM3U\n" + "\n".join(lines)
        assert len(hls.parse_hls(URL, text).never_share) == count
        return calls(lambda: hls.parse_hls(URL, text))

    assert work(4000) < 2.1 * work(2000)


def test_a_master_keeps_one_entry_for_a_playlist_and_leaves_other_schemes() -> None:
    line = "#EXT-X-STREAM-INF:BANDWIDTH=1\n"
    found = hls.parse_hls(
        URL, f'#EXTM3U\n{line}a.m3u8\n{line}a.m3u8\n{line}data:,x\n#EXT-X-DEFINE:NAME="v",VALUE="1"\n'
    )
    assert found.child_manifests == ("https://cdn.example.com/a/b/a.m3u8",)
    assert found.is_master
    assert found.variables == (("v", "1"),)
