"""The web server of a real coordinator, on loopback with real TLS."""

import asyncio
import base64
import contextlib
import random
import socket
import sqlite3
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from cryptography import x509

from coordinator.core.registry import CLONED, Device
from coordinator.core.sites import read_map
from coordinator.io import clock
from coordinator.io.db import FILE
from coordinator.web.app import ROUTES, make_app
from ecdn_proxy.io.coordinator_client import CoordinatorLink, CoordinatorRefused, client_context, enrol, renew
from ecdn_proxy.io.identity import Identity, load_identity, new_keys_and_csr
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, pack
from ecdn_proxy.wire.enrolment import EnrolRequest
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.tracker import (
    Alive,
    Denied,
    FromAgent,
    FromCoordinator,
    Here,
    Neighbours,
    Network,
    Settings,
    Turned,
    Watch,
    Welcome,
    read_from_coordinator,
)
from ecdn_proxy.wire.usage import ReportedUsage
from ecdn_proxy.wire.version import PROTOCOL
from tests.coordinator.running import WAIT_S, RunningCoordinator, opened

pytestmark = pytest.mark.asyncio
STREAM = "a" * 32

PUBLIC = {
    "/healthz": "a load balancer asks it; says nothing but that the process answers",
    "/readyz": "the same for the database",
    "/metrics": "counts without names",
    "/v1/root": "a public certificate; a new device has no credential yet",
}
IN_BODY = {"/v1/enrol": "the token in the request is the credential"}


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningCoordinator]:
    async with opened(tmp_path) as one:
        yield one


class Agent:
    """An agent's link and what it has heard."""

    def __init__(self, identity: Identity, address: str) -> None:
        self.identity = identity
        self.heard: list[FromCoordinator] = []
        self.states: list[tuple[bool, str]] = []
        self._news = asyncio.Event()
        self._here = Here(PROTOCOL, "1.0", (Network(address, 8, "wired"),), 7688, True)
        self.link = CoordinatorLink(
            identity,
            owner=self,
            chance=random.Random(1),
        )
        self.link.start()

    def first_messages(self) -> Sequence[FromAgent]:
        return (self._here, Watch((STREAM,), True))

    def coordinator_said(self, message: FromCoordinator) -> None:
        self.heard.append(message)
        self._news.set()

    def coordinator_passed_over(self, tag: int) -> None:
        raise AssertionError(tag)

    def coordinator_changed(self, connected: bool, why: str) -> None:
        self.states.append((connected, why))
        self._news.set()

    async def until(self, true: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not true():
                await self._news.wait()
                self._news.clear()

    def near(self) -> set[str]:
        lists = [message for message in self.heard if isinstance(message, Neighbours)]
        return {near.contact.device for near in lists[-1].near} if lists else set()


async def test_every_route_needs_credentials_or_stands_on_the_public_list(running: RunningCoordinator) -> None:
    in_app = {(r.method, r.resource.canonical) for r in make_app(running.system).router.routes() if r.resource}
    assert in_app == {(route.method, route.path) for route in ROUTES}
    stranger = await running.enrolled()
    for route in ROUTES:
        path = route.path.replace("{device}", stranger.device)
        status, body, headers = await running.ask(route.method, path, data=b"{}" if route.method == "POST" else None)
        if route.path in PUBLIC:
            assert status == 200, route
        elif route.path in IN_BODY:
            assert (status, body["code"]) == (400, "bad-request"), route
        else:
            assert (status, headers["X-Ecdn-Refused"]) == (401, body["code"]), route
            assert body["code"] in {"no-certificate", "no-admin"}, route
            assert body["why"]
    status, _, _ = await running.ask("GET", "/api/v1/agents", stranger)
    assert status == 401, "a device is no administrator"


async def test_unknown_paths_and_methods_are_refused_in_json(running: RunningCoordinator) -> None:
    assert (await running.ask("GET", "/nothing"))[:2] == (404, {"code": "http", "why": "Not Found"})
    status, _, headers = await running.ask("GET", "/v1/enrol")
    assert (status, headers["Allow"]) == (405, "POST")


async def test_enrolment_gives_a_device_of_this_tenant(running: RunningCoordinator) -> None:
    identity = await running.enrolled()
    assert identity.tenant == running.system.authority.tenant
    assert len(identity.salt) == 64
    names = identity.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(n.value) for n in names] == [f"ecdn://{identity.tenant}/device/{identity.device}"]
    assert [device.device for device in [running.system.registry.get(identity.device)] if device] == [identity.device]


