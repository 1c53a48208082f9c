"""The agent's side of the coordinator, against a real one on loopback."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from ecdn_proxy.io import coordinator_client as coordinator
from ecdn_proxy.io.coordinator_client import (
    REFUSED_RETRY_S,
    CoordinatorLink,
    CoordinatorRefused,
    client_context,
    enrol,
    renew,
    renewal_due,
    retry_wait_s,
)
from ecdn_proxy.io.identity import Identity, load_identity
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.enrolment import Enrolled
from ecdn_proxy.wire.faults import PeerMisbehaved, Unavailable
from ecdn_proxy.wire.tracker import Alive, FromAgent, FromCoordinator, Here, Network, Turned, Welcome
from ecdn_proxy.wire.version import PROTOCOL
from tests.coordinator.running import WAIT_S, RunningCoordinator, opened

pytestmark = pytest.mark.asyncio


class Side:
    """A link, what it tells, and a sleep that a test lets end."""

    def __init__(self, identity: Identity) -> None:
        self.messages: list[FromCoordinator] = []
        self.states: list[tuple[bool, str]] = []
        self.passed_over: list[int] = []
        self.waits: list[float] = []
        self.broken = False
        self._news = asyncio.Event()
        self._awake = asyncio.Event()
        self.link = CoordinatorLink(
            identity,
            owner=self,
            chance=random.Random(7),
            sleep=self._sleep,
        )
        self.link.start()

    def wake(self) -> None:
        self._awake.set()

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._news.set()
        await self._awake.wait()
        self._awake.clear()

    def first_messages(self) -> Sequence[FromAgent]:
        return (Here(PROTOCOL, "1.0", (Network("127.0.0.2", 8, "wired"),), 7688, True),)

    def coordinator_said(self, message: FromCoordinator) -> None:
        self.messages.append(message)
        self._news.set()
        if self.broken:
            raise ZeroDivisionError("ours")

    def coordinator_passed_over(self, tag: int) -> None:
        self.passed_over.append(tag)

    def coordinator_changed(self, connected: bool, why: str) -> None:
        self.states.append((connected, why))
        self._news.set()

    async def until(self, true: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not true():
                await self._news.wait()
                self._news.clear()


async def test_enrolled_is_on_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity = await running.enrolled()
        assert load_identity(tmp_path / "state1") == identity
        renewed = await renew(identity, "1.0")
        assert load_identity(tmp_path / "state1") == renewed != identity


async def test_a_disk_that_takes_nothing_costs_no_token(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        token = await running.token()
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="file"):
            await enrol(running.url, running.sha256, token, tmp_path / "file", "1.0")
        assert (await enrol(running.url, running.sha256, token, tmp_path / "s", "1.0")).device


async def test_by_name_as_well_as_by_address(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        url = f"https://localhost:{running.server.port}/"
        identity = await enrol(url, running.sha256, await running.token(), tmp_path / "s", "1.0")
        assert identity.coordinator == url.rstrip("/")
        assert (await renew(identity, "1.0")).device == identity.device


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        url = running.url
    for wrong in (url, "https://", "no url"):
        with pytest.raises(Unavailable):
            await enrol(wrong, "0" * 64, "token-token", tmp_path / "s", "1.0")


@pytest.mark.parametrize(
    ("path", "body", "status", "fault", "why"),
    [
        ("/v1/root", b"<html>", 200, PeerMisbehaved, "no certificate"),
        ("/v1/root", b"\xff", 200, PeerMisbehaved, "no certificate"),
        ("/v1/root", b"x", 404, Unavailable, "answers 404"),
        ("/v1/root", b"x" * 300_000, 200, PeerMisbehaved, "more than"),
        ("/v1/enrol", b"{}", 200, PeerMisbehaved, "no identity"),
        ("/v1/enrol", b"<html>", 502, Unavailable, "answers 502"),
        ("/v1/enrol", b"<html>", 403, CoordinatorRefused, "answers 403"),
    ],
)
async def test_something_else_that_answers(
    tmp_path: Path, path: str, body: bytes, status: int, fault: type[Exception], why: str
) -> None:
    async with opened(tmp_path) as running:

        async def odd(_request: web.Request) -> web.Response:
            return web.Response(body=body, status=status)

        async def root(_request: web.Request) -> web.Response:
            return web.Response(text=running.system.authority.root_pem)

        app = web.Application()
        app.router.add_post("/v1/enrol", odd)
        app.router.add_get("/v1/root", odd if path == "/v1/root" else root)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=running.server._context)
        await site.start()
        try:
            url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            with pytest.raises(fault, match=why):
                await enrol(url, running.sha256, "token-token", tmp_path / "s", "1.0")
        finally:
            await runner.cleanup()


async def test_an_identity_of_another_tenant_or_device_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with opened(tmp_path) as running, opened(tmp_path / "other") as other:
        mine, foreign, third = await running.enrolled(), await other.enrolled(), await running.enrolled()
        given = [
            Enrolled(i.device, i.tenant, i.certificate_pem, i.tenant_root_pem, i.salt, {}) for i in (foreign, third)
        ]

        async def odd(request: web.Request) -> web.Response:
            body = given[0] if request.path == "/v1/enrol" else given[1]
            return web.Response(body=msgspec.json.encode(body))

        async def root(_request: web.Request) -> web.Response:
            return web.Response(text=running.system.authority.root_pem)

        app = web.Application()
        app.router.add_post("/v1/enrol", odd)
        app.router.add_post("/v1/renew", odd)
        app.router.add_get("/v1/root", root)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=running.server._context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            with pytest.raises(PeerMisbehaved, match="another tenant"):
                await enrol(url, running.sha256, "token-token", tmp_path / "s", "1.0")
            with pytest.raises(PeerMisbehaved, match="another device"):
                await renew(msgspec.structs.replace(mine, coordinator=url), "1.0")
        finally:
            await runner.cleanup()
        assert load_identity(tmp_path / "s") is None
        assert load_identity(tmp_path / "state1") == mine


async def test_renewal_is_due_at_two_thirds(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity = await running.enrolled()
    life = identity.ends_utc - identity.starts_utc
    assert not renewal_due(identity, identity.starts_utc + life * 0.66)
    assert renewal_due(identity, identity.starts_utc + life * 0.67)


async def test_waits_double_with_jitter_between_one_second_and_a_minute() -> None:
    chance = random.Random(3)
    for failures in range(20):
        ceiling = min(60, 2**failures)
        waits = [retry_wait_s(failures, chance) for _ in range(50)]
        assert min(waits) >= max(1, ceiling / 2)
        assert max(waits) <= ceiling
    assert len(set(waits)) == 50


async def test_the_link_comes_back_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity = await running.enrolled()
        side = Side(identity)
        assert not side.link.send(Alive()), "not connected yet"
        await side.until(lambda: any(isinstance(message, Welcome) for message in side.messages))
        assert side.link.connected
        assert side.states == [(True, f"connected to {running.url}")]
        running.system.disconnect_all("maintenance", 30.0)
        await side.until(lambda: side.waits)
        assert side.states[-1] == (False, "maintenance")
        assert side.waits == [30.0], "the coordinator's least wait"
        side.messages.clear()
        side.wake()
        await side.until(lambda: any(isinstance(message, Welcome) for message in side.messages))
        await side.link.close()
        await running.until(lambda: len(running.system.tracker) == 0)


async def test_a_coordinator_that_is_away_is_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity = await running.enrolled()
    side = Side(identity)
    for number in range(4):
        await side.until(lambda number=number: len(side.waits) == number + 1)
        side.wake()
    assert side.states
    assert all(not connected and "cannot be reached" in why for connected, why in side.states)
    assert side.waits[3] > side.waits[0]
    await side.link.close()


async def test_a_denied_device_waits_long(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity = await running.enrolled()
        await running.system.deny(identity.device, "stolen")
        side = Side(identity)
        await side.until(lambda: side.waits)
        assert side.states == [(False, "the coordinator refuses this device (denied)")]
        assert side.waits == [REFUSED_RETRY_S]
        await side.link.close()


async def test_a_renewed_identity_is_used_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity = await running.enrolled()
        side = Side(identity)
        await side.until(lambda: side.messages)
        renewed = await renew(identity, "1.0")
        side.messages.clear()
        side.link.use(renewed)
        await side.until(lambda: side.messages and side.link.connected)
        assert side.waits == []
        found = running.system.registry.get(identity.device)
        assert found is not None
        assert found.key_seen, "the coordinator has seen the new key"
        await side.link.close()


async def test_a_fault_in_a_callback_ends_the_socket_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        side = Side(await running.enrolled())
        side.broken = True
        await side.until(lambda: side.waits)
        assert side.states[-1] == (False, "a fault of this agent: ZeroDivisionError('ours')")
        side.broken = False
        side.wake()
        await side.until(lambda: side.link.connected)
        await side.link.close()


async def _fake(running: RunningCoordinator, handler: Any) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_get("/v1/agent", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=running.server._context).start()
    return runner, f"https://127.0.0.1:{runner.addresses[0][1]}"


@pytest.mark.parametrize("mode", ["text", "garbage", "oversize", "silence", "502"])
async def test_a_coordinator_that_misbehaves_is_left(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "HEARTBEAT_S", 0.2)

    async def odd(request: web.Request) -> web.StreamResponse:
        if mode == "502":
            return web.Response(status=502)
        ws = web.WebSocketResponse(autoping=mode != "silence")
        await ws.prepare(request)
        match mode:
            case "text":
                await ws.send_str("hello")
            case "garbage":
                await ws.send_bytes(b"\xc1")
            case "oversize":
                await ws.send_bytes(b"x" * 70_000)
        async for _ in ws:
            pass
        return ws

    async with opened(tmp_path) as running:
        identity = await running.enrolled()
        runner, url = await _fake(running, odd)
        side = Side(msgspec.structs.replace(identity, coordinator=url))
        await side.until(lambda: side.waits)
        said = {"text": "TEXT frame", "garbage": "no message", "502": "answers 502"}
        assert said.get(mode, "") in side.states[-1][1]
        assert not side.states[-1][0]
        assert side.messages == []
        await side.link.close()
        await runner.cleanup()


async def test_what_a_later_coordinator_says_is_passed_over(tmp_path: Path) -> None:
    async def later(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for body in (pack(Alive()), b"\x92\xcc\xfa\x01", pack(Alive()), b"\x91\xcc\xfb", pack(Alive())):
            await ws.send_bytes(body)
        async for _ in ws:
            pass
        return ws

    async with opened(tmp_path) as running:
        identity = await running.enrolled()
        runner, url = await _fake(running, later)
        side = Side(msgspec.structs.replace(identity, coordinator=url))
        await side.until(lambda: len(side.messages) == 3)
        assert side.messages == [Alive()] * 3
        assert side.passed_over == [250], "told once"
        assert side.link.passed_over == 2
        assert side.link.connected
        await side.link.close()
        await runner.cleanup()


async def test_messages_wait_in_a_bounded_queue(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        side = Side(await running.enrolled())
        await side.until(lambda: side.messages)
        sent = [side.link.send(Alive()) for _ in range(coordinator.QUEUE_MESSAGES_MAX + 5)]
        assert sent.count(False) == 5
        await side.until(lambda: side.messages.count(Alive()) == coordinator.QUEUE_MESSAGES_MAX)
        await side.link.close()
        assert not any(isinstance(message, Turned) for message in side.messages)


async def test_the_pinned_root_is_all_that_is_trusted(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity = await running.enrolled()
    context = client_context(identity)
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname
