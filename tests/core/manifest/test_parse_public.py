"""`core.manifest.parse` against two independent parsers, over the public manifests that packages ship in their tests.

The judges are Video.js (m3u8-parser, mpd-parser) and streamlink. A judge agrees on a list if we list whatever it would
fetch, and if we list nothing that no judge would fetch. In live streams and masters we may list more: segments that
are available by some clock only, and playlists of key frames. `DIFFER` has the other lists, with who is right.

Map: `DIFFER` · `Read` · how we, Video.js and streamlink read a list · the test.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from streamlink.stream.dash import manifest as streamlink_dash
from streamlink.stream.hls.m3u8 import parse_m3u8
from streamlink.utils.parse import parse_xml

from ecdn_proxy.core.http import urls
from ecdn_proxy.core.manifest import parse as manifest
from ecdn_proxy.core.manifest.model import ManifestError, Presentation, SegmentKind
from ecdn_proxy.core.manifest.xml import instant
from tests.core import corpus, oracle
from tests.core.public import PublicList, public_lists

type Fetched = frozenset[tuple[str, tuple[int, int] | None]]
"""What a player would fetch: URLs and byte ranges of media; the playlists, if it is a master."""

URLS = {"hls": f"{corpus.BASE}index.m3u8?aParam=aValue", "dash": f"{corpus.BASE}m.mpd"}
VARIABLES = {"aParam": "aValue", "bParam": "bValue", "engLabel": "eng"}
"""What the master defines for lists that import it; the names are those of m3u8-parser's own tests."""
WRITTEN_OUT_MAX = 30_000
ENDLESS = "dynamic_segment_list"
"""Part of the names of five lists for which mpd-parser writes out segments since 1970 and dies of its memory."""
AGREEMENT = 0.995
"""The least share of the lists that a judge reads on which it agrees."""
DIFFER = {
    "@eyevinn/hls-vodtolive/testvectors/hls_noaudioonly/master.m3u8": (
        "Video.js takes curl's `* Connection #0 to host` in the last line for a variant. We and streamlink are right: "
        "no EXT-X-STREAM-INF stands before it (RFC 8216, 4.3.4.2)."
    ),
    "mpd-parser/test/manifests/webmsegments.mpd": (
        "streamlink counts to 4 from startNumber 0, five segments of 4 s in 16 s. We and Video.js are right: four "
        "(ISO/IEC 23009-1, 5.3.9.5.3)."
    ),
    "streamlink-8.6.3/tests/resources/dash/test_location_scheme_mismatch.mpd": (
        "Video.js resolves references by the MPD's URL, shaka-player and streamlink by its Location. We list both, as "
        "the standard leaves it open; streamlink refuses this list, because Location is no https."
    ),
}
"""Every list on which a judge differs from us: who is right, and why."""


@dataclass(frozen=True)
class Read:
    """One list as it was read by us and by those judges that read it."""

    public: PublicList
    ours: Fetched | None
    alternatives: Fetched
    is_master: bool
    judges: dict[str, Fetched]

    def agrees(self, judge: str) -> bool:
        """Whether we list what this judge would fetch, and nothing that no judge would."""
        ours = self.ours or frozenset()
        known = frozenset[Any]().union(*self.judges.values())
        more = self.is_master or 'type="dynamic"' in self.public.text
        return self.judges[judge] <= ours | self.alternatives and (more or ours <= known)


def now(one: PublicList) -> float:
    """A minute after a live MPD was published, or had begun."""
    for name in ("publishTime", "availabilityStartTime"):
        _, found, rest = one.text.partition(f'{name}="')
        if found:
            try:
                return (instant(rest.partition('"')[0]) or 0.0) + 60
            except ValueError:
                continue
    return corpus.UTC


def normal(url: str) -> str:
    return urls.normal(url) if urls.is_http(url) else url


def by_us(one: PublicList) -> tuple[Fetched | None, Fetched, bool]:
    """What we list, what we list as other URLs of the same, and whether it is a master; None where we refuse."""
    utc = now(one)
    try:
        found = manifest.parse(URLS[one.kind], one.text.encode(), None, utc, variables=VARIABLES.items())
    except ManifestError:
        return None, frozenset(), False
    if found.is_master:
        return frozenset((url, None) for url in found.child_manifests), frozenset(), True
    media: set[tuple[str, tuple[int, int] | None]] = set()
    others: set[tuple[str, tuple[int, int] | None]] = set()
    for segment in _written_out(found, utc):
        if segment.kind is SegmentKind.MEDIA:
            span = segment.byte_range
            covers = None if span is None or span.last is None else (span.first, span.last)
            media.add((segment.url, covers))
            others |= {(url, covers) for url in segment.alternatives}
    return frozenset(media), frozenset(others), False


def _written_out(found: Presentation, utc: float) -> list[Any]:
    return [
        segment
        for rendition in found.renditions
        for segments in (
            rendition.segments,
            *(corpus.written_out(template, utc, WRITTEN_OUT_MAX) for template in rendition.templates),
        )
        for segment in segments
    ]


