"""What origins and neighbours may do to an agent: two viewers play a good stream all the while, and never notice."""

import asyncio
import contextlib
import gzip
import hashlib
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
import msgspec
import psutil
import pytest
import pytest_asyncio
from aiohttp import ClientSession, web

from ecdn_proxy.wire.codec import FRAME_BYTES_MAX
from ecdn_proxy.wire.peer import Hello, Ping, Pong
from tests.demo import pki
from tests.demo.parts import PEER_PORT, Plan
from tests.demo.stage import Stage
from tests.product.liar import Liar, Manner
from tests.product.outside import WITHIN_SECONDS, missed, settled, stalls, through, until, wrong
from tests.product.peer import Peer, enrolled
from tests.product.strange import HOST, Strange, playlist

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

HLS, DASH = "application/vnd.apple.mpegurl", "application/dash+xml"
GROWTH_BYTES_MAX = 60_000_000
"""The agent may copy a manifest up to 8 MiB and parse it; a manifest of 50 MB may not make it grow like itself."""


@dataclass
class Office:
    """Two desks whose viewers play, and an origin that means no good."""

    stage: Stage
    strange: Strange
    client: ClientSession

    def rss(self) -> int:
        child = self.stage.agents[0].child
        assert child is not None
        return int(psutil.Process(child.pid).memory_info().rss)

    async def conditions(self, index: int = 0) -> dict[str, str]:
        await self.stage.refresh()
        return {one["code"]: one["text"] for one in self.stage.agents[index].status["conditions"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office() -> AsyncIterator[Office]:
    plan = Plan(viewers=2, mbps=0, settings={"origin_hosts": {pki.ORIGIN: "127.0.0.1", HOST: "127.0.0.1"}})
    async with Stage(plan) as stage:
        await stage.start_viewers()
        async with Strange.open(pki.make(stage.directory / "pki")) as strange, through(stage.agents[0]) as client:
            await settled(stage.viewers)
            yield Office(stage, strange, client)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def viewers_notice_nothing(office: Office, quiet_machine: bool) -> AsyncIterator[None]:
    """Around each test: no stall, no segment missed, no wrong byte, no fault of ours in the agents' logs."""
    before, missed_before = stalls(office.stage.viewers), missed(office.stage.viewers)
    yield
    if quiet_machine:
        assert stalls(office.stage.viewers) == before
    assert missed(office.stage.viewers) == missed_before
    assert wrong(office.stage.viewers) == []
    for agent in office.stage.agents:
        assert agent.child is not None
        assert agent.child.exit_code is None
        log = (office.stage.directory / f"{agent.name}.log").read_text()
        assert [line for line in log.splitlines() if "level=error" in line or "Traceback" in line] == []


async def _plays_on(office: Office) -> None:
    """Both viewers go on in the same agents."""
    await settled(office.stage.viewers, 2)


def _bomb() -> bytes:
    """Ten to the ninth letters, if somebody expands them (billion laughs)."""
    rows = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    root = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">&l9;</MPD>'
    return f'<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY l0 "lol">{rows}]>{root}'.encode()


_DEEP = b"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'>" + b"<Period>" * 50_000
_NOISE = random.Random(3).randbytes(30_000)
BROKEN: dict[str, tuple[str, bytes]] = {
    "no values": (HLS, b"#EXTM3U\n#EXTINF\n#EXT-X-TARGETDURATION:x\n#EXT-X-BYTERANGE:9@9\n0.ts\n#EXTINF:1e999,\n"),
    "noise": (HLS, b"#EXTM3U\n" + _NOISE),
    "huge numbers": (HLS, b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:" + b"9" * 5_000 + b"\n#EXTINF:2,\n0.ts\n"),
    "half an MPD": (DASH, b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><Adap'),
    "noise as MPD": (DASH, _NOISE),
    "a bomb": (DASH, _bomb()),
    "very deep": (DASH, _DEEP),
    "a foreign entity": (
        DASH, b'<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY x SYSTEM "file:///etc/passwd">]><MPD>&x;</MPD>',
    ),
    "endless timeline": (
        DASH,
        (
            b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period>'
            b'<AdaptationSet mimeType="video/mp4"><Representation id="a" bandwidth="1"><SegmentTemplate timescale="1" '
            b'media="$Time$.m4s"><SegmentTimeline><S t="0" d="1" r="2000000000"/></SegmentTimeline></SegmentTemplate>'
            b"</Representation></AdaptationSet></Period></MPD>"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_manifest_reaches_its_viewer_as_it_is(office: Office, case: str) -> None:
    content_type, body = BROKEN[case]
    path = f"/broken/{len(case)}{'.mpd' if content_type == DASH else '.m3u8'}"
    office.strange.says(path, body, content_type)
    before = office.rss()
    for _ in range(3):
        async with office.client.get(f"{office.strange.url}{path}") as answer:
            assert (answer.status, await answer.read()) == (200, body)
    assert office.rss() - before <= GROWTH_BYTES_MAX
    if case in {"half an MPD", "very deep"}:
        assert path in (await office.conditions())["manifest-refused"]


async def test_the_good_stream_plays_on_beside_the_broken_ones(office: Office) -> None:
    await _plays_on(office)


async def test_a_manifest_that_unpacks_to_200_mb(office: Office) -> None:
    packed = gzip.compress(b"#EXTM3U\n" + bytes(200_000_000), 1)
    office.strange.says("/packed.m3u8", packed, HLS, Content_Encoding="gzip")
    before = office.rss()
    async with office.client.get(f"{office.strange.url}/packed.m3u8") as answer:
        assert await answer.read() == packed
    assert office.rss() - before <= GROWTH_BYTES_MAX


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "in chunks"])
async def test_a_manifest_of_50_mb(
    office: Office, announced: bool, record_property: Callable[[str, object], None]
) -> None:
    line = b"#EXTINF:2.0,\nsegment-of-a-very-long-recording.ts\n"
    body = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + line * (50_000_000 // len(line))

    async def answer_it(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": HLS})
        response.content_length = len(body) if announced else None
        await response.prepare(request)
        for at in range(0, len(body), 1 << 18):
            await response.write(body[at : at + (1 << 18)])
        return response

    office.strange.handlers["/long.m3u8"] = answer_it
    before, most, digest = office.rss(), 0, hashlib.sha256()
    async with office.client.get(f"{office.strange.url}/long.m3u8") as answer:
        async for chunk in answer.content.iter_any():
            digest.update(chunk)
            most = max(most, office.rss())
    assert digest.hexdigest() == hashlib.sha256(body).hexdigest()
    record_property("growth_mb", round((most - before) / 1e6, 1))
    assert most - before <= GROWTH_BYTES_MAX


async def test_a_manifest_that_never_ends(office: Office) -> None:
    gone = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": HLS})
        await response.prepare(request)
        try:
            await response.write(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n")
            while True:
                await response.write(b"#EXTINF:2,\n0.ts\n" * 4_000)
        finally:
            gone.set()

    office.strange.handlers["/endless.m3u8"] = endless
    before, most, size = office.rss(), 0, 0
    async with office.client.get(f"{office.strange.url}/endless.m3u8") as answer:
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            most = max(most, office.rss())
            if size > 40_000_000:
                break
        answer.close()
    assert most - before <= GROWTH_BYTES_MAX
    # The viewer has left, so the agent lets go of the origin too.
    async with asyncio.timeout(WITHIN_SECONDS):
        await gone.wait()
    await _plays_on(office)


async def test_a_playlist_of_local_addresses_makes_the_agent_ask_nobody(office: Office) -> None:
    """An agent fetches for its viewers only; listing an address in a manifest is not asking for it."""
    knocked = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocked.set()
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    agent = office.stage.agents[0]
    urls = ["http://169.254.169.254/latest/meta-data/", f"http://127.0.0.1:{port}/a.ts", f"http://[::1]:{port}/b.ts"]
    urls += [f"http://localhost:{port}/c.ts", f"{agent.page_url}api/status", "file:///etc/passwd"]
    office.strange.says("/local.m3u8", playlist(*urls), HLS)
    async with office.client.get(f"{office.strange.url}/local.m3u8") as answer:
        assert await answer.read() == playlist(*urls)
    await settled(office.stage.viewers, 1)
    assert not knocked.is_set()
    server.close()
    # The agent's own page is refused through its proxy, although this agent may reach local origins.
    async with office.client.get(f"{agent.page_url}api/status") as answer:
        assert answer.status == 403


# ---- neighbours


async def _misbehaviour(office: Office, peer: Peer) -> None:
    """The agent hangs up, and its page names the culprit."""
    await until(peer.ended.is_set, "the agent hangs up on a peer that breaks the protocol")

    async def shown() -> bool:
        return peer.identity.device[:8] in (await office.conditions()).get("peer-misbehaved", "")

    await until(shown, "the agent's page says which device misbehaved")


_BAD_FRAMES: dict[str, bytes] = {
    "noise": random.Random(4).randbytes(5_000),
    "no message": (4).to_bytes(4, "big") + b"\x93\x01\x02\x03",
    "oversize": (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(1_000),
    "4 GB announced": b"\xff\xff\xff\xff" + bytes(1_000),
    "nested without end": (60_000).to_bytes(4, "big") + b"\x91" * 60_000,
}


@pytest.mark.parametrize("case", _BAD_FRAMES)
@pytest.mark.parametrize("greeted", [True, False], ids=["after Hello", "instead of Hello"])
async def test_a_neighbour_that_sends_garbage_is_hung_up_on(office: Office, case: str, greeted: bool) -> None:
    identity = await enrolled(office.stage, f"garbage-{len(case)}-{greeted}")
    async with Peer.dial(identity, office.stage.agents[0]) as peer:
        await peer.next(Hello)
        if greeted:
            peer.hello()
            await until(lambda: len(peer.heard) > 1, "the link is open")
        peer.raw(_BAD_FRAMES[case])
        if greeted:
            await _misbehaviour(office, peer)
        else:
            await until(peer.ended.is_set, "the agent hangs up")
    if greeted:  # banned: the same device is not spoken to again
        with contextlib.suppress(OSError, ssl.SSLError, ExceptionGroup):
            async with Peer.dial(identity, office.stage.agents[0]) as again:
                again.hello()
                await until(again.ended.is_set, "a banned device is not let in again")


async def test_a_neighbour_of_a_later_release_is_no_bad_one(office: Office) -> None:
    """What it says beyond our words is passed over, and shown: it is linked, answered, and not banned."""
    identity = await enrolled(office.stage, "later")
    unknown = msgspec.msgpack.encode([250, "of a later release", {"so": [1, 2.5, None, b"bytes"]}])
    async with Peer.dial(identity, office.stage.agents[0]) as peer:
        await peer.next(Hello)
        peer.hello()
        for number in range(70, 73):
            peer.raw(len(unknown).to_bytes(4, "big") + unknown)
            peer.say(Ping(number))
        await until(lambda: Pong(72) in peer.heard, "the link stands, and what is known is answered")
        assert {Pong(70), Pong(71), Pong(72)} <= set(peer.heard)
        assert identity.device[:8] not in (await office.conditions()).get("peer-misbehaved", "")
        shown = [it for it in office.stage.agents[0].status["peers"] if it["id"] == identity.device]
        assert [(it["version"], it["passed_over"]) for it in shown] == [("by hand", 3)]
    log = (office.stage.directory / f"{office.stage.agents[0].name}.log").read_text()
    lines = [line for line in log.splitlines() if "passed over" in line]
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in ("level=info", identity.device[:8], 'version="by hand"', "tag=250"))


async def test_strangers_at_the_door_cost_nothing(office: Office) -> None:
    """No TLS, half a handshake, silence: two hundred of them while the viewers play."""
    address = office.stage.agents[0].address
    writers = []
    for number in range(200):
        _, writer = await asyncio.open_connection(address, PEER_PORT)
        writer.write([b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"][number % 3])
        writers.append(writer)
    await _plays_on(office)
    for writer in writers:
        writer.transport.abort()


@pytest.mark.parametrize("manner", ["silent", "flipped", "swapped"])
async def test_a_neighbour_that_lies_is_found_out(office: Office, manner: Manner) -> None:
    """It is made the parent of new segments; nobody stalls, nobody gets a wrong byte (see the fixture)."""
    errors = [dict(viewer.latest["errors"]) for viewer in office.stage.viewers]
    async with Liar.at_work(office.stage, manner) as liar:
        await until(lambda: liar.asked_of_it >= 2 or liar.banned, "somebody reads from the liar")
        await settled(office.stage.viewers, 3)
        shown = [(await office.conditions(index)).get("peer-misbehaved", "") for index in (0, 1)]
        named = liar.identity.device[:8]
        if manner == "silent":
            assert not any(named in text for text in shown), "slowness is no misbehaviour"
        else:
            assert liar.banned
            assert any(named in text for text in shown), shown
            readers = sum(link.ended.is_set() for link in liar.links)
            assert liar.asked_of_it <= readers + 1, "an agent came again after it had been lied to"
    after = [dict(viewer.latest["errors"]) for viewer in office.stage.viewers]
    logs = [(office.stage.directory / f"{agent.name}.log").read_text() for agent in office.stage.agents]
    why = [line for log in logs for line in log.splitlines() if "broken off" in line or "level=warning" in line]
    assert after == errors, "\n".join(why)


async def test_the_viewers_have_shared_all_the_while(office: Office) -> None:
    """The good stream was not quietly passed to the origin instead."""
    await office.stage.refresh()
    assert all(agent.status["peers"] for agent in office.stage.agents)
    assert sum(agent.bytes_from("lan") for agent in office.stage.agents) > 5_000_000


# ---- requests that must go nowhere


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:{page}/api/status",
        "http://localhost:{page}/",
        "http://2130706433:{page}/",
        "http://0x7f.1:{page}/",
        "http://[::ffff:127.0.0.1]:{page}/",
        "http://[::1]:{page}/",
        "http://0.0.0.0:{page}/",
        "http://10.1.2.3/",
    ],
)
async def test_no_local_address_is_reached_through_an_agent(careful: "Careful", url: str) -> None:
    """An agent as it is shipped, without the laboratory's setting."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(url.format(page=careful.page), proxy=f"http://127.0.0.1:{careful.proxy}") as answer,
    ):
        assert answer.status == 403, await answer.text()


@dataclass
class Careful:
    """The ports of an agent without allow_local_origins."""

    proxy: int
    page: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def careful(office: Office) -> AsyncIterator[Careful]:
    directory, ready = office.stage.directory, office.stage.directory / "careful.ready"
    config = directory / "careful.toml"
    config.write_text('listen = "127.0.0.1:0"\npage_listen = "127.0.0.1:0"\npeer_listen = "127.0.0.1:0"\n')
    arguments = ["run", "--state-dir", str(directory / "careful"), "--config", str(config), "--ready-file", str(ready)]
    child = await office.stage.processes.python("careful", "ecdn_proxy", *arguments)
    await child.ready(ready, 30)
    told = json.loads(ready.read_text())
    yield Careful(int(told["proxy"].rpartition(":")[2]), int(told["page"].rpartition(":")[2]))
