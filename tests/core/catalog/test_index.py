"""`core.catalog.index`: what the index takes in, it finds and gives back."""

import pytest

from ecdn_proxy.core.catalog.index import CatalogEntry, CatalogStream, Computed, Playlist, StreamIndex
from ecdn_proxy.core.manifest.model import Format, Segment, Template, matcher


def playlist() -> Playlist:
    stream = CatalogStream("id", "unknown|https://h/m", "https://h/m", Format.DASH, 0.0)
    return Playlist(stream, "", False, 0.0)


def computed(*patterns: str) -> Computed:
    expressions = tuple(e for p in patterns if (e := matcher(p)) is not None)
    return Computed(playlist(), "r", Template(patterns, duration_ticks=1), patterns, expressions)


def test_entries_are_found_newest_first_and_given_back() -> None:
    index = StreamIndex()
    one, two = (CatalogEntry(playlist(), "r", Segment("u", None, 1.0, n), ("a", "b")) for n in (1, 2))
    index.add(one)
    index.add(two)
    assert list(index.entries("b")) == [two, one]
    index.remove(two)
    assert list(index.entries("a")) == [one]
    index.remove(one)
    assert not len(index)
    with pytest.raises(KeyError):
        index.remove(one)


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        ("p|https://h/a/$Number$.m4s", "p|https://h/a/7.m4s", True),
        ("p|https://h/a/$Number$/x/y.m4s", "p|https://h/a/7/x/y.m4s", True),
        ("p|https://h/$$a/$Number$", "p|https://h/$a/7", True),
        ("p|https://h/a/$Number$", "p|https://h/b/7", False),
        ("p|https://h/q?n=$Number$", "p|https://h/q?n=7", True),
    ],
)
def test_templates_are_found_by_their_folder(pattern: str, url: str, expected: bool) -> None:
    index = StreamIndex()
    item = computed(pattern)
    index.add(item)
    assert (item in list(index.computed(url))) is expected
    assert len(index) == 1
    index.remove(item)
    assert not list(index.computed(url))
    assert not len(index)
    assert item.weight() == 1
