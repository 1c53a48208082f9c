"""What the witnesses say, added up; and the line's weather without a line."""

import random
from pathlib import Path
from typing import Any

from tests.demo.parts import Agent
from tests.lab.findings import Fetch, Reason, at_once, copies, fetches, find
from tests.lab.link import Queue, Weather
from tests.lab.net import Net, NetPlan, SitePlan, Traffic


def _fetch(path: str, at: float, took: float, written: int = 100, client: str = "10.1.1.1") -> Fetch:
    return Fetch(at, at + took, path, client, 200, written, 100, None)


def _entry(path: str, at: float, client: str) -> dict[str, Any]:
    return {
        "at": at, "ms": 500.0, "path": path, "client": client, "status": 200, "bytes": 100, "size": 100,
        "range": None, "kind": "segment",
    }  # fmt: skip


def test_fetches_at_once_are_those_that_overlap() -> None:
    one = [_fetch("/1.ts", 0, 1), _fetch("/1.ts", 0.5, 1), _fetch("/1.ts", 1.2, 1), _fetch("/2.ts", 0, 9)]
    assert at_once(one) == 2
    assert at_once([]) == 0


def test_copies_count_bytes_and_not_requests() -> None:
    assert copies([_fetch("/1.ts", 0, 1), _fetch("/1.ts", 1, 1, 40), _fetch("/2.ts", 0, 1)]) == 1.2
    assert copies([]) == 0.0


def test_only_segments_are_fetches() -> None:
    log = [_entry("/live/1.ts", 0, "10.1.1.1"), _entry("/live/x.m3u8", 0, "10.1.1.1") | {"kind": "manifest"}]
    assert [(fetch.number, fetch.ends) for fetch in fetches(log)] == [(1, 0.5)]


def test_each_site_has_its_own_sums_and_every_second_fetch_its_reasons(tmp_path: Path) -> None:
    net = Net(NetPlan((SitePlan("a", 2), SitePlan("b", 1), SitePlan("c", 1, on="a"))), tmp_path)
    line = {"bytes": 200, "segments": 2, "startup_ms": 300, "stalls": 0, "errors": {"503": 1}}
    agent = Agent("a2", "", tmp_path, tmp_path, tmp_path, status={"device": "0123abcd-1", "segments": {"lan": 2}})
    log = [_entry("/1.ts", 10, "10.1.1.1"), _entry("/1.ts", 11, "10.3.1.1"), _entry("/2.ts", 20, "10.1.1.2")]
    found = find(
        net,
        seconds_passed=10,
        settled_at=15,
        viewers=dict.fromkeys(("a1", "a2", "c1", "b1"), line),
        log=[*log, _entry("/1.ts", 12, "10.2.1.1")],
        lines={"a": Traffic(330, 10, 0), "b": Traffic(110, 10, 0)},
        reasons=[Reason("c1", "key", "720", 1, "origin", "0123abcd granted the origin fetch", 99, 100)],
        cpu={"a2": 0.5, "coordinator": 0.1},
        agents=[agent],
        between_sites=0,
    )
    a, b = found.sites["a"], found.sites["b"]
    assert (a.viewers, a.copies, a.copies_settled, a.fetched_twice, a.line_copies) == (3, 1.5, 1.0, 1, 1.65)
    assert (b.viewers, b.copies, b.offload, b.bound) == (1, 1.0, 0.5, 0.5)
    assert (found.errors, found.sources, found.agent_cpu) == ({"503": 4}, {"lan": 2}, [5.0])
    assert "c1 origin 99 ms 100 bytes: a2 granted the origin fetch" in found.why()


def test_packets_keep_their_order_whatever_the_jitter() -> None:
    queue, weather = Queue(random.Random(3)), Weather(delay_ms=10, jitter_ms=50)
    for number in range(100):
        queue.send(bytes([number]), weather, number / 1000)
    assert queue.arrived(0.009) is None
    assert [queue.arrived(1.0) for _ in range(100)] == [bytes([number]) for number in range(100)]
    assert queue.arrived(1.0) is None


def test_loss_takes_its_share(tmp_path: Path) -> None:
    queue, file = Queue(random.Random(3)), tmp_path / "weather.json"
    Weather(loss_percent=20).write(file)
    for _ in range(1000):
        queue.send(b"x", Weather.read(file), 0.0)
    arrived = sum(queue.arrived(0.0) is not None for _ in range(1000))
    assert 750 < arrived < 850