def by_video_js(lists: list[PublicList]) -> dict[str, Fetched]:
    """By name what m3u8-parser and mpd-parser make of the lists; without those that they refuse, or make nothing of."""
    asked = [one for one in lists if ENDLESS not in one.name]
    answers = oracle.ask(
        [
            {"mode": one.kind, "url": URLS[one.kind], "text": one.text, "now": now(one), "variables": VARIABLES}
            for one in asked
        ]
    )
    out: dict[str, Fetched] = {}
    for one, said in zip(asked, answers, strict=True):
        if "error" in said:
            continue
        if one.kind == "hls":
            rows = said["segments"] or [{"url": url, "range": None} for url in said["children"]]
        else:
            rows = [
                row
                for playlist in said["playlists"]
                for row in (
                    [{"url": playlist["index"][0], "range": None}] if playlist["index"] else playlist["segments"]
                )
            ]
        if fetched := _resources((row["url"], tuple(row["range"]) if row["range"] else None) for row in rows):
            out[one.name] = fetched
    return out


def _resources(rows: Iterable[tuple[str, tuple[int, int] | None]]) -> Fetched | None:
    """What a judge would fetch; None if it found nothing, or could not read the list.

    A judge that names the folder of the manifest has found nothing. One that leaves a variable in a URL, as streamlink
    does, cannot read the list.
    """
    found = frozenset((normal(url), covers) for url, covers in rows if url != corpus.BASE)
    return None if any("{$" in url for url, _ in found) else found or None


def by_streamlink(one: PublicList) -> Fetched | None:
    """What streamlink makes of a list; None if it refuses it, or makes nothing of it."""
    try:
        rows = _streamlink_hls(one) if one.kind == "hls" else _streamlink_dash(one)
    except Exception:  # it has many kinds of refusals, and says so by most kinds of exceptions
        return None
    return _resources(rows)


def _streamlink_hls(one: PublicList) -> list[tuple[str, tuple[int, int] | None]]:
    found: Any = parse_m3u8(one.text, URLS["hls"])
    if found.is_master:
        return [(playlist.uri, None) for playlist in found.playlists]
    rows: list[tuple[str, tuple[int, int] | None]] = []
    ends: dict[str, int] = {}
    for segment in found.segments:
        covers = None
        if segment.byterange:
            first = segment.byterange.offset
            first = ends.get(segment.uri, 0) if first is None else first
            ends[segment.uri] = first + segment.byterange.range
            covers = (first, ends[segment.uri] - 1)
        rows.append((segment.uri, covers))
    return rows


def _streamlink_dash(one: PublicList) -> list[tuple[str, tuple[int, int] | None]]:
    moment = datetime.fromtimestamp(now(one), UTC)
    live = 'type="dynamic"' in one.text
    rows: list[tuple[str, tuple[int, int] | None]] = []
    with mock.patch.object(streamlink_dash, "now", return_value=moment):  # streamlink reads the clock itself
        root: Any = parse_xml(one.text, ignore_ns=True)  # type: ignore[no-untyped-call]
        mpd = streamlink_dash.MPD(root, base_url=corpus.BASE, url=URLS["dash"])
        for period in mpd.periods:
            for adaptation in period.adaptationSets:
                for representation in adaptation.representations:
                    for segment in representation.segments():
                        if live and segment.available_at > moment:
                            break  # it goes on for ever and waits for each
                        span = segment.byterange
                        covers = (span[0], span[0] + span[1] - 1) if span and span[1] else None
                        if not segment.init:
                            rows.append((segment.uri, covers))
    return rows


@pytest.fixture(scope="module")
def read() -> list[Read]:
    lists = list(public_lists())
    if not lists:
        pytest.skip("no public manifests are installed: run `make setup` with Node.js and npm on the PATH")
    first = by_video_js(lists)
    out = []
    for one in lists:
        said = {"Video.js": first.get(one.name), "streamlink": by_streamlink(one)}
        judges = {name: rows for name, rows in said.items() if rows is not None}
        out.append(Read(one, *by_us(one), judges))
    return out


@pytest.mark.node
@pytest.mark.parametrize("judge", ["Video.js", "streamlink"])
def test_public_lists_are_read_as_players_read_them(read: list[Read], judge: str) -> None:
    judged = [one for one in read if judge in one.judges]
    differ = {one.public.name: one for one in judged if not one.agrees(judge)}
    unknown = {
        name: (
            sorted(one.judges[judge] - (one.ours or frozenset()), key=str)[:3],
            sorted((one.ours or frozenset()) - one.judges[judge], key=str)[:3],
        )
        for name, one in differ.items()
        if name not in DIFFER
    }
    assert unknown == {}, "lists on which we differ from a judge: mend it, or say in DIFFER who is right and why"
    assert len(differ) <= (1 - AGREEMENT) * len(judged), f"{len(differ)} of {len(judged)}"


@pytest.mark.node
def test_nothing_stands_in_the_table_that_does_not_differ(read: list[Read]) -> None:
    here = {one.public.name: one for one in read}
    assert [
        name for name in DIFFER if name in here and all(here[name].agrees(judge) for judge in here[name].judges)
    ] == []


@pytest.mark.node
def test_no_public_list_is_refused_that_a_player_reads(read: list[Read]) -> None:
    assert [one.public.name for one in read if one.ours is None and one.judges] == []
