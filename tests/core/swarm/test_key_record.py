"""Who reads from whom, and how far that is from somebody who has it."""

from ecdn_proxy.core.swarm.key_record import KeyRecord, LeaseState


def chained(*pairs: tuple[str, str]) -> KeyRecord:
    """Each child reads from its parent."""
    record = KeyRecord("stream")
    for child, parent in pairs:
        record.follow(child, parent, 0.0)
    return record


def test_a_chain_is_counted_from_its_source() -> None:
    record = chained(("b", "a"), ("c", "b"), ("d", "c"))
    assert record.chain("d", {"a"}, {}) == (3, "a")
    assert record.chain("d", {"a", "c"}, {}) == (1, "c")
    assert record.chain("a", {"a"}, {}) == (0, "a")


def test_a_chain_that_leads_nowhere_is_none() -> None:
    assert chained(("c", "b")).chain("c", set(), {}) is None
    assert chained(("b", "c"), ("c", "b")).chain("c", set(), {}) is None
    assert chained(("c", "b"), ("b", "a")).chain("c", {"a"}, {"b": None}) is None, "through the asker"


def test_what_was_found_is_not_looked_for_again() -> None:
    record = chained(("b", "a"), ("c", "b"))
    known: dict[str, tuple[int, str] | None] = {}
    record.chain("c", {"a"}, known)
    assert known == {"a": (0, "a"), "b": (1, "a"), "c": (2, "a")}


def test_children_are_counted_at_the_parent_they_follow_now() -> None:
    record = chained(("b", "a"), ("c", "a"))
    record.follow("c", "b", 5.0)
    assert (record.children["a"], record.children["b"]) == (1, 1)
    assert record.moved_at == {"c": 5.0}, "who follows for the first time has not moved"
    assert record.unfollow("c")
    assert not record.unfollow("c")
    assert record.children["b"] == 0


def test_a_device_that_left_fetches_has_and_reads_nothing() -> None:
    record = chained(("b", "a"), ("c", "b"))
    record.leases = [LeaseState(1, "b", 0.0, 0.0)]
    record.late = [LeaseState(2, "b", 0.0, 0.0), LeaseState(3, "d", 0.0, 0.0)]
    record.holders = {"b", "e"}
    record.device_left("b")
    assert [lease.device for lease in record.at_origin()] == ["d"]
    assert record.sources() == {"e"}
    assert record.parents == {"c": "b"}, "who read from it will say so itself"


def test_a_silent_fetch_that_goes_on_is_a_source_again() -> None:
    record = KeyRecord("stream", late=[LeaseState(1, "a", 0.0, 0.0)])
    assert record.sources() == set()
    record.revive(record.late[0])
    assert record.sources() == {"a"}
    assert record.late == []
