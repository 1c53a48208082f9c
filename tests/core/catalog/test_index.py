"""`core.catalog.index`: what the index takes in, it finds and gives back."""

import pytest

from ecdn_proxy.core.catalog.index import CatalogEntry, CatalogStream, Computed, Playlist, StreamIndex
from ecdn_proxy.core.manifest.model import Format, Segment, Template, matcher
from ecdn_proxy.core.values import ByteRange
from tests.core.effort import calls


def playlist() -> Playlist:
    stream = CatalogStream("id", "unknown|https://h/m", "https://h/m", Format.DASH, 0.0)
    return Playlist(stream, "", False, 0.0)


def computed(*patterns: str) -> Computed:
    expressions = tuple(e for p in patterns if (e := matcher(p)) is not None)
    return Computed(playlist(), "r", Template(patterns, duration_ticks=1), patterns, expressions, "programme")


def test_entries_are_found_newest_first_and_given_back() -> None:
    index = StreamIndex()
    one, two = (CatalogEntry(playlist(), "r", Segment("u", None, 1.0, n), ("a", "b"), "programme") for n in (1, 2))
    index.add(one)
    index.add(two)
    assert list(index.entries("b", None)) == [two, one]
    index.remove(two)
    assert list(index.entries("a", None)) == [one]
    index.remove(one)
    assert not len(index)
    with pytest.raises(KeyError):
        index.remove(one)


def test_one_of_many_ranges_is_found_without_looking_at_the_others() -> None:
    def made(number: int) -> tuple[StreamIndex, list[CatalogEntry]]:
        index = StreamIndex()
        ranges = [ByteRange(at * 1000, at * 1000 + 999) for at in range(number)]
        entries = [CatalogEntry(playlist(), "r", Segment("u", one, 1.0, 0), ("all",), "programme") for one in ranges]
        for entry in entries:
            index.add(entry)
        return index, entries

    few, many = made(2), made(20_000)
    for (index, entries), at in ((few, 0), (many, 0), (many, 10_000), (many, 19_999)):
        assert list(index.entries("all", ByteRange(at * 1000, at * 1000 + 999))) == [entries[at]]
    ask = ByteRange(0, 999)
    assert calls(lambda: list(many[0].entries("all", ask))) == calls(lambda: list(few[0].entries("all", ask)))
    assert not list(many[0].entries("all", None))


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
