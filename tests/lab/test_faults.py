"""Eight people on one site of two subnets, and everything that happens to a network.

Each fault holds for some seconds while all watch. Whatever it is: no byte is wrong; nobody stalls whose own way to
the video still stands; the origin is never asked for a segment by more than two at once. Then all is as before, and how
long that took is written down in build/lab/faults.json.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from tests.demo.clock import seconds, wall
from tests.lab.findings import Fetch, at_once, copies, fetches
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Audience, Office, OfficePlan
from tests.lab.results import record

pytestmark = [pytest.mark.lab, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SITE_MAP = "group,subnets,p2p,wan,label\noffice,10.1.0.0/16 10.2.0.0/16,on,no,Office\n"
SEGMENTS = r"\d+\.ts$"
RECOVERED_WITHIN_S = 20.0
ONE_COPY_WITHIN_S = 30.0
RECORDS: list[dict[str, Any]] = []

type Act = Callable[[Office], Awaitable[None]]


@dataclass
class Trouble:
    """What befalls an office, and how it ends. `cut` are viewers whose own way is gone: they may stall."""

    name: str
    begin: Act
    end: Act
    hold_seconds: float = 8.0
    cut: frozenset[str] = frozenset()
    all_may_stall: bool = False
    fetches: int = 2
    """The most of one segment at once."""


@dataclass
class Record:
    """What a trouble did.

    `recovery_s`: from its end until everybody plays with a second or more in hand.
    `one_copy_s`: from its end until the last segment that was fetched more than once; inf: it went on.
    """

    name: str
    stalls: dict[str, int]
    stall_seconds: float
    mismatches: int
    errors: dict[str, int]
    most_at_once: int
    copies: float
    recovery_s: float
    one_copy_s: float
    fetched_by_two: list[str] = field(default_factory=list)


def at(act: Callable[[Office], None]) -> Act:
    async def acted(office: Office) -> None:
        act(office)

    return acted


def _a(office: Office, name: str = "a3") -> Any:
    return office.net.host(name)


async def _nothing(_: Office) -> None:
    return


async def _origin_ends(office: Office) -> None:
    await office.origin.fault(clear=1)


def _origin(**query: str | float) -> Act:
    async def acted(office: Office) -> None:
        await office.origin.fault(match=SEGMENTS, **query)

    return acted


async def _kill(office: Office) -> None:
    await office.kill_agent("a2")


async def _back(office: Office) -> None:
    await office.start_agent("a2")


async def _coordinator_gone(office: Office) -> None:
    await office.kill_coordinator()


async def _coordinator_back(office: Office) -> None:
    await office.start_coordinator()


TROUBLES = [
    Trouble("nothing", _nothing, _nothing),
    Trouble(
        "cable of a3 pulled",
        at(lambda o: o.faults.cable(_a(o), plugged=False)),
        at(lambda o: o.faults.cable(_a(o), plugged=True)),
        cut=frozenset({"a3"}),
    ),
    Trouble(
        "line cut for 3 s",
        at(lambda o: o.faults.isp("a", up=False)),
        at(lambda o: o.faults.isp("a", up=True)),
        hold_seconds=3,
        all_may_stall=True,
    ),
    Trouble("line of 5 Mbit/s", at(lambda o: o.faults.rate("a", 5)), at(lambda o: o.faults.rate("a", 50)), 12),
    Trouble("150 ms more each way", at(lambda o: o.faults.delay("a", 160)), at(lambda o: o.faults.delay("a", 10)), 12),
    Trouble("2 % loss on the line", at(lambda o: o.faults.loss("a", 2)), at(lambda o: o.faults.loss("a", 0)), 12),
    Trouble(
        "5 % loss at a3",
        at(lambda o: o.faults.host_loss(_a(o), 5)),
        at(lambda o: o.faults.host_loss(_a(o), 0)),
        12,
    ),
    Trouble(
        "client isolation",
        at(lambda o: o.faults.isolation(o.net.hosts_of(), on=True)),
        at(lambda o: o.faults.isolation(o.net.hosts_of(), on=False)),
        12,
    ),
    Trouble(
        "multicast filtered",
        at(lambda o: o.faults.multicast(o.net.hosts_of(), filtered=True)),
        at(lambda o: o.faults.multicast(o.net.hosts_of(), filtered=False)),
    ),
    Trouble(
        "TCP 7688 dropped between the subnets",
        at(lambda o: o.faults.peer_port(blocked=True)),
        at(lambda o: o.faults.peer_port(blocked=False)),
        12,
    ),
    Trouble("origin: 503 for 3 s", _origin(status=503), _origin_ends, hold_seconds=3, all_may_stall=True),
    Trouble("origin: every third answer 503", _origin(status=503, percent=33), _origin_ends, 12),
    Trouble("origin: first byte after 1 s", _origin(delay_ms=1000), _origin_ends, 12, fetches=1),
    Trouble("origin: bodies break off after 200 kB", _origin(truncate=200_000, percent=50), _origin_ends, 12),
    Trouble("coordinator killed", _coordinator_gone, _coordinator_back, 12),
    Trouble("agent of a2 killed", _kill, _back, cut=frozenset({"a2"})),
]


@dataclass
class Event:
    office: Office
    audience: Audience


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def event() -> AsyncIterator[Event]:
    net = NetPlan((SitePlan("a", 6), SitePlan("c", 2, on="a")), isp_mbps=50, rtt_ms=20)
    # Without a word of IT an agent shares in its own subnet only, whatever the site map says.
    plan = OfficePlan(net, site_map=SITE_MAP, settings={"peer_networks": ["10.0.0.0/8"]})
    async with Office(plan) as office:
        audience = await office.watch(else_direct=True, stagger_seconds=0.3)
        await asyncio.sleep(12)
        yield Event(office, audience)


def _well(lines: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> bool:
    """Everybody plays, has a second in hand, and has got something since."""
    return all(
        line["playing"] and line["buffer_seconds"] >= 1 and line["segments"] > before[name]["segments"]
        for name, line in lines.items()
    )


async def _one_copy_again(office: Office, logged: int, ended_at: float) -> float:
    """When the last segment was fetched twice, once three in a row were not; the next trouble finds everybody well."""
    limit = seconds() + ONE_COPY_WITHIN_S
    while seconds() < limit:
        await asyncio.sleep(1)
        after = [fetch for fetch in fetches(await office.origin.log(logged)) if fetch.at > ended_at]
        paths = list(dict.fromkeys(fetch.path for fetch in sorted(after, key=lambda fetch: fetch.number)))
        whole = paths[:-1]  # somebody may still ask for the newest
        if len(whole) >= 3 and all(sum(f.path == path for f in after) == 1 for path in whole[-3:]):
            late = [f.at for f in after if sum(o.path == f.path for o in after) > 1]
            return max(late, default=ended_at) - ended_at
    return float("inf")


def _told(office: Office, path: str, during: list[Fetch], ended_at: float) -> str:
    """One line on a segment that was fetched twice: by whom and when, and what they said of it."""
    by = [f"{f.client} {f.status} {f.bytes} at {f.at - ended_at:+.2f} s" for f in during if f.path == path]
    said = [
        f"{reason.host} {reason.ms:.0f} ms {reason.why}"
        for reason in office.reasons.values()
        if path.endswith(f"/{reason.number}.ts") and reason.source == "origin"
    ]
    return f"{path}: {'; '.join(by)} | {'; '.join(said)}"


def _more(after: dict[str, Any], before: dict[str, Any], what: str) -> int:
    return int(after[what]) - int(before[what])


async def test_everybody_starts_soon(event: Event) -> None:
    for name, line in event.audience.latest.items():
        assert line["startup_ms"] is not None, name
        assert line["startup_ms"] < 2000, name
        assert line["errors"] == {}, name


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
async def test_trouble(event: Event, trouble: Trouble) -> None:
    office, audience = event.office, event.audience
    logged, before = len(await office.origin.log()), audience.latest
    try:
        await trouble.begin(office)
        await asyncio.sleep(trouble.hold_seconds)
    finally:
        await trouble.end(office)
    ended, ended_at = seconds(), wall()
    while audience.lines()[-1]["at"] < ended_at:  # noqa: ASYNC110  # another process's file
        await asyncio.sleep(0.1)
    at_end = audience.latest
    recovery = float("inf")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECOVERED_WITHIN_S):
            while not _well(audience.latest, at_end):  # noqa: ASYNC110  # likewise
                await asyncio.sleep(0.2)
            recovery = seconds() - ended
    during = fetches(await office.origin.log(logged))
    one_copy = await _one_copy_again(office, logged, ended_at)
    await office.refresh()
    latest = audience.latest
    errors = {
        f"{name} {kind}": count - before[name]["errors"].get(kind, 0)
        for name, line in latest.items()
        for kind, count in line["errors"].items()
        if count > before[name]["errors"].get(kind, 0)
    }
    twice = {f.path for f in during if sum(o.path == f.path and o.bytes > 0 for o in during) > 1}
    done = Record(
        name=trouble.name,
        stalls={n: _more(line, before[n], "stalls") for n, line in latest.items() if _more(line, before[n], "stalls")},
        stall_seconds=round(sum(line["stall_seconds"] - before[n]["stall_seconds"] for n, line in latest.items()), 1),
        mismatches=sum(_more(line, before[n], "sha256_mismatches") for n, line in latest.items()),
        errors=errors,
        most_at_once=at_once(during),
        copies=copies(during),
        recovery_s=round(recovery, 1),
        one_copy_s=round(one_copy, 1),
        fetched_by_two=[_told(office, path, during, ended_at) for path in sorted(twice)],
    )
    RECORDS.append(asdict(done))
    record("faults", RECORDS)
    assert done.mismatches == 0
    assert recovery < RECOVERED_WITHIN_S
    assert one_copy < ONE_COPY_WITHIN_S
    if not trouble.all_may_stall:
        assert set(done.stalls) <= trouble.cut
    assert done.most_at_once <= trouble.fetches, done.fetched_by_two
