"""Who reads from whom, and how far that is from somebody who has it."""

from ecdn_proxy.core.swarm.key_record import KeyRecord, LeaseState


def chained(*pairs: tuple[str, str]) -> KeyRecord:
    """Each child reads from its parent."""
    entry = KeyRecord("stream")
    for child, parent in pairs:
        entry.follow(child, parent, 0.0)
    return entry


def test_a_chain_is_counted_from_its_source() -> None:
    entry = chained(("b", "a"), ("c", "b"), ("d", "c"))
    assert entry.chain("d", {"a"}, {}) == (3, "a")
    assert entry.chain("d", {"a", "c"}, {}) == (1, "c")
    assert entry.chain("a", {"a"}, {}) == (0, "a")


def test_a_chain_that_leads_nowhere_is_none() -> None:
    assert chained(("c", "b")).chain("c", set(), {}) is None
    assert chained(("b", "c"), ("c", "b")).chain("c", set(), {}) is None
    assert chained(("c", "b"), ("b", "a")).chain("c", {"a"}, {"b": None}) is None, "through the asker"


def test_what_was_found_is_not_looked_for_again() -> None:
    entry = chained(("b", "a"), ("c", "b"))
    known: dict[str, tuple[int, str] | None] = {}
    entry.chain("c", {"a"}, known)
    assert known == {"a": (0, "a"), "b": (1, "a"), "c": (2, "a")}


def test_children_are_counted_at_the_parent_they_follow_now() -> None:
    entry = chained(("b", "a"), ("c", "a"))
    entry.follow("c", "b", 5.0)
    assert (entry.children["a"], entry.children["b"]) == (1, 1)
    assert entry.moved_at == {"c": 5.0}, "who follows for the first time has not moved"
    assert entry.unfollow("c")
    assert not entry.unfollow("c")
    assert entry.children["b"] == 0


def test_a_device_that_left_fetches_has_and_reads_nothing() -> None:
    entry = chained(("b", "a"), ("c", "b"))
    entry.leases = [LeaseState(1, "b", 0.0, 0.0)]
    entry.late = [LeaseState(2, "b", 0.0, 0.0), LeaseState(3, "d", 0.0, 0.0)]
    entry.holders = {"b", "e"}
    entry.left("b")
    assert [state.device for state in entry.at_origin()] == ["d"]
    assert entry.sources() == {"e"}
    assert entry.parents == {"c": "b"}, "who read from it will say so itself"


def test_a_silent_fetch_that_goes_on_is_a_source_again() -> None:
    entry = KeyRecord("stream", late=[LeaseState(1, "a", 0.0, 0.0)])
    assert entry.sources() == set()
    entry.revive(entry.late[0])
    assert entry.sources() == {"a"}
    assert entry.late == []