@pytest.mark.parametrize(
    ("token", "code"),
    [("wrong-token", "token-unknown"), ("old-token", "token-expired"), ("far-token", "token-elsewhere")],
)
async def test_tokens_that_do_not_enrol(running: RunningCoordinator, tmp_path: Path, token: str, code: str) -> None:
    await running.token("old-token", hours=-1)
    await running.token("far-token", networks="10.0.0.0/8")
    with pytest.raises(CoordinatorRefused) as caught:
        await enrol(running.url, running.sha256, token, tmp_path / "s", "1.0")
    assert caught.value.code == code
    assert load_identity(tmp_path / "s") is None


async def test_a_token_is_used_up_also_when_all_come_at_once(running: RunningCoordinator, tmp_path: Path) -> None:
    token = await running.token(uses=2)
    answers = await asyncio.gather(
        *(enrol(running.url, running.sha256, token, tmp_path / f"s{n}", "1.0") for n in range(5)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, CoordinatorRefused)]
    assert [answer.code for answer in refused] == ["token-used-up"] * 3
    assert len({answer.device for answer in answers if isinstance(answer, Identity)}) == 2
    assert running.system.refusals == {"token-used-up": 3}


async def test_a_wrong_root_hash_stops_before_the_token_is_sent(running: RunningCoordinator, tmp_path: Path) -> None:
    token = await running.token()
    with pytest.raises(CoordinatorRefused, match="tenant root") as caught:
        await enrol(running.url, "0" * 64, token, tmp_path / "s", "1.0")
    assert caught.value.code == "wrong-root"
    assert isinstance(await enrol(running.url, running.sha256.upper(), token, tmp_path / "s", "1.0"), Identity)


async def test_a_bad_csr_does_not_cost_a_use(running: RunningCoordinator) -> None:
    token = await running.token()
    keys, csr = new_keys_and_csr()
    bad = msgspec.json.encode(EnrolRequest(token, "nonsense", keys.signing_public(), "1"))
    assert (await running.ask("POST", "/v1/enrol", data=bad))[1]["code"] == "bad-csr"
    good = msgspec.json.encode(EnrolRequest(token, csr, keys.signing_public(), "1"))
    assert (await running.ask("POST", "/v1/enrol", data=good))[0] == 200


async def test_bodies_are_bounded(running: RunningCoordinator) -> None:
    assert (await running.ask("POST", "/v1/enrol", data=b"x" * 70_000))[0] == 413
    assert (await running.ask("POST", "/v1/enrol", data=b"\xff"))[0] == 400


async def test_one_source_may_enrol_only_so_often(tmp_path: Path) -> None:
    async with opened(tmp_path, enrol_per_minute=1) as running:
        assert (await running.ask("POST", "/v1/enrol", data=b"{}"))[0] == 400
        status, body, headers = await running.ask("POST", "/v1/enrol", data=b"{}")
        assert (status, body["code"]) == (429, "slow-down")
        assert 1 <= int(headers["Retry-After"]) <= 60
        with pytest.raises(Unavailable, match="too many"):
            await enrol(running.url, running.sha256, "whatever-token", tmp_path / "s", "1.0")


async def test_one_device_may_renew_only_so_often(tmp_path: Path) -> None:
    async with opened(tmp_path, enrol_per_minute=1) as running:
        identity = await renew(await running.enrolled(), "1.0")
        with pytest.raises(Unavailable, match="too many requests from device"):
            await renew(identity, "1.0")


async def test_a_wrong_admin_token_is_refused_whatever_its_bytes(running: RunningCoordinator) -> None:
    async with aiohttp.ClientSession() as session:
        for token in ("Bearer wrong", "Bearer \udcff", "Basic x", "Bearer"):
            headers = {"Authorization": token.encode(errors="surrogateescape").decode("latin-1")}
            async with session.get(running.url + "/api/v1/agents", headers=headers, ssl=running.trusting()) as response:
                assert response.status == 401


