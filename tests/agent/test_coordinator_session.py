"""What the coordinator says becomes events and conditions, and what was counted its beats; no coordinator is there."""

import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from coordinator.io.ca import Authority
from ecdn_proxy.agent.coordinator_session import CoordinatorSession, SessionEvents
from ecdn_proxy.core import events
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import (
    Alive,
    Beat,
    Denied,
    FromAgent,
    Here,
    Near,
    Neighbours,
    Network,
    Settings,
    Turned,
    Watch,
    Welcome,
)
from tests.agent.test_signer import identity
from tests.core.makers import KEY, contact
from tests.core.world import STREAM

pytestmark = pytest.mark.asyncio

NOW = 1_800_000_000.0


class Desk:
    def __init__(self, mine: Identity) -> None:
        self.meter = Meter(50)
        self.told: list[tuple[object, ...]] = []
        self.uploaded = (0, 0)
        self.utc = NOW
        self.sent: list[FromAgent] = []

        def note(name: str) -> Callable[..., None]:
            return lambda *what: self.told.append((name, *what))

        told = SessionEvents(
            feed=note("feed"),
            raise_condition=note("raise"),
            clear_condition=note("clear"),
            conditions=lambda: tuple(f"code-{number}" for number in range(40)),
            uploaded_bytes=lambda: self.uploaded,
            links=lambda: (2, 1),
            site_changed=note("site"),
            settings_changed=note("settings"),
            renewed=note("renewed"),
            switchboard=note("switchboard"),
            signalled=note("signalled"),
            utc=lambda: self.utc,
        )
        self.reporter = CoordinatorSession(
            mine, version="1.0", networks=(), peer_port=7688, meter=self.meter, told=told, chance=random.Random(1)
        )
        self.reporter.link.send = lambda message: bool(self.sent.append(message)) or True  # type: ignore[method-assign, func-returns-value]


@pytest_asyncio.fixture
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    authority = Authority.open(tmp_path_factory.mktemp("tenant"), NOW)
    one = Desk(identity(authority, "me"))
    yield one
    await one.reporter.link.close()


def near(device: str) -> Near:
    return Near(Contact(device, ("10.0.0.1",), 7688), "same subnet")


async def test_what_the_coordinator_says_is_told(desk: Desk) -> None:
    hear = desk.reporter._heard
    hear(Neighbours(STREAM, ("ann",), (near("ann"), near("me"))))
    hear(Denied(("eve",)))
    welcome, settings = Welcome("s", "office", "on", "", {}), Settings({"sharing": False})
    hear(welcome)
    hear(settings)
    hear(Turned("denied", "so", 60.0))
    hear(Alive())
    assert desk.told == [
        ("feed", events.TrackerSaid(STREAM, ("ann",), ((contact("ann"), "same subnet"),))),
        ("feed", events.DevicesDenied(frozenset({"eve"}))),
        ("site", welcome),
        ("settings", settings),
    ]


async def test_a_coordinator_that_comes_and_goes_is_a_condition(desk: Desk) -> None:
    desk.reporter._state(False, "refused")
    assert {*desk.told} == {
        ("feed", events.TrackerChanged(False)),
        ("switchboard", False),
        ("raise", "coordinator-away", "refused"),
    }
    desk.told.clear()
    desk.reporter._state(True, "connected")
    assert {*desk.told} == {
        ("feed", events.TrackerChanged(True)),
        ("switchboard", True),
        ("clear", "coordinator-away"),
    }
    assert desk.reporter.why == "connected"


async def test_each_new_connection_begins_with_who_we_are_and_what_we_watch(desk: Desk) -> None:
    desk.reporter.announce((STREAM,), False, True)
    assert desk.sent == [Watch((STREAM,), False, isolated=True)]
    here, watch = desk.reporter._begin()
    assert isinstance(here, Here)
    assert (here.peer_port, here.serves, watch) == (7688, False, Watch((STREAM,), False, isolated=True))


async def test_a_machine_that_moved_says_where_it_is_now(desk: Desk) -> None:
    desk.reporter.announce((STREAM,), True, False)
    desk.sent.clear()
    now = (Network("10.1.7.7", 16, "wifi"),)
    desk.reporter.moved(now)
    here, watch = desk.sent
    assert isinstance(here, Here)
    assert (here.networks, watch) == (now, Watch((STREAM,), True))


async def test_a_beat_tells_what_came_since_the_last(desk: Desk) -> None:
    desk.meter.served(
        events.Served(KEY, STREAM, "v1", 1, "lan", "so", 1.0, (("lan", 5), ("webrtc", 7), ("origin", 3))), 0.0
    )
    desk.uploaded = (100, 60)
    desk.reporter._beat()
    desk.uploaded = (40, 70)  # the node was started anew
    desk.reporter._beat()
    first, second = desk.sent
    assert isinstance(first, Beat)
    assert isinstance(second, Beat)
    assert (first.sequence, first.bytes_lan, first.bytes_origin, first.bytes_up, first.segments) == (1, 12, 3, 100, 1)
    assert (first.links_tls, first.links_webrtc, first.bytes_webrtc, first.bytes_up_webrtc) == (2, 1, 7, 60)
    assert (second.bytes_webrtc, second.bytes_up_webrtc) == (0, 10)
    assert (second.sequence, second.bytes_lan, second.bytes_up, len(second.conditions)) == (2, 0, 0, 32)


async def test_a_certificate_that_has_ended_is_said_and_renewed_when_somebody_answers(desk: Desk) -> None:
    await desk.reporter._renew_if_due()
    assert desk.told == []
    desk.utc = NOW + 86_400.0 + 1.0
    await desk.reporter._renew_if_due()
    assert [it[:2] for it in desk.told] == [("raise", "certificate-ended")]
