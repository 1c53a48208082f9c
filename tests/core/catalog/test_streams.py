"""`core.catalog.streams`: which manifest belongs to which stream (the catalog's tests tell the rest)."""

from ecdn_proxy.core.catalog.streams import StreamTable
from ecdn_proxy.core.manifest.model import Format, Presentation


def make() -> StreamTable:
    return StreamTable(salt=b"s", max_streams=2, max_entries=10, forget_after_s=100.0)


def said(url: str) -> Presentation:
    return Presentation(url, Format.DASH, False, 0.0)


def test_ids_depend_on_the_salt_and_the_identity_only() -> None:
    other = StreamTable(salt=b"t", max_streams=1, max_entries=1, forget_after_s=1.0)
    assert make().id_of("a") == make().id_of("a") != other.id_of("a")
    assert len(make().id_of("a")) == 32


def test_a_report_suggests_and_a_master_decides() -> None:
    streams = make()
    one = streams.get_or_add("one", "https://h/1", said("https://h/1"), 0.0)
    two = streams.get_or_add("two", "https://h/2", said("https://h/2"), 1.0)
    streams.adopt(one, "child", override=False)
    streams.adopt(two, "child", override=False)
    assert streams.of_manifest("child") is one
    streams.adopt(two, "child", override=True)
    streams.adopt(two, "child", override=True)
    assert streams.of_manifest("child") is two
    streams.adopt(one, "two", override=True)  # "two" is a presentation of its own
    assert streams.of_manifest("two") is two
    streams.check()
    assert len(streams) == 2


def test_the_least_recently_used_goes_first() -> None:
    streams = make()
    for name, utc in (("one", 0.0), ("two", 1.0), ("three", 2.0)):
        stream = streams.get_or_add(name, f"https://h/{name}", said(f"https://h/{name}"), utc)
        if name == "two":
            streams.mark_used(next(iter(streams)), 1.5)
        streams.trim_to_limits(stream)
    assert [s.identity for s in streams] == ["one", "three"]
    streams.check()
    assert streams.forget(101.0) == 0
    assert streams.forget(103.0) == 2
    streams.check()
