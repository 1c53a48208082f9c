"""What is kept, for how long, and within which bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.download.cache import OVERHEAD_BYTES, Cache, weight
from ecdn_proxy.core.events import Effect, Erase, Save
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.values import StoredSegment
from tests.core.makers import seal, stored, whole
from tests.core.world import UTC, key_of


def segment(number: int, size: int = 1_000, *, fresh_s: float = 60.0) -> StoredSegment:
    return stored(bytes(size), key=key_of(number), fresh_s=fresh_s)


UNIT = OVERHEAD_BYTES + 1_000


def saved(out: list[Effect]) -> list[str]:
    return [it.stored.key for it in out if isinstance(it, Save)]


def erased(out: list[Effect]) -> list[str]:
    return [it.key for it in out if isinstance(it, Erase)]


def test_what_was_put_may_be_used_until_it_is_stale_and_is_kept_to_be_confirmed() -> None:
    out: list[Effect] = []
    cache = Cache(10 * UNIT, 10 * UNIT, out)
    one = segment(1)
    cache.put(one)
    assert cache.usable(one.key, Demand(160.0), 160.0) is one
    assert saved(out) == [one.key]
    assert cache.usable(one.key, Demand(160.1), 160.1) is None
    assert cache.use(one.key) is cache.peek(one.key) is one
    assert erased(out) == []
    assert cache.usable(key_of(2), Demand(100.0), 100.0) is None
    cache.drop(one.key)
    assert (len(cache), cache.memory_bytes, cache.on_disk(one.key)) == (0, 0, False)
    assert erased(out) == [one.key]


def test_another_version_takes_the_others_place_on_disk() -> None:
    out: list[Effect] = []
    cache = Cache(10 * UNIT, 10 * UNIT, out)
    first, second = (whole(seal("me"), bytes([it]) * 9, etag=f'"{it}"') for it in (1, 2))
    for one in (first, first, second, second):
        cache.put(one)
    assert [it.stored.body for it in out if isinstance(it, Save)] == [first.body, second.body]
    cache.lost_on_disk(second.key)
    cache.put(second)
    assert saved(out) == [first.key] * 3


def test_the_least_recently_used_goes() -> None:
    cache = Cache(3 * UNIT, 0, [])
    for number in range(3):
        cache.put(segment(number))
    cache.use(key_of(0))
    cache.put(segment(3))
    assert [cache.peek(key_of(number)) is not None for number in range(4)] == [True, False, True, True]


def test_a_look_is_no_use() -> None:
    cache = Cache(2 * UNIT, 0, [])
    cache.put(segment(0))
    cache.put(segment(1))
    assert cache.peek(key_of(0)) is not None
    cache.put(segment(2))
    assert cache.peek(key_of(0)) is None


def test_no_disk_is_no_save() -> None:
    out: list[Effect] = []
    cache = Cache(10 * UNIT, 0, out)
    cache.put(segment(1))
    cache.drop(key_of(1))
    assert out == []


def test_one_that_is_too_large_is_kept_nowhere() -> None:
    out: list[Effect] = []
    cache = Cache(UNIT, UNIT, out)
    big = segment(1, 1_001)
    cache.put(big)
    cache.loaded(big, 100.0, UTC)
    cache.found_on_disk(big.key, weight(big))
    assert (len(cache), cache.on_disk(big.key), out) == (0, False, [])


def test_the_disks_oldest_is_erased_for_the_newest() -> None:
    out: list[Effect] = []
    cache = Cache(UNIT, 2 * UNIT, out)
    for number in range(3):
        cache.put(segment(number))
    cache.put(segment(2))
    assert saved(out) == [key_of(0), key_of(1), key_of(2)]
    assert erased(out) == [key_of(0)]


def test_the_disk_as_found_at_the_start() -> None:
    out: list[Effect] = []
    cache = Cache(10 * UNIT, 2 * UNIT, out)
    for number in range(3):
        cache.found_on_disk(key_of(number), UNIT)
    assert erased(out) == [key_of(0)]
    assert cache.on_disk(key_of(1))
    cache.lost_on_disk(key_of(1))
    cache.lost_on_disk(key_of(9))
    assert not cache.on_disk(key_of(1))
    assert erased(out) == [key_of(0)]
    back = segment(2)
    assert cache.loaded(back, 7.0, UTC + 50.0) is cache.use(back.key)
    assert cache.usable(back.key, Demand(17.0), 17.0) is not None
    assert cache.usable(back.key, Demand(17.1), 17.1) is None
    assert saved(out) == []


def test_a_copy_of_before_the_clock_was_set_back_counts_as_stale() -> None:
    cache = Cache(10 * UNIT, 10 * UNIT, [])
    cache.loaded(segment(1), 100.0, UTC - 1.0)
    assert cache.usable(key_of(1), Demand(100.0), 100.0) is None
    assert cache.use(key_of(1)) is not None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "loaded", "drop", "get"]), st.integers(0, 9), st.integers(0, 9_000))))
def test_neither_memory_nor_disk_exceeds_its_bytes(steps: list[tuple[str, int, int]]) -> None:
    out: list[Effect] = []
    memory, disk = 20_000, 30_000
    cache = Cache(memory, disk, out)
    on_disk: dict[str, int] = {}
    told = 0
    for what, number, size in steps:
        match what:
            case "put":
                cache.put(segment(number, size))
            case "loaded":
                cache.loaded(segment(number, size), 100.0, UTC)
            case "drop":
                cache.drop(key_of(number))
            case _:
                cache.use(key_of(number))
        assert cache.memory_bytes <= memory
        for effect in out[told:]:
            match effect:
                case Save(stored):
                    on_disk[stored.key] = weight(stored)
                case Erase(key):
                    del on_disk[key]
                case _:
                    raise AssertionError(effect)
        told = len(out)
        assert sum(on_disk.values()) <= disk
        assert all(cache.on_disk(key) for key in on_disk)
