"""Keys of an encrypted stream: every viewer has its own from the origin, and they lie and pass nowhere else.

Segments are shared as they are, encrypted. The agents run with a disk cache and at log level debug.
"""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from yarl import URL

from ecdn_proxy.wire.peer import End, Get, Hello, Piece, Refused, Vouched
from tests.demo import pki
from tests.demo.content import SEGMENTS_PER_KEY, key_of
from tests.demo.parts import Plan
from tests.demo.stage import Stage
from tests.product.outside import Copies, missed, per_segment, settled, stalls, through, wrong
from tests.product.peer import Peer, Watcher, enrolled

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Played:
    """An office of two that has watched the encrypted stream for a while."""

    stage: Stage
    copies: Copies
    key_requests: list[str]
    keys: list[bytes]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played() -> AsyncIterator[Played]:
    plan = Plan(viewers=2, stream="aes", settings={"cache_disk_mb": 64, "log_level": "debug"})
    async with Stage(plan) as stage:
        copies = await Copies.from_now(stage)
        await stage.start_viewers()
        await settled(stage.viewers, 6)
        await stage.refresh()
        asked = [entry["path"] for entry in await stage.origin.log() if entry["kind"] == "key"]
        keys = [key_of(int(Path(path).stem)) for path in set(asked)]
        yield Played(stage, copies, asked, keys)


def _forms(key: bytes) -> tuple[bytes, ...]:
    """How a key could lie somewhere: as it is, in hexadecimal, in base64."""
    return key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key).rstrip(b"=")


async def test_the_stream_plays_and_its_segments_are_shared(played: Played, quiet_machine: bool) -> None:
    if quiet_machine:
        assert stalls(played.stage.viewers) == [0, 0]
    assert missed(played.stage.viewers) == [{}, {}]
    assert wrong(played.stage.viewers) == []
    assert per_segment(await played.copies.by_path()) <= 1.1
    assert sum(agent.bytes_from("lan") for agent in played.stage.agents) > 1_000_000


async def test_every_viewer_has_its_key_from_the_origin(played: Played) -> None:
    assert played.key_requests
    first = min(played.key_requests, key=lambda path: int(Path(path).stem))
    assert played.key_requests.count(first) == 2
    assert all(played.key_requests.count(path) <= 2 for path in played.key_requests)


async def test_no_key_lies_in_a_file_of_an_agent(played: Played) -> None:
    cached = [path for agent in played.stage.agents for path in (agent.state / "segments").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in cached) > 1_000_000, (
        "the disk cache holds nothing, so this shows nothing"
    )
    files = [path for path in played.stage.directory.rglob("*") if path.is_file()]
    for path in files:
        data = path.read_bytes()
        assert not any(form in data for key in played.keys for form in _forms(key)), path


async def test_no_key_and_no_key_url_stands_in_log_status_or_metrics(played: Played) -> None:
    logs = b"".join((played.stage.directory / f"{agent.name}.log").read_bytes() for agent in played.stage.agents)
    chosen = {row["name"]: row["value"] for row in played.stage.agents[0].status["settings"]}
    assert chosen["log_level"] == "debug"
    said = [logs]
    async with through(None, played.stage.agents[0].ca) as client:
        for agent in played.stage.agents:
            for page in ("", "api/status", "metrics"):
                async with client.get(f"{agent.page_url}{page}") as answer:
                    assert answer.status == 200
                    said.append(await answer.read())
    for text in said:
        assert not any(form in text for key in played.keys for form in _forms(key))
        assert not re.search(rb"/key/\d+\.bin", text)


async def test_a_peer_that_asks_gets_segments_and_never_a_key(played: Played) -> None:
    """A neighbour by hand: it knows the salt, so it can name the key's URL as it names a segment's."""
    stage, agent = played.stage, played.stage.agents[0]
    identity = await enrolled(stage, "curious")
    watcher = Watcher(identity)
    playlist = f"{stage.origin.url}/live/aes/720/index.m3u8"
    stream = ""
    for url in (f"{stage.origin.url}/live/aes/master.m3u8", playlist):
        async with stage.session.get(url) as answer:
            body = await answer.read()
        stream = await watcher.manifest(url, "application/vnd.apple.mpegurl", body)
        assert stream
    listed = [str(URL(playlist).join(URL(line))) for line in body.decode().splitlines() if line.endswith(".ts")]
    key_url = str(URL(playlist).join(URL(re.findall(r'URI="([^"]+)"', body.decode())[-1])))
    assert watcher.match(key_url) is None, "a key is no segment for whoever reads the manifest as agents do"
    segments = [match for url in listed if (match := watcher.match(url)) is not None]
    numbers = count(1)
    async with Peer.dial(identity, agent) as peer:
        peer.hello((stream,))
        await peer.next(Hello)
        received = bytearray()
        answers = []
        for match in reversed(segments[:-1]):  # the newest may not have arrived yet
            peer.say(Get(next(numbers), match.listed.key, stream, 0))
            while isinstance(message := await peer.next(Vouched, Piece, End, Refused), Piece | Vouched):
                received += message.data if isinstance(message, Piece) else b""
            answers.append(message)
            if received:
                break
        assert len(received) > 100_000, f"this peer gets no segment either, so the rest shows nothing: {answers}"
        salt = bytes.fromhex(identity.salt)
        path = URL(key_url).path
        guesses = {hashlib.sha256(salt + text.encode()).hexdigest() for text in (key_url, path, f"{pki.ORIGIN}{path}")}
        # The key's URL by the very function that names segments: a playlist that lists it as one.
        forged = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\n{key_url}\n"
        await watcher.manifest(playlist, "application/vnd.apple.mpegurl", forged.encode())
        if (match := watcher.match(key_url)) is not None:
            guesses.add(match.listed.key)
        for guess in sorted(guesses):
            peer.say(Get(next(numbers), guess, stream, 0))
            answer_ = await peer.next(Refused, Piece, Vouched, End)
            assert isinstance(answer_, Refused), answer_
        assert not any(key in peer.bytes_heard for key in played.keys)
    assert SEGMENTS_PER_KEY > 1
