"""Offers through a real coordinator: they arrive as they were sent, and what is refused leaves a line for the audit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from ecdn_proxy.wire.signalling import Bye, Offer, Undeliverable
from ecdn_proxy.wire.tracker import Beat
from tests.coordinator.running import RunningCoordinator, opened
from tests.coordinator.test_web import Agent

pytestmark = pytest.mark.asyncio
ATTEMPT = "ab" * 8


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningCoordinator]:
    async with opened(tmp_path) as one:
        yield one


async def test_an_offer_arrives_and_a_false_sender_leaves_an_audit_line(running: RunningCoordinator) -> None:
    a, b = [Agent(await running.enrolled(), f"127.0.0.{n}") for n in (2, 3)]
    first, second = a.identity.device, b.identity.device
    await a.until(lambda: a.near() == {second})
    await b.until(lambda: b.near() == {first})
    offer = Offer(second, first, ATTEMPT, "v=0\r\n" * 100, bytes(16), 1e9, bytes(64), b"certificate")
    assert a.link.send(offer)
    await b.until(lambda: b.heard[-1] == offer)
    with structlog.testing.capture_logs() as logs:
        assert a.link.send(Bye(first, second, ATTEMPT, "in b's name"))
        await a.until(lambda: isinstance(a.heard[-1], Undeliverable))
        await b.link.close()
        await running.until(lambda: len(running.system.tracker) == 1)
        assert a.link.send(offer)
        await a.until(lambda: [type(it) for it in a.heard].count(Undeliverable) == 2)
    audit = [(it["device"], it["to"], it["code"]) for it in logs if it["event"] == "signal refused"]
    assert audit == [(first, first, "not-you"), (first, second, "unknown-device")]
    assert not any("v=0" in str(it) or "in b's name" in str(it) for it in logs), "what was said is nobody's business"
    metrics = (await running.ask("GET", "/metrics"))[1]
    assert 'ecdn_signals_total{outcome="relayed"} 1' in metrics
    assert 'ecdn_signals_total{outcome="refused"} 2' in metrics
    await asyncio.gather(a.link.close())


async def test_beats_say_what_carries_the_links(running: RunningCoordinator) -> None:
    agent = Agent(await running.enrolled(), "127.0.0.2")
    await agent.until(lambda: len(agent.heard) > 0)
    assert agent.link.send(Beat(1, 0, 100, 0, 50, 3, (), 3, 1, 40, 20))
    await running.until(lambda: running.system.tracker.totals.usage.segments == 3)
    metrics = (await running.ask("GET", "/metrics"))[1]
    for line in (
        'ecdn_link_ends{kind="tls"} 3',
        'ecdn_link_ends{kind="webrtc"} 1',
        'ecdn_webrtc_bytes_total{way="in"} 40',
        'ecdn_webrtc_bytes_total{way="up"} 20',
        'ecdn_viewer_bytes_total{source="lan"} 100',
    ):
        assert line in metrics
    (shown,) = (await running.ask("GET", "/api/v1/agents", admin=True))[1]["agents"]
    assert shown["links"] == {"tls": 3, "webrtc": 1}
    await agent.link.close()
