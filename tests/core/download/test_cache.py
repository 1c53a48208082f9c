"""What is kept, for how long, and within which bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.download.cache import OVERHEAD_BYTES, Cache, weight
from ecdn_proxy.core.events import Effect, Erase, Save
from ecdn_proxy.core.values import StoredSegment
from tests.core.makers import stored
from tests.core.world import UTC, key_of


def segment(number: int, size: int = 1_000, *, fresh_s: float = 60.0) -> StoredSegment:
    return stored(bytes(size), key=key_of(number), fresh_s=fresh_s)


UNIT = OVERHEAD_BYTES + 1_000


def saved(out: list[Effect]) -> list[str]:
    return [it.stored.key for it in out if isinstance(it, Save)]


def erased(out: list[Effect]) -> list[str]:
    return [it.key for it in out if isinstance(it, Erase)]


def test_what_was_put_is_found_until_it_is_stale() -> None:
    out: list[Effect] = []
    cache = Cache(10 * UNIT, 10 * UNIT, out)
    one = segment(1)
    cache.put(one)
    assert cache.get(one.key, UTC + 60.0) is one
    assert saved(out) == [one.key]
    assert cache.get(one.key, UTC + 60.1) is None
    assert erased(out) == [one.key]
    assert (len(cache), cache.memory_bytes, cache.on_disk(one.key)) == (0, 0, False)


def test_a_stale_one_can_still_be_looked_at() -> None:
    cache = Cache(10 * UNIT, 0, [])
    one = segment(1, fresh_s=0.0)
    cache.put(one)
    assert cache.peek(one.key) is one
    assert cache.peek(key_of(2)) is None
    assert cache.get(key_of(2), UTC) is None


def test_the_least_recently_used_goes() -> None:
    cache = Cache(3 * UNIT, 0, [])
    for number in range(3):
        cache.put(segment(number))
    cache.get(key_of(0), UTC)
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
    cache.loaded(big)
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
    cache.loaded(back)
    assert cache.get(back.key, UTC) is back
    assert saved(out) == []


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
                cache.loaded(segment(number, size))
            case "drop":
                cache.drop(key_of(number))
            case _:
                cache.get(key_of(number), UTC)
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
