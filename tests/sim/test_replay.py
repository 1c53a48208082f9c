"""A recording is replayed to the same decisions, whatever went wrong in it; a bad file is one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from ecdn_proxy.core import events
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.recording import FORMAT, LINE_BYTES_MAX, Born, Recording, Witness
from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.replay import BadRecording, command, replay
from ecdn_proxy.sim.scenario import Scenario
from ecdn_proxy.wire.peer import Contact
from tests.core import world
from tests.core.makers import KEY, permitting, wanted
from tests.core.test_recording import Book
from tests.core.world import UTC
from tests.sim.test_office import run, small

FAULTS = {
    "nothing": "",
    "a polluter": "[faults]\npolluters = 1",
    "dead fetchers": "[faults]\nfetcher_dies_every = 2",
    "crashes": "[faults]\npeers_failing_percent = 8.0",
    "the coordinator away": "[agent]\nlan_discovery = true\n[faults]\ncoordinator_out_s = [2.0, 6.0]",
    "split views": "[faults]\nsplit_percent = 30.0",
}


class Recorded:
    """A node as the simulator wants one, recorded as an agent does it."""

    def __init__(self, lines: list[bytes], me: Contact, seal: Any, *, limits: Limits, **more: Any) -> None:
        witness = Witness(seal)
        born = Born(format=FORMAT, version="test", me=me, tenant=seal.tenant, limits=limits, **more)
        self.node = born.node(witness)
        self.recording = Recording(self.node, witness, lines.append, born)
        self.handle, self.wake = self.recording.handle, self.recording.wake

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def recorded(scenario: Scenario) -> tuple[SiteFigures, list[list[bytes]]]:
    """An office is run, and each of its nodes recorded in a list of its own."""
    books: list[list[bytes]] = []

    def made(*given: Any, **more: Any) -> Recorded:
        books.append([])
        return Recorded(books[-1], *given, **more)

    return run(scenario, new_node=made), books


@pytest.mark.parametrize("fault", FAULTS)
def test_every_node_decides_the_same_again(fault: str) -> None:
    it, books = recorded(small(FAULTS[fault], viewers=8, segments=4))
    assert it.outcomes > 0
    decisions = 0
    for book in books:
        found = replay(book, "book")
        assert not found.difference
        assert found.events == len(book) - 1
        decisions += found.decisions
    assert decisions > 1_000
    if fault == "a polluter":
        assert any(b'"wrong":true' in line for book in books for line in book)


def test_segments_that_grow_are_replayed_with_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    books: list[list[bytes]] = []

    def made(me: Contact, seal: Any, **more: Any) -> Recorded:
        books.append([])
        return Recorded(books[-1], me, seal, **more)

    monkeypatch.setattr(world, "LoggedNode", made)
    office = world.World(3, origin=world.Origin(chunks=(6_000, 0.5), sizes={"https://origin.test/1": 45_000}))
    office.watch_all()
    viewers = [office.play(device, 1) for device in office.nodes]
    office.run(8.0)
    assert [office.answers[viewer].end for viewer in viewers] == ["finished"] * 3
    assert any(b"OriginReached" in line or b"[29," in line for book in books for line in book)
    for book in books:
        assert not replay(book, "book").difference


def test_what_is_not_recorded() -> None:
    _, books = recorded(small(viewers=3, segments=2))
    text = b"".join(line for book in books for line in book).decode()
    assert "origin.example" not in text
    assert "https" not in text
    assert max(len(line) for book in books for line in book) < 4_096


def test_a_sharing_rule_is_replayed_with_its_reason_and_without_its_hosts() -> None:
    book = Book()
    rule = permitting(ignore_no_store=True, fresh_s=60, path="/secret/")
    book.put(wanted(rule=rule), 100.0)
    book.put(events.Loaded(KEY, None), 100.1)
    for now in (101.0, 102.0, 103.0):
        book.recording.wake(now)
    (fetch,) = [it for line in book.lines[1:] for it in json.loads(line).get("did", []) if it.startswith("fetch ")]
    headers = (("content-type", "video/mp2t"), ("cache-control", "no-store"), ("content-length", "3"))
    number = int(fetch.split()[1])
    book.put(events.OriginAnswered(number, 200, headers, UTC), 103.1)
    book.put(events.OriginSent(number, b"abc"), 103.2)
    book.put(events.OriginEnded(number), 103.3)
    said: list[str] = []
    found = replay(book.lines, "book", said.append)
    assert not found.difference
    reason = "shared although the origin said Cache-Control: no-store, fresh for 60 s (rule event of agent.toml)"
    assert any(line.lstrip().startswith("→ served") and line.endswith(f"; {reason}") for line in said)
    text = b"".join(book.lines).decode()
    assert "origin.test" not in text
    assert "secret" not in text


@pytest.fixture(name="book")
def _book() -> list[bytes]:
    _, books = recorded(small(viewers=2, segments=2))
    return books[0]


def test_the_first_difference_is_told_with_both_decisions(book: list[bytes]) -> None:
    at = next(at for at, line in enumerate(book) if b"answer viewer" in line)
    book[at] = book[at].replace(b"answer viewer 1 with", b"answer viewer 1 without")
    found = replay(book, "book")
    assert f"line {at + 1}," in found.difference
    assert "without" in found.difference
    assert "here it is “answer viewer 1 with " in found.difference
    assert found.events == at


def test_a_fault_of_ours_is_met_again(book: list[bytes]) -> None:
    lines = [json.loads(line) for line in book]
    lines[3]["failed"] = "Impossible: something"
    found = replay([json.dumps(line).encode() for line in lines], "book")
    assert "failed: Impossible: something" in found.difference


def edited(line: int, **fields: Any) -> Callable[[list[bytes]], list[bytes]]:
    def edit(book: list[bytes]) -> list[bytes]:
        book[line] = msgspec.json.encode({**json.loads(book[line]), **fields}) + b"\n"
        return book

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda _: [], "FILE is empty"),
        (lambda book: book[1:], "line 1: a recording begins with a node's birth"),
        (lambda book: [b"hello\n", *book], "line 1: this is no line of a recording"),
        (lambda book: [*book[:4], b"{\n", *book[4:]], "line 5: this is no line of a recording"),
        (lambda book: [*book[:4], b"x" * (LINE_BYTES_MAX + 1), *book[4:]], "line 5: longer than any line"),
        (edited(0, format=9), "recorded by version test in format 9, this program reads format 1"),
        (edited(2, event="Danced"), "line 3: the event Danced cannot be read"),
        (
            edited(2, event="OriginSent", what={"fetch": 1, "data": 10**12}),
            "line 3: the event OriginSent cannot be read",
        ),
        (edited(2, event="Received", what={"device": "x"}), "line 3: the event Received cannot be read"),
        (
            edited(2, event="Received", what={"device": "x", "message": [22]}),
            "line 3: the event Received cannot be read",
        ),
    ],
)
def test_a_bad_file_is_one_sentence(
    edit: Callable[[list[bytes]], list[bytes]], said: str, book: list[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "FILE"
    file.write_bytes(b"".join(edit(book)))
    result = CliRunner().invoke(command, [str(file), "--quiet"], catch_exceptions=False)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_not_there() -> None:
    result = CliRunner().invoke(command, ["none"], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (2, "ecdn-proxy: none cannot be read: No such file or directory.\n")


def test_a_recording_of_an_agent_that_was_killed(book: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "FILE"
    file.write_bytes(b"".join(book)[:-9])
    result = CliRunner().invoke(command, [str(file), "--quiet"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"Line {len(book)} was cut off" in result.output
    assert f"Decided the same: {len(book) - 2} events" in result.output
    with pytest.raises(BadRecording):
        replay([book[0][:-9]], "FILE")


def test_the_terminal_shows_decisions_and_differences(book: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "FILE"
    file.write_bytes(b"".join(book))
    same = CliRunner().invoke(command, [str(file)], catch_exceptions=False)
    assert same.exit_code == 0
    assert "→ served segment" in same.output
    assert "no neighbour" in same.output or "first of the office" in same.output
    file.write_bytes(b"".join(book).replace(b"served segment", b"sold segment"))
    other = CliRunner().invoke(command, [str(file), "--quiet"], catch_exceptions=False)
    assert other.exit_code == 1
    assert "Decided otherwise after" in other.output