async def test_renewal_changes_keys_and_keeps_the_device(running: RunningCoordinator) -> None:
    first = await running.enrolled()
    second = await renew(first, "1.1")
    assert second.device == first.device
    assert second.keys != first.keys
    again = await renew(first, "1.1")
    assert again.device == first.device, "the answer was lost; the new key has not been seen"
    third = await renew(again, "1.2")
    found = running.system.registry.get(first.device)
    assert found is not None
    assert found.version == "1.2"
    with pytest.raises(CoordinatorRefused) as caught:
        await renew(second, "1.2")
    assert caught.value.code == CLONED, "a key that was replaced"
    with pytest.raises(CoordinatorRefused):
        await renew(third, "1.2")
    assert running.system.registry.denied(clock.utc()) == (first.device,)
    assert "ecdn_devices_suspended 1" in (await running.ask("GET", "/metrics"))[1]


async def test_an_ended_certificate_renews_within_the_grace_and_opens_nothing_else(
    running: RunningCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = await running.enrolled()
    real = clock.utc
    monkeypatch.setattr(clock, "utc", lambda: real() + 2 * 86_400)
    status, body, _ = await running.ask("GET", "/v1/agent", identity)
    assert (status, body["code"]) == (403, "certificate-ended")
    assert (await renew(identity, "1.0")).ends_utc > identity.ends_utc + 86_400
    monkeypatch.setattr(clock, "utc", lambda: real() + 20 * 86_400)
    with pytest.raises(CoordinatorRefused) as caught:
        await renew(identity, "1.0")
    assert caught.value.code == "grace-over"


async def test_an_ended_certificate_passes_tls_so_that_it_can_be_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clock.utc
    monkeypatch.setattr(clock, "utc", lambda: real() - 2 * 86_400)
    async with opened(tmp_path) as running:
        old = await running.enrolled()
        assert old.ends_utc < real()
        monkeypatch.setattr(clock, "utc", real)
        assert (await renew(old, "1.0")).ends_utc > real()


async def test_another_tenants_device_does_not_get_past_tls(running: RunningCoordinator, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with opened(tmp_path / "other") as other:
        foreign = await other.enrolled()
    context = running.trusting()
    foreign.load_into(context)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(running.url + "/healthz", ssl=context)
    with pytest.raises(Unavailable, match="not of this tenant"):
        await renew(msgspec.structs.replace(foreign, coordinator=running.url), "1.0")


async def test_a_device_that_the_database_does_not_know_is_refused(running: RunningCoordinator) -> None:
    identity = await running.enrolled()
    running.system.registry._devices.clear()
    status, body, _ = await running.ask("GET", "/v1/agent", identity)
    assert (status, body["code"]) == (403, "unknown-device")


async def test_tls_is_mozillas_intermediate(running: RunningCoordinator) -> None:
    def offers(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
        context = running.trusting()
        context.minimum_version = context.maximum_version = version
        context.set_ciphers(ciphers)
        return context

    async def cipher(context: ssl.SSLContext) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=context)
        chosen = writer.get_extra_info("cipher")
        writer.close()
        await writer.wait_closed()
        return str(chosen[0])

    assert (await cipher(offers(ssl.TLSVersion.TLSv1_3, "DEFAULT"))).startswith("TLS_")
    good = offers(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256")
    assert await cipher(good) == "ECDHE-ECDSA-AES128-GCM-SHA256"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await cipher(offers(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256:AES128-GCM-SHA256"))


async def test_three_agents_meet_and_one_leaves(running: RunningCoordinator) -> None:
    a, b, c = [Agent(await running.enrolled(), f"127.0.0.{n}") for n in (2, 3, 4)]
    names = {agent.identity.device for agent in (a, b, c)}
    for agent in (a, b, c):
        await agent.until(lambda agent=agent: agent.near() == names - {agent.identity.device})
    welcome = a.heard[0]
    assert isinstance(welcome, Welcome)
    assert (welcome.site, welcome.p2p) == ("127.0.0.0/8", "on")
    lists = [message for message in b.heard if isinstance(message, Neighbours)]
    assert set(lists[-1].committee) == names
    assert {near.contact.addresses for near in lists[-1].near} == {("127.0.0.2",), ("127.0.0.4",)}
    await c.link.close()
    await a.until(lambda: a.near() == {b.identity.device})
    assert a.link.send(Alive())
    await a.until(lambda: a.heard[-1] == Alive())
    for agent in (a, b):
        await agent.link.close()
    await running.until(lambda: len(running.system.tracker) == 0)
    assert "ecdn_arrivals_total 3" in (await running.ask("GET", "/metrics"))[1]


async def test_a_new_agent_does_not_wait_for_the_database(running: RunningCoordinator) -> None:
    """Its first socket is noted in the register's file, but later: a whole company comes at nine."""
    identity = await running.enrolled()
    file = running.folder / "data" / FILE
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        agent = Agent(identity, "10.0.0.1")
        await agent.until(lambda: any(isinstance(message, Welcome) for message in agent.heard))
        other.execute("ROLLBACK")

    async def noted() -> bool:
        return any(
            device.device == identity.device and device.key_seen for device in await running.system.db.devices(Device)
        )

    async with asyncio.timeout(WAIT_S):
        while not await noted():  # noqa: ASYNC110  # another process could write it
            await asyncio.sleep(0.05)
    await agent.link.close()


async def test_administrators_see_deny_and_allow(running: RunningCoordinator) -> None:
    a, b = [Agent(await running.enrolled(), f"127.0.0.{n}") for n in (2, 3)]
    await a.until(lambda: a.near() == {b.identity.device})
    status, body, _ = await running.ask("GET", "/api/v1/agents", admin=True)
    assert (status, body["count"]) == (200, 2)
    assert {row["device"] for row in body["agents"]} == {a.identity.device, b.identity.device}
    assert body["agents"][0]["streams"] == [STREAM]
    path = f"/api/v1/agents/{b.identity.device}"
    status, body, _ = await running.ask("POST", path + "/deny", data=b'{"why": "stolen"}', admin=True)
    assert (status, body["state"], body["why"]) == (200, "denied", "stolen")
    await a.until(lambda: Denied((b.identity.device,)) in a.heard and a.near() == set())
    await b.until(lambda: any(isinstance(message, Turned) and message.code == "denied" for message in b.heard))
    status, body, _ = await running.ask("GET", "/v1/agent", b.identity)
    assert (status, body) == (403, {"code": "denied", "why": "stolen"})
    with pytest.raises(CoordinatorRefused, match="stolen"):
        await renew(b.identity, "1.0")
    await a.link.close()
    await b.link.close()
    assert (await running.ask("POST", path + "/allow", admin=True))[1]["state"] == "live"
    assert isinstance(await renew(b.identity, "1.0"), Identity)
    assert (await running.ask("POST", "/api/v1/agents/nobody/allow", admin=True))[0] == 404
    assert (await running.ask("POST", "/api/v1/agents/nobody/deny", admin=True))[0] == 404
    assert (await running.ask("POST", path + "/deny", data=b"[]", admin=True))[0] == 400


async def test_the_register_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        identity, denied = await running.enrolled(), await running.enrolled()
        await running.system.deny(denied.device, "stolen")
    async with opened(tmp_path) as running:
        again = msgspec.structs.replace(identity, coordinator=running.url)
        assert (await renew(again, "1.0")).salt == identity.salt
        with pytest.raises(CoordinatorRefused, match="stolen"):
            await renew(msgspec.structs.replace(denied, coordinator=running.url), "1.0")


async def test_settings_and_maps_reach_agents_that_are_connected(tmp_path: Path) -> None:
    async with opened(tmp_path, agents={"upload_mbps_max": 5}) as running:
        agent = Agent(await running.enrolled(), "127.0.0.2")
        assert agent.identity.settings == {"upload_mbps_max": 5}
        await agent.until(lambda: len(agent.heard) > 0)
        welcome = agent.heard[0]
        assert isinstance(welcome, Welcome)
        assert welcome.settings == {"upload_mbps_max": 5}
        running.system.apply_settings({"upload_mbps_max": 9})
        await agent.until(lambda: Settings({"upload_mbps_max": 9}) in agent.heard)
        text = "group,subnets,p2p,wan,label\nHere,127.0.0.0/8,off,no,\n"
        await running.system.db.put_map("m.csv", text, clock.utc())
        await running.system.refresh_map()
        await agent.until(lambda: any(isinstance(m, Welcome) and m.site == "Here" for m in agent.heard))
        assert running.system.tracker.sites is not None
        assert running.system.tracker.sites.rows == read_map(text, "m.csv").rows
        await agent.link.close()


async def test_a_rule_of_the_configuration_joins_sites(tmp_path: Path) -> None:
    async with opened(tmp_path, wan_peers=[["Here", "There"]]) as running:
        agent = Agent(await running.enrolled(), "127.0.0.2")
        text = "group,subnets,p2p,wan,label\nHere,127.0.0.0/16,on,no,\nThere,127.1.0.0/16,on,no,\n"
        await running.system.db.put_map("m.csv", text, clock.utc())
        await running.system.refresh_map()
        await agent.until(lambda: any(isinstance(m, Welcome) and m.site == "Here + There" for m in agent.heard))
        welcome = next(m for m in agent.heard if isinstance(m, Welcome) and m.site == "Here + There")
        assert welcome.networks == ("127.0.0.0/16", "127.1.0.0/16")
        assert "across the WAN" in welcome.why
        await agent.link.close()


async def _socket(running: RunningCoordinator, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    context = client_context(await running.enrolled())
    return await session.ws_connect(running.url + "/v1/agent", ssl=context, max_msg_size=FRAME_BYTES_MAX)


HERE = pack(Here(PROTOCOL, "1.0", (Network("127.0.0.2", 8, "wired"),), 7688, True))


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([b"\xc1"], "no message of this protocol"),
        ([pack(Watch((STREAM,), True))], "Watch before Here"),
        ([pack(Here(PROTOCOL, "1", (Network("nowhere", 8, "wired"),), 7688, True))], "a network that is none"),
        ([HERE, "text"], "a text message"),
        ([HERE, b"x" * (FRAME_BYTES_MAX + 1)], "a message of more than 65536 bytes"),
        ([pack(Here(PROTOCOL + 1, "1", (), 7688, True))], "protocol"),
        ([HERE, *[pack(Watch((STREAM,), True))] * 700], "more messages"),
    ],
    ids=["garbage", "watch-first", "no-address", "text", "oversize", "protocol", "flood"],
)
async def test_what_breaks_the_protocol_is_turned_away(
    running: RunningCoordinator, frames: list[bytes | str], why: str
) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
        ws = await _socket(running, session)
        try:
            for frame in frames:
                await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))
        except ConnectionError:
            pass
        told: list[FromCoordinator] = [
            read_from_coordinator(message.data) async for message in ws if message.type is aiohttp.WSMsgType.BINARY
        ]
        turned = [message for message in told if isinstance(message, Turned)]
        assert ws.closed
        assert why in turned[-1].why
    await running.until(lambda: len(running.system.performer.sockets) == 0)
    assert len(running.system.tracker) == 0
    assert running.system.faults == 0


async def test_what_a_later_agent_says_is_passed_over(running: RunningCoordinator) -> None:
    unknown = b"\x92\xcc\xfa\x01"
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
        ws = await _socket(running, session)
        for frame in (unknown, HERE, unknown, pack(Alive()), unknown, pack(Alive())):
            await ws.send_bytes(frame)
        heard: list[FromCoordinator] = []
        while heard.count(Alive()) < 2:
            heard.append(read_from_coordinator(await ws.receive_bytes()))
        assert not any(isinstance(message, Turned) for message in heard)
        assert len(running.system.tracker) == 1
    assert "ecdn_messages_passed_over_total 3\n" in (await running.ask("GET", "/metrics"))[1]


async def test_a_silent_socket_is_closed(running: RunningCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.core.limits.HERE_WITHIN_S", 0.05)
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
        ws = await _socket(running, session)
        turned = read_from_coordinator(await ws.receive_bytes())
        assert isinstance(turned, Turned)
        assert turned.code == "silent"


@pytest.mark.parametrize(
    "said", [b"", b"GET /healthz HT", b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_connection_that_asks_nothing_whole_is_closed(
    running: RunningCoordinator, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Each holds a place that an agent could have."""
    monkeypatch.setattr("coordinator.core.limits.ANSWER_WITHIN_S", 0.3)
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
        ws = await _socket(running, session)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=running.trusting())
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + said)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        writer.close()
        await ws.send_bytes(HERE)
        assert isinstance(read_from_coordinator(await ws.receive_bytes()), Welcome), "an agent's stays"


async def test_a_connection_without_tls_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("coordinator.core.limits.HANDSHAKE_S", 0.3)
    async with opened(tmp_path) as running, asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        assert await reader.read() == b""
        writer.close()


async def test_a_dead_socket_disappears_by_its_heartbeat(
    running: RunningCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.core.limits.HEARTBEAT_S", 0.2)
    async with aiohttp.ClientSession() as session:
        context = client_context(await running.enrolled())
        ws = await session.ws_connect(running.url + "/v1/agent", ssl=context, autoping=False)
        await ws.send_bytes(HERE)
        await running.until(lambda: len(running.system.tracker) == 1)
        await running.until(lambda: len(running.system.tracker) == 0)


async def test_an_agent_that_does_not_read_is_let_go(
    running: RunningCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.core.limits.QUEUE_MESSAGES_MAX", 4)
    context = client_context(await running.enrolled())
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.connect(("127.0.0.1", running.server.port))
    reader, writer = await asyncio.open_connection(sock=plain, ssl=context, server_hostname="127.0.0.1", limit=4_096)
    writer.write(OPENING + client_frame(HERE))
    await running.until(lambda: len(running.system.tracker) == 1)
    for number in range(1_000):  # of 16 KB each: more than any socket takes by itself
        running.system.apply_settings({"number": number, "much": "x" * 16_000})
        await asyncio.sleep(0)
        if len(running.system.performer.sockets) == 0:
            break
    await running.until(lambda: len(running.system.performer.sockets) == 0)
    assert len(running.system.tracker) == 0
    writer.transport.abort()
    del reader


OPENING = (
    b"GET /v1/agent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: DclR5tqbWl81FIMfWZBQAA==\r\n\r\n"
)


def client_frame(body: bytes) -> bytes:
    """One message, masked with zeros."""
    return bytes((0x82, 0x80 | len(body))) + bytes(4) + body


async def test_an_opening_may_come_in_pieces_and_with_what_follows_it(running: RunningCoordinator) -> None:
    context = client_context(await running.enrolled())
    said = OPENING + client_frame(HERE)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=context)
    for piece in (said[:9], said[9:30], said[30:]):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    async with asyncio.timeout(WAIT_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        head = await reader.readexactly(2)
        body = await reader.readexactly(head[1] if head[1] < 126 else int.from_bytes(await reader.readexactly(2)))
    assert isinstance(read_from_coordinator(body), Welcome)
    writer.close()


async def test_an_agents_ping_is_answered(running: RunningCoordinator) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
        ws = await session.ws_connect(
            running.url + "/v1/agent", ssl=client_context(await running.enrolled()), autoping=False
        )
        await ws.ping(b"there?")
        answer = await ws.receive()
        assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"there?")
        await ws.close()
        assert ws.close_code == 1000


async def test_what_is_no_opening_of_a_socket_is_refused(running: RunningCoordinator) -> None:
    identity = await running.enrolled()
    status, body, headers = await running.ask("GET", "/v1/agent", identity)
    assert (status, body["code"], headers["X-Ecdn-Refused"]) == (400, "no-websocket", "no-websocket")
    async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_S):
        context = client_context(identity)
        async with session.get(running.url + "/healthz", ssl=context) as response:
            assert response.status == 200
        async with session.get(running.url + "/v1/agent", ssl=context) as response:  # on the same connection
            assert (response.status, (await response.json())["code"]) == (400, "not-first")
    for head in (b"GET /v1/agent HTTP/1.1\r\nX: " + b"x" * 20_000, b"GET /v1/agent \xff\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=client_context(identity))
        writer.write(head)
        async with asyncio.timeout(WAIT_S):
            assert (await reader.read()).startswith(b"HTTP/1.")
        writer.close()
    assert running.system.faults == 0


async def test_agents_meet_on_the_loop_of_production(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop", reason="not on Windows")

    async def meet() -> None:
        async with opened(tmp_path) as running:
            agents = [Agent(await running.enrolled(), f"127.0.0.{2 + number}") for number in range(3)]
            for agent in agents:
                others = {other.identity.device for other in agents} - {agent.identity.device}
                await agent.until(lambda agent=agent, others=others: agent.near() == others)
            assert (await running.ask("GET", "/healthz"))[0] == 200
            assert (await running.ask("GET", "/v1/agent"))[0] == 401
            for agent in agents:
                await agent.link.close()
            await running.until(lambda: len(running.system.performer.sockets) == 0)
            assert running.system.faults == 0

    def on_uvloop() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(meet())

    await asyncio.to_thread(on_uvloop)


async def test_closing_tells_every_agent(tmp_path: Path) -> None:
    async with opened(tmp_path) as running:
        agent = Agent(await running.enrolled(), "127.0.0.2")
        await agent.until(lambda: len(agent.heard) > 0)
    await agent.until(lambda: any(isinstance(m, Turned) and m.code == "closing" for m in agent.heard))
    await agent.until(lambda: not agent.states[-1][0])
    await agent.link.close()


async def test_the_servers_certificate_is_read_by_name_and_address(running: RunningCoordinator) -> None:
    async with aiohttp.ClientSession() as session:
        for host in ("localhost", "127.0.0.1"):
            url = f"https://{host}:{running.server.port}/healthz"
            async with session.get(url, ssl=running.trusting()) as response:
                assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(running.url + "/healthz", ssl=running.trusting(), server_hostname="other.example")


async def test_garbage_on_the_port_leaves_no_traceback(
    running: RunningCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""):
        _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(noise)
        writer.close()
    _, writer = await asyncio.open_connection("127.0.0.1", running.server.port, ssl=running.trusting())
    writer.write(b"\x00\xff nonsense\r\n\r\n")
    await writer.drain()
    writer.close()
    assert (await running.ask("GET", "/readyz"))[0] == 200
    assert "Traceback" not in capsys.readouterr().err


async def test_metrics_are_all_that_agents_report_to_the_last_byte(running: RunningCoordinator) -> None:
    agent = Agent(await running.enrolled(), "127.0.0.2")
    await agent.until(lambda: len(agent.heard) > 0)
    usage = ReportedUsage(*(123_456_700_000 + number for number in range(len(ReportedUsage.__struct_fields__))))
    assert agent.link.send(usage.beat(1, (), links_tls=0, links_webrtc=0))
    await running.until(lambda: running.system.tracker.totals.usage == usage)
    metrics = (await running.ask("GET", "/metrics"))[1]
    for name in ReportedUsage.__struct_fields__:
        assert f" {getattr(usage, name)}\n" in metrics, name
    await agent.link.close()


async def test_readiness_follows_the_database(running: RunningCoordinator) -> None:
    await running.system.db.close()
    (running.folder / "data" / "coordinator.sqlite").rename(running.folder / "gone")
    (running.folder / "data" / "coordinator.sqlite").mkdir()
    status, body, _ = await running.ask("GET", "/readyz")
    assert (status, body["code"]) == (503, "database")
    assert (await running.ask("GET", "/healthz"))[0] == 200
    (running.folder / "data" / "coordinator.sqlite").rmdir()


async def test_certificates_last_a_day(running: RunningCoordinator) -> None:
    identity = await running.enrolled()
    life = datetime.fromtimestamp(identity.ends_utc, UTC) - datetime.now(UTC)
    assert 86_300 < life.total_seconds() <= 86_400
    assert base64.b64decode(identity.keys.signing_public())


async def test_a_fault_of_ours_is_told_without_its_inside(
    running: RunningCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr(running.system, "enrol", broken)
    keys, csr = new_keys_and_csr()
    data = msgspec.json.encode(EnrolRequest("token-token", csr, keys.signing_public(), "1"))
    status, body, _ = await running.ask("POST", "/v1/enrol", data=data)
    assert (status, body["code"]) == (500, "fault")
    assert "inside" not in body["why"].replace("its inside", "")
    assert running.system.faults == 1
    assert "secret inside" in "".join(capsys.readouterr())


async def test_an_imported_map_is_taken_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.service.system.POLL_S", 0.01)
    (tmp_path / "map.csv").write_text("group,subnets,p2p,wan,label\nHere,127.0.0.0/8,on,no,\n")
    async with opened(tmp_path, sites=str(tmp_path / "map.csv")) as running:
        assert running.system.tracker.sites is not None
        text = "group,subnets,p2p,wan,label\nHere,127.0.0.0/8,leech,no,\nB,10.0.0.0/8,on,no,\n"
        await running.system.db.put_map("m.csv", text, clock.utc())
        sites = running.system.tracker.sites
        await running.until(lambda: running.system.tracker.sites is not sites)
        assert len(running.system.tracker.sites.rows) == 2


async def test_a_device_that_does_not_renew_is_parted_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.service.system.POLL_S", 0.01)
    async with opened(tmp_path) as running:
        agent = Agent(await running.enrolled(), "127.0.0.2")
        await agent.until(lambda: agent.heard)
        real = clock.utc
        monkeypatch.setattr(clock, "utc", lambda: real() + 2 * 86_400)
        await agent.until(lambda: any(isinstance(m, Turned) and m.code == "certificate-ended" for m in agent.heard))
        await agent.link.close()
