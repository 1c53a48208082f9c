"""What the coordinator says becomes events and conditions, and what was counted its beats; no coordinator is there."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from coordinator.io.ca import Authority
from coordinator.web.socket import AgentSocket
from ecdn_proxy.agent import coordinator_session as module
from ecdn_proxy.agent.coordinator_session import CoordinatorSession
from ecdn_proxy.core import events
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.core.report.usage import ByteCounts, Usage
from ecdn_proxy.core.values import Source
from ecdn_proxy.io import clock, coordinator_client
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.signalling import Relayed, Undeliverable
from ecdn_proxy.wire.tracker import (
    Alive,
    Beat,
    Denied,
    FromAgent,
    FromCoordinator,
    Here,
    Near,
    Neighbours,
    Network,
    Settings,
    Turned,
    Watch,
    Welcome,
)
from ecdn_proxy.wire.usage import ReportedUsage
from tests.agent.origins import BODY
from tests.agent.systems import started
from tests.agent.test_signer import identity
from tests.coordinator.running import opened
from tests.core.makers import KEY, contact
from tests.core.world import STREAM

pytestmark = pytest.mark.asyncio

NOW = 1_800_000_000.0


class Owner:
    """What the session tells is noted in `told`; what it asks stands in the other fields."""

    def __init__(self, mine: Identity, *, real: bool = False) -> None:
        self.meter = Meter(50)
        self.told: list[tuple[object, ...]] = []
        self.uploads = ByteCounts()
        self.utc = clock.utc() if real else NOW
        self.sent: list[FromAgent] = []
        self.takes = 10
        """How many more messages the link takes."""
        self.session = CoordinatorSession(
            mine,
            version="1.0",
            networks=(),
            peer_port=7688,
            owner=self,
            utc=lambda: self.utc,
            chance=random.Random(1),
        )
        if not real:
            self.session.link.send = self._send  # type: ignore[method-assign]

    def _send(self, message: FromAgent) -> bool:
        if self.takes:
            self.takes -= 1
            self.sent.append(message)
            return True
        return False

    def watched(self, *parts: tuple[Source, int]) -> None:
        """A viewer had one segment."""
        self.meter.served(events.Served(KEY, STREAM, "v1", 1, "lan", "so", 1.0, parts), 0.0)

    def beat(self) -> Beat | None:
        """The beat that is sent now, if any; an answer to it is asked for."""
        self.sent.clear()
        self.session._beat()
        match self.sent:
            case [Beat() as beat, Alive()]:
                return beat
            case _:
                assert not self.sent
                return None

    def feed(self, event: events.Event) -> None:
        self.told.append(("feed", event))

    def raise_condition(self, code: str, text: str) -> None:
        self.told.append(("raise", code, text))

    def clear_condition(self, code: str) -> None:
        self.told.append(("clear", code))

    def conditions(self) -> tuple[str, ...]:
        return tuple(f"code-{number}" for number in range(40))

    def usage(self) -> Usage:
        return self.meter.usage(self.uploads)

    def standing_links(self) -> tuple[int, int]:
        return 2, 1

    def placed(self, site: Welcome) -> None:
        self.told.append(("placed", site))

    def settings_changed(self, settings: dict[str, Any]) -> None:
        self.told.append(("settings", settings))

    def renewed(self, identity: Identity) -> None:
        self.told.append(("renewed", identity))

    def signalling_possible(self, possible: bool) -> None:
        self.told.append(("signalling", possible))

    def signalled(self, message: Relayed | Undeliverable) -> None:
        self.told.append(("signalled", message))


@pytest_asyncio.fixture
async def owner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Owner]:
    authority = Authority.open(tmp_path_factory.mktemp("tenant"), NOW)
    one = Owner(identity(authority, "me"))
    yield one
    await one.session.link.close()


def near(device: str) -> Near:
    return Near(Contact(device, ("10.0.0.1",), 7688), "same subnet")


async def test_what_the_coordinator_says_is_told(owner: Owner) -> None:
    hear = owner.session.coordinator_said
    hear(Neighbours(STREAM, ("ann",), (near("ann"), near("me"))))
    hear(Denied(("eve",)))
    welcome, settings = Welcome("s", "office", "on", "", {}), Settings({"sharing": False})
    hear(welcome)
    hear(settings)
    hear(settings)
    hear(Turned("denied", "so", 60.0))
    hear(Alive())
    assert owner.told == [
        ("feed", events.TrackerSaid(STREAM, ("ann",), ((contact("ann"), "same subnet"),))),
        ("feed", events.DevicesDenied(frozenset({"eve"}))),
        ("placed", welcome),
        ("settings", settings.settings),
    ]


async def test_a_coordinator_that_comes_and_goes_is_a_condition(owner: Owner) -> None:
    owner.session.coordinator_changed(False, "refused")
    assert {*owner.told} == {
        ("feed", events.TrackerChanged(False)),
        ("signalling", False),
        ("raise", "coordinator-away", "refused"),
    }
    owner.told.clear()
    owner.session.coordinator_changed(True, "connected")
    assert {*owner.told} == {
        ("feed", events.TrackerChanged(True)),
        ("signalling", True),
        ("clear", "coordinator-away"),
    }
    assert owner.session.why == "connected"


async def test_each_new_connection_begins_with_who_we_are_and_what_we_watch(owner: Owner) -> None:
    owner.session.announce((STREAM,), False, True)
    assert owner.sent == [Watch((STREAM,), False, isolated=True)]
    here, watch = owner.session.first_messages()
    assert isinstance(here, Here)
    assert (here.peer_port, here.serves, watch) == (7688, False, Watch((STREAM,), False, isolated=True))


async def test_a_machine_that_moved_says_where_it_is_now(owner: Owner) -> None:
    owner.session.announce((STREAM,), True, False)
    owner.sent.clear()
    now = (Network("10.1.7.7", 16, "wifi"),)
    owner.session.moved(now)
    here, watch = owner.sent
    assert isinstance(here, Here)
    assert (here.networks, watch) == (now, Watch((STREAM,), True))


async def test_settings_that_changed_while_this_machine_was_off_come_with_the_welcome(owner: Owner) -> None:
    hear = owner.session.coordinator_said
    for value in (False, False, True):
        hear(Welcome("s", "office", "on", "", {"sharing": value}))
    assert [it for it in owner.told if it[0] == "settings"] == [
        ("settings", {"sharing": False}),
        ("settings", {"sharing": True}),
    ]


async def test_a_beat_tells_what_came_since_the_last(owner: Owner) -> None:
    owner.watched(("lan", 5), ("webrtc", 7), ("origin", 3))
    owner.uploads = ByteCounts(uploaded=100, uploaded_webrtc=60)
    first = owner.beat()
    owner.session.coordinator_said(Alive())
    owner.uploads = ByteCounts(uploaded=100, uploaded_webrtc=70)
    second = owner.beat()
    assert first is not None
    assert second is not None
    assert (first.bytes_lan, first.bytes_origin, first.bytes_up, first.segments) == (12, 3, 100, 1)
    assert (first.links_tls, first.links_webrtc, first.bytes_webrtc, first.bytes_up_webrtc) == (2, 1, 7, 60)
    assert (second.bytes_webrtc, second.bytes_up_webrtc) == (0, 10)
    assert (second.bytes_lan, second.bytes_up, len(second.conditions)) == (0, 0, 32)
    assert second.sequence == first.sequence + 1


async def test_beats_of_a_later_run_have_higher_numbers(owner: Owner) -> None:
    first = owner.beat()
    assert first is not None
    assert first.sequence == NOW


async def test_a_beat_that_was_not_answered_is_sent_again_on_the_next_socket_and_no_other_before(owner: Owner) -> None:
    owner.watched(("lan", 5))
    first = owner.beat()
    owner.watched(("lan", 6))
    assert owner.beat() is None
    owner.session.coordinator_changed(False, "broken")
    owner.session.coordinator_changed(True, "connected")
    assert owner.beat() == first
    owner.session.coordinator_said(Alive())
    after = owner.beat()
    assert after is not None
    assert after.bytes_lan == 6


async def test_a_beat_that_the_link_does_not_take_is_made_anew(owner: Owner) -> None:
    owner.watched(("lan", 5))
    owner.takes = 0
    assert owner.beat() is None
    owner.watched(("lan", 6))
    owner.takes = 2
    after = owner.beat()
    assert after is not None
    assert after.bytes_lan == 11


async def test_a_beat_whose_answer_cannot_be_asked_for_is_sent_again(owner: Owner) -> None:
    owner.watched(("lan", 5))
    owner.takes = 1
    owner.session._beat()
    (first,) = owner.sent
    owner.takes = 2
    assert owner.beat() == first


async def test_a_certificate_that_has_ended_is_said_and_renewed_when_somebody_answers(owner: Owner) -> None:
    await owner.session._renew_if_due()
    assert owner.told == []
    owner.utc = NOW + 86_400.0 + 1.0
    await owner.session._renew_if_due()
    assert [it[:2] for it in owner.told] == [("raise", "certificate-ended")]


@asynccontextmanager
async def watching(mine: Identity, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Owner]:
    """A session with a real coordinator that beats and comes back quickly."""
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    monkeypatch.setattr(coordinator_client, "RETRY_LEAST_S", 0.05)
    monkeypatch.setattr(coordinator_client, "RETRY_MOST_S", 0.1)
    one = Owner(mine, real=True)
    work = asyncio.create_task(one.session.run())  # noqa: TID251  # the test ends it
    yield one
    work.cancel()
    await asyncio.wait([work])


async def test_what_is_watched_while_the_coordinator_is_away_is_reported_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as running:
        mine, port = await running.enrolled(), running.server.port
    async with watching(mine, monkeypatch) as owner:
        async with opened(tmp_path, port=port) as running:
            owner.watched(("lan", 100))
            tracker = running.system.tracker
            await running.until(lambda: tracker.totals.usage.bytes_lan == 100)
            # with a second beat the answer to the first has come
            await running.until(lambda: any(it.last_beat > int(owner.utc) for it in tracker.agents()))
        owner.watched(("origin", 50), ("webrtc", 7))
        owner.uploads = ByteCounts(uploaded=30, uploaded_webrtc=20)
        await asyncio.sleep(0.3)  # six beats find nobody
        async with opened(tmp_path, port=port) as running:
            totals = running.system.tracker.totals
            await running.until(lambda: totals.usage.bytes_origin > 0)
            await asyncio.sleep(0.3)  # and six more have nothing to add
            assert totals.usage == ReportedUsage(
                bytes_lan=7, bytes_webrtc=7, bytes_origin=50, segments=1, bytes_up=30, bytes_up_webrtc=20
            )


async def test_what_an_agent_shows_is_what_the_coordinator_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    async with opened(tmp_path) as running:
        mine = await running.enrolled()
        async with started(Path(mine.state_dir)) as agent:
            await agent.watch()
            await agent.play("1.ts")
            agent.system.router.route(agent.get("1.ts"))  # answered from memory
            totals = running.system.tracker.totals
            await running.until(lambda: totals.usage.segments == 2)
            assert totals.usage == ReportedUsage(bytes_origin=len(BODY), bytes_cache=len(BODY), segments=2)
            shown = agent.system.status()
            assert Usage(shown.bytes, shown.segments).reported() == totals.usage


async def test_a_beat_whose_answer_was_lost_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator takes the beat, and the connection breaks before the agent hears of it."""
    sent = AgentSocket.send

    def breaks_once(socket: AgentSocket, message: FromCoordinator) -> None:
        if isinstance(message, Alive):
            monkeypatch.setattr(AgentSocket, "send", sent)
            socket._transport.abort()
        else:
            sent(socket, message)

    monkeypatch.setattr(AgentSocket, "send", breaks_once)
    async with opened(tmp_path) as running, watching(await running.enrolled(), monkeypatch) as owner:
        totals = running.system.tracker.totals
        owner.watched(("lan", 100))
        await running.until(lambda: totals.usage.bytes_lan == 100)
        await running.until(lambda: totals.arrivals == 2)
        owner.watched(("lan", 11))
        await running.until(lambda: totals.usage.bytes_lan != 100)
        assert (totals.usage.bytes_lan, totals.usage.segments) == (111, 2)
