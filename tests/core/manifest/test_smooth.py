"""`core.manifest.smooth`: live streams that tell later chunks in their media, and merged runs."""

import pytest

from ecdn_proxy.core.manifest import parse as manifest
from ecdn_proxy.core.manifest.model import ManifestError, Template
from tests.core import corpus

AT = "https://ams.example.com/x/show.isml/manifest"
STREAM = (
    '<StreamIndex Type="video" Url="Q({{bitrate}})/F(v={{start time}})"><QualityLevel Bitrate="4"/>{}</StreamIndex>'
)


def template(chunks: str, attributes: str) -> Template:
    body = corpus.smooth(STREAM.format(chunks), attributes).encode()
    return manifest.parse(AT, body, None, corpus.UTC).renditions[0].templates[0]


def at(time: int) -> str:
    return f"https://ams.example.com/x/show.isml/Q(4)/F(v={time})"


def test_live_accepts_later_chunks_and_nothing_before() -> None:
    found = template('<c t="100" d="20"/><c d="20"/>', 'IsLive="TRUE"')
    assert [found.match(at(t), 0.0) is not None for t in (80, 100, 110, 120, 140, 1005)] == [
        False,
        True,
        False,
        True,
        True,
        True,
    ]
    later = found.match(at(143), 0.0)
    assert later is not None
    assert later.number == 2
    recorded = template('<c t="100" d="20"/><c d="20"/>', 'Duration="140"')
    assert recorded.match(at(140), 0.0) is None


def test_equal_chunks_are_one_run() -> None:
    found = template('<c t="0" d="20"/><c d="20" r="3"/><c d="5"/><c/>', 'Duration="107"')
    assert found.timeline is not None
    assert [(r.start_ticks, r.duration_ticks, r.count, r.number) for r in found.timeline.runs] == [
        (0, 20, 4, 0),
        (80, 5, 1, 4),
        (85, 22, 1, 5),
    ]


def test_a_live_chunk_without_length() -> None:
    assert template('<c t="0" d="20"/><c t="20"/>', 'IsLive="true" Duration="0"').match(at(20), 0.0) is not None
    with pytest.raises(ManifestError):
        template('<c t="20"/>', 'IsLive="true" Duration="0"')
