"""The proxy with real sockets: browsers' duties, routing, refusals, manifests, and what must not grow."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest
import pytest_asyncio
from aiohttp import web

from ecdn_proxy.agent.api import FromMemory, OwnHead, RefusedHead, SharedHead
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.front import mitm_patches as engine
from ecdn_proxy.front.proxy import CannotListen, Proxy
from ecdn_proxy.front.tls import policy as interception
from ecdn_proxy.wire.faults import Unavailable
from tests.front.rig import (
    BIG,
    CHUNK,
    OTHER,
    STREAM,
    WAYS,
    Authorities,
    Rig,
    ToldResponse,
    head,
    on_way,
    rig,
    settings_for,
)

BODY = bytes(range(256)) * 400


@pytest_asyncio.fixture(params=WAYS)
async def front(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """Everything holds on each way."""
    async with on_way(request.param, tmp_path, monkeypatch) as made:
        yield made


def begun(total: int | None = len(BODY), **more: object) -> SharedHead:
    return SharedHead(head(total, **more), "lan", "a neighbour has it")


@pytest.mark.asyncio
async def test_streaming_host_shows_our_certificate_and_passes_untouched(front: Rig) -> None:
    async with front.session.get(front.url("/hello")) as answer:
        assert await answer.read() == b"hello from the origin"
        assert (answer.headers["x-origin"], answer.headers["set-cookie"]) == ("yes", "a=b")
    assert front.agent.books == [(front.url("/hello"), 200, 21)]
    assert front.origin.seen[0].headers["host"] == f"{STREAM}:{front.port}"


@pytest.mark.asyncio
async def test_the_roots_are_read_before_the_first_viewer_comes(front: Rig) -> None:
    before = engine._listening_context.cache_info()
    async with front.session.get(front.url("/hello")) as answer:
        assert answer.status == 200
    after = engine._listening_context.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("host", [OTHER, "pinned.stream.test"])
async def test_other_and_bypassed_hosts_show_their_own_certificate(front: Rig, host: str) -> None:
    async with front.session.get(front.url("/hello", host), ssl=front.trust(front.authorities.ca)) as answer:
        assert answer.status == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await front.session.get(front.url("/hello", host))
    assert front.agent.routed == []
    assert front.agent.books == []


@pytest.mark.asyncio
async def test_what_is_intercepted_is_decided_by_the_tunnel_and_the_name_inside(front: Rig) -> None:
    ours, theirs = str(front.authority.ca_file), str(front.authorities.ca)
    for inside, tunnel in ((STREAM, OTHER), (OTHER, STREAM)):
        to = ("--connect-to", f"{inside}:{front.port}:{tunnel}:{front.port}", front.url("/hello", inside))
        assert (await front.curl("--cacert", theirs, *to))[:2] == (0, b"hello from the origin")
        assert (await front.curl("--cacert", ours, *to))[0] == 60
    assert front.agent.routed == []


@pytest.mark.asyncio
async def test_tls_to_the_proxy_itself_is_refused(front: Rig) -> None:
    for name in (STREAM, "localhost"):
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.open_connection(
                *front.proxy.address, ssl=front.trust(front.authority.ca_file), server_hostname=name
            )


@pytest.mark.asyncio
async def test_a_name_without_an_address_is_explained(front: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)
    for line in ("GET http://no.example/ HTTP/1.1", "CONNECT no.example:443 HTTP/1.1"):
        port = ":443" if line.startswith("CONNECT") else ""
        answer = await front.raw(f"{line}\r\nHost: no.example{port}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 502")
        assert b"No address for no.example" in answer


@pytest.mark.asyncio
async def test_an_origin_that_never_ends_its_handshake_is_given_up(front: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interception, "HANDSHAKE_MAX_S", 0.2)
    asked = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # all of it, and no word back
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with front.session.get(f"https://{STREAM}:{port}/live.m3u8") as answer:
            assert asked.is_set()
            assert answer.status == 502
            assert "did not answer" in await answer.text()


@pytest.mark.asyncio
async def test_one_upstream_connection_serves_many_requests(front: Rig) -> None:
    for _ in range(3):
        async with front.session.get(front.url("/hello")) as answer:
            await answer.read()
    assert len({request.transport for request in front.origin.seen}) == 1


@pytest.mark.asyncio
async def test_head_missing_redirect_and_range_pass(front: Rig) -> None:
    async with front.session.head(front.url("/hello")) as answer:
        assert (answer.status, answer.headers["content-length"]) == (200, "21")
    async with front.session.get(front.url("/nowhere")) as answer:
        assert answer.status == 404
    async with front.session.get(front.url("/redirect"), allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (302, "/hello")
    async with front.session.get(front.url("/hello"), headers={"range": "bytes=6-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"from")


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [401, 403])
async def test_a_no_counts_before_its_viewer_can_ask_for_more(front: Rig, status: int) -> None:
    """The answer is still on its way, but whoever has its head knows: the next request must find the proof void."""
    rest = asyncio.Event()

    async def forbidding(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"content-length": "7"})
        await response.prepare(request)
        await response.write(b"not ")
        await rest.wait()
        await response.write(b"you")
        return response

    front.origin.extra["forbidding"] = forbidding
    async with front.session.get(front.url("/extra/forbidding")) as answer:
        assert answer.status == status
        assert (front.url("/extra/forbidding"), status, 0) in front.agent.books
        rest.set()
        assert await answer.read() == b"not you"


@pytest.mark.asyncio
async def test_websocket_passes_and_keeps_no_messages(front: Rig) -> None:
    async with front.session.ws_connect(front.url("/ws")) as socket:
        for number in range(3):
            await socket.send_str(str(number))
            assert await socket.receive_str() == f"echo {number}"


@pytest.mark.asyncio
async def test_hundred_megabytes_each_way_are_not_kept(front: Rig) -> None:
    process = psutil.Process()
    async with front.session.get(front.url("/hello")) as answer:
        await answer.read()
    before, most = process.memory_info().rss, 0
    received = 0
    async with front.session.get(front.url("/big")) as answer:
        async for chunk in answer.content.iter_chunked(65_536):
            received += len(chunk)
            most = max(most, process.memory_info().rss)

    async def upload() -> AsyncIterator[bytes]:
        nonlocal most
        for _ in range(BIG // len(CHUNK)):
            yield CHUNK
            most = max(most, process.memory_info().rss)

    async with front.session.post(front.url("/upload"), data=upload()) as answer:
        assert await answer.text() == str(BIG)
    assert received == BIG
    assert most - before < 20 * 1024 * 1024


@pytest.mark.asyncio
async def test_curl_with_expect_and_length_uploads(front: Rig, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(CHUNK * 32)
    code, out, err = await front.curl(
        "--cacert", str(front.authority.ca_file), "-H", "Expect: 100-continue", "-H", "X-Ecdn-Secret: guess",
        "--data-binary", f"@{tmp_path / 'body'}", front.url("/upload"),
    )  # fmt: skip
    assert (code, out) == (0, str(len(CHUNK) * 32).encode()), err


@pytest.mark.asyncio
async def test_a_segments_request_crosses_the_agents_door_once(front: Rig) -> None:
    """In by one call of `route`, out by one response, whether mitmproxy and the gateway stand between or not."""
    response = ToldResponse(begun(), [BODY])
    front.agent.shares("/seg1.m4s", response)
    calls = front.agent.calls
    async with front.session.get(front.url("/seg1.m4s")) as answer:
        assert await answer.read() == BODY
    await response.released.wait()
    assert calls == ["route", "open_response"]
    assert response.calls == ["head", "body", "release"]


@pytest.mark.asyncio
async def test_segment_comes_through_the_gateway(front: Rig) -> None:
    response = ToldResponse(begun(cors="any"), [BODY[:1000], BODY[1000:]])
    front.agent.shares("/seg1.m4s", response)
    headers = {"origin": "https://player.test", "cookie": "secret=1", "x-ecdn-secret": "guess"}
    async with front.session.get(front.url("/seg1.m4s"), headers=headers) as answer:
        assert await answer.read() == BODY
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cache-status"].startswith("ecdn; hit")
        assert "server" not in answer.headers
    await response.released.wait()
    request = front.agent.routed[0]
    assert request.url == front.url("/seg1.m4s")
    assert "x-ecdn-secret" not in dict(request.headers)
    assert dict(request.headers)["cookie"] == "secret=1"
    assert front.origin.seen == []


@pytest.mark.asyncio
async def test_manifest_after_segment_on_one_connection_reaches_the_origin(front: Rig) -> None:
    front.agent.shares("/seg1.m4s", ToldResponse(begun(), [BODY]))
    async with front.session.get(front.url("/seg1.m4s")) as answer:
        assert await answer.read() == BODY
    async with front.session.get(front.url("/hello")) as answer:
        assert await answer.read() == b"hello from the origin"


@pytest.mark.asyncio
async def test_memory_hit_is_answered_in_the_hook(front: Rig) -> None:
    stored = StoredSegment("k" * 64, "s", head(len(BODY)), BODY, (), 0.0)
    front.agent.routes["/seg2.m4s"] = FromMemory(stored, "in memory")
    async with front.session.get(front.url("/seg2.m4s"), headers={"range": "bytes=-100"}) as answer:
        assert (answer.status, await answer.read()) == (206, BODY[-100:])
        assert answer.headers["content-range"] == f"bytes {len(BODY) - 100}-{len(BODY) - 1}/{len(BODY)}"
    async with front.session.head(front.url("/seg2.m4s")) as answer:
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(BODY)))
    async with front.session.get(front.url("/seg2.m4s"), headers={"if-none-match": '"v1"'}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


@pytest.mark.asyncio
async def test_truncated_segment_breaks_the_connection(front: Rig) -> None:
    for total in (len(BODY), None):
        front.agent.shares("/seg3.m4s", ToldResponse(begun(total), [BODY[:5000], Unavailable("all sources ended")]))
        with pytest.raises(aiohttp.ClientPayloadError):
            async with front.session.get(front.url("/seg3.m4s")) as answer:
                await answer.read()
    code, out, _ = await _curl_segment(front, "/seg3.m4s", [BODY[:5000], Unavailable("ended")])
    assert (code, out) == (18, BODY[:5000])  # CURLE_PARTIAL_FILE, with every byte that there was


@pytest.mark.asyncio
@pytest.mark.parametrize("lean_path", [True, False])
async def test_a_segment_that_nobody_can_give_is_a_connection_that_ends(tmp_path: Path, *, lean_path: bool) -> None:
    """As a player would see it without us: no status that the origin did not send."""

    class Never(ToldResponse):
        async def head(self) -> SharedHead:
            raise Unavailable("the origin cannot be reached")

    async with rig(tmp_path, lean_path=lean_path) as front:
        front.agent.shares("/seg3.m4s", Never(begun()))
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await front.session.get(front.url("/seg3.m4s"))
        async with front.session.get(front.url("/hello")) as answer:
            assert answer.status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize("lean_path", [True, False])
async def test_each_part_of_a_segment_that_grows_reaches_the_player_before_the_next_is_made(
    tmp_path: Path, *, lean_path: bool
) -> None:
    made = [asyncio.Event() for _ in range(3)]
    chunks: list[bytes | asyncio.Event] = [
        BODY[:6_000],
        made[0],
        BODY[6_000:12_000],
        made[1],
        BODY[12_000:18_000],
        made[2],
    ]
    async with rig(tmp_path, lean_path=lean_path) as front:
        front.agent.shares("/seg3.m4s", ToldResponse(begun(None), chunks))
        async with front.session.get(front.url("/seg3.m4s")) as answer:
            for number, event in enumerate(made):
                assert await answer.content.readexactly(6_000) == BODY[number * 6_000 :][:6_000]
                event.set()
            assert await answer.content.read() == b""


async def _curl_segment(front: Rig, path: str, chunks: list[bytes | BaseException]) -> tuple[int, bytes, bytes]:
    front.agent.shares(path, ToldResponse(begun(), chunks))
    return await front.curl("--cacert", str(front.authority.ca_file), front.url(path))


@pytest.mark.asyncio
async def test_viewer_that_leaves_cancels_the_response_and_the_origin(front: Rig) -> None:
    response = ToldResponse(begun(), [BODY[:1000], asyncio.Event()])
    front.agent.shares("/seg4.m4s", response)
    answer = await front.session.get(front.url("/seg4.m4s"))
    await answer.content.readexactly(1000)
    answer.close()
    await response.released.wait()
    answer = await front.session.get(front.url("/endless"))
    await front.origin.entered.wait()
    answer.close()
    await front.origin.left.wait()


@pytest.mark.asyncio
async def test_own_answers_and_missing_ones(front: Rig) -> None:
    fields = (
        ("content-length", "3"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    )
    front.agent.shares("/own", ToldResponse(OwnHead(403, "No", fields, "private"), [b"no!"]))
    async with front.session.get(front.url("/own")) as answer:
        assert (answer.status, answer.reason, await answer.read()) == (403, "No", b"no!")
        assert answer.headers.getall("set-cookie") == ["a=1", "b=2"]
        assert not {"x-hop", "content-type", "server"} & {name.lower() for name in answer.headers}
    front.agent.shares("/gone", ToldResponse(RefusedHead(410, "gone")))
    async with front.session.get(front.url("/gone")) as answer:
        assert answer.status == 410
    front.agent.shares("/own", ToldResponse(OwnHead(200, "OK", (("content-length", "9"),), "x"), [b"no!"]))
    with pytest.raises(aiohttp.ClientPayloadError):
        async with front.session.get(front.url("/own")) as answer:
            await answer.read()


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "?chunked=1", "?coding=gzip", "?coding=deflate&chunked=1"])
async def test_manifest_is_learnt_before_its_player_has_it(front: Rig, query: str) -> None:
    url = front.url("/live.m3u8" + query)
    async with front.session.get(url) as answer:
        assert await answer.read() == b"#EXTM3U\n" * 20
        assert front.agent.learnt == [(url, b"#EXTM3U\n" * 20)]
    await front.agent.booked.wait()
    assert front.agent.books[0][:2] == (url, 200)


@pytest.mark.asyncio
async def test_a_playlist_asked_for_by_a_range_is_learnt_and_stays_a_206(front: Rig) -> None:
    text = b"#EXTM3U\n" * 20
    fields = {"content-type": "application/vnd.apple.mpegurl", "content-range": f"bytes 0-{len(text) - 1}/{len(text)}"}

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=206, body=text, headers=fields)

    front.origin.extra["ranged.m3u8"] = answer
    url = front.url("/extra/ranged.m3u8")
    async with front.session.get(url, headers={"range": "bytes=0-"}) as got:
        assert (got.status, await got.read(), got.headers["content-range"]) == (206, text, fields["content-range"])
    assert front.agent.learnt == [(url, text)]


@pytest.mark.asyncio
async def test_a_browser_that_validates_a_playlist_gets_it_whole_while_the_agent_does_not_know_it(front: Rig) -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append({name.lower(): value for name, value in request.headers.items()})
        tag = {"etag": '"v1"', "content-type": "application/vnd.apple.mpegurl"}
        if request.headers.get("if-none-match") == '"v1"':
            return web.Response(status=304, headers=tag)
        return web.Response(body=b"#EXTM3U\n", headers=tag)

    front.origin.extra["tagged.m3u8"] = front.origin.extra["tagged.js"] = answer
    conditions = {"if-none-match": '"v1"', "if-modified-since": "Thu, 05 Nov 2026 10:00:00 GMT", "x-kept": "yes"}
    async with front.session.get(front.url("/extra/tagged.m3u8"), headers=conditions) as got:
        assert (got.status, await got.read(), got.headers["etag"]) == (200, b"#EXTM3U\n", '"v1"')
    assert front.agent.learnt == [(front.url("/extra/tagged.m3u8"), b"#EXTM3U\n")]
    async with front.session.get(front.url("/extra/tagged.js"), headers=conditions) as got:
        assert got.status == 304
    assert [one.keys() & conditions.keys() for one in asked] == [{"x-kept"}, conditions.keys()]


@pytest.mark.asyncio
async def test_a_fault_in_looking_at_conditions_lets_them_pass(front: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(front.agent), "needs_whole_body")
    async with front.session.get(front.url("/hello"), headers={"if-none-match": '"v1"'}) as got:
        assert got.status == 200
    assert front.origin.seen[0].headers["if-none-match"] == '"v1"'


@pytest.mark.asyncio
async def test_a_failing_agent_does_not_stop_the_viewer(front: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(front.agent, "route", fail)
    async with front.session.get(front.url("/hello")) as answer:
        assert answer.status == 200


@pytest.mark.asyncio
async def test_own_ports_are_refused_even_in_a_laboratory(front: Rig) -> None:
    for port in (front.proxy.address[1], front.gateway.address[1]):
        for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
            answer = await front.raw(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 403"), (host, answer)
            answer = await front.raw(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 403"), (host, answer)
        answer = await front.raw(f"GET http://{STREAM}:{port}/ HTTP/1.1\r\nHost: {STREAM}:{port}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403")


@pytest.mark.asyncio
async def test_local_and_private_targets_are_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, allow_local_origins=False) as front:
        targets = [f"127.0.0.1:{front.port}", "0.0.0.0:80", "169.254.169.254:80", "10.0.0.1:443", "[::1]:80"]
        targets += ["localhost:80", "0x7f.1:80", "[::ffff:7f00:1]:80", f"{STREAM}:{front.port}"]
        for target in targets:
            answer = await front.raw(f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 403"), (target, answer)
            if not target.startswith(STREAM):
                answer = await front.raw(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 403"), (target, answer)
        async with front.session.get(front.url("/hello")) as page:
            assert page.status == 403
            assert "private network" in await page.text()
        assert front.origin.seen == []


@pytest.mark.asyncio
async def test_a_fault_in_the_check_of_a_target_connects_to_nobody(front: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else fails open; what keeps viewers' requests off local addresses must not."""
    knocked = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocked.set()
        writer.close()

    async def fail(*_: object) -> str:
        raise RuntimeError("broken")

    def fail_at_once(*_: object) -> None:
        raise RuntimeError("broken")

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        request = f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode()
        await front.raw(request)
        assert knocked.is_set(), "not even a laboratory's agent gets there, so the rest shows nothing"
        knocked.clear()
        monkeypatch.setattr(front.proxy.targets, "resolve", fail)
        assert (await front.raw(request)).startswith(b"HTTP/1.1 403")
        monkeypatch.setattr(front.proxy.targets, "check_name", fail_at_once)
        assert (await front.raw(request)).startswith(b"HTTP/1.1 403")
        assert not knocked.is_set()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "request_",
    [
        "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
        "GET http://HOST/ HTTP/1.1\r\nX: y\r\n\r\n",
        "GET http://HOST/ HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n",
        "GET http://HOST/ HTTP/9.9\r\nHost: HOST\r\n\r\n",
        "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: a\x00b\r\n\r\n",
        "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: a\r\n folded\r\n\r\n",
        "GET http://HOST/\x01 HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "CONNECT HOST HTTP/9.9\r\nHost: HOST\r\n\r\n",
    ],
)
async def test_malformed_requests_are_refused(front: Rig, request_: str) -> None:
    answer = await front.raw(request_.replace("HOST", f"{OTHER}:{front.port}").encode())
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"mitmproxy" not in answer


@pytest.mark.asyncio
async def test_proxy_credentials_and_named_fields_do_not_reach_the_origin(front: Rig) -> None:
    headers = {"proxy-authorization": "Basic x", "connection": "x-hop, cookie", "x-hop": "1", "cookie": "a=b"}
    async with front.session.get(front.url("/hello"), headers=headers) as answer:
        assert answer.status == 200
    seen = front.origin.seen[0].headers
    assert "proxy-authorization" not in seen
    assert "x-hop" not in seen
    assert "cookie" not in seen.get("connection", "")
    assert seen["cookie"] == "a=b"


@pytest.mark.asyncio
async def test_origin_with_a_bad_certificate_is_explained(tmp_path: Path) -> None:
    async with (
        rig(tmp_path, context=lambda one: one.server("*.stream.test", days=-1)) as front,
        front.session.get(front.url("/hello")) as answer,
    ):
        text = await answer.text()
        assert answer.status == 502
        assert "certificate has expired" in text
        assert "not with this machine" in text


@pytest.mark.asyncio
async def test_bytes_that_are_not_http_are_not_relayed_from_an_intercepted_tunnel(front: Rig) -> None:
    answer = await front.raw(
        f"CONNECT {STREAM}:{front.port} HTTP/1.1\r\nHost: {STREAM}\r\n\r\n".encode() + b"SSH-2.0-x\r\n\r\n"
    )
    assert front.origin.seen == []
    assert b"400 Bad Request" in answer
    assert b"SSH" not in answer


@pytest.mark.asyncio
async def test_a_client_that_pins_gets_its_tunnel_after_three_alerts(front: Rig) -> None:
    pinned = front.trust(front.authorities.ca)
    for _ in range(3):
        code, _, _ = await front.curl("--cacert", str(front.authorities.ca), front.url("/hello", "a.stream.test"))
        assert code == 60  # CURLE_PEER_FAILED_VERIFICATION
    assert await front.bypassed.get() == "a.stream.test"
    async with front.session.get(front.url("/hello", "a.stream.test"), ssl=pinned) as answer:
        assert answer.status == 200
    async with front.session.get(front.url("/hello", "b.stream.test")) as answer:
        assert answer.status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_origin_that_wants_the_viewers_certificate_gets_its_tunnel(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    def demanding(one: Authorities) -> ssl.SSLContext:
        context = one.server("*.stream.test")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(one.ca)
        context.maximum_version = version
        return context

    async with rig(tmp_path, context=demanding) as front:
        for _ in range(3):
            async with front.session.get(front.url("/hello")) as answer:
                assert answer.status == 502
        assert await front.bypassed.get() == STREAM


@pytest.mark.asyncio
async def test_a_large_body_to_a_refused_target_is_not_read(front: Rig) -> None:
    target = f"127.0.0.1:{front.gateway.address[1]}"
    for framing in ("Content-Length: 99999999", "Transfer-Encoding: chunked"):
        line = f"POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{framing}\r\n\r\n"
        assert await front.raw(line.encode()) == b""


@pytest.mark.asyncio
async def test_tls_towards_viewers_is_mozillas_intermediate(front: Rig) -> None:
    for bad in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256"):
        context = front.trust(front.authority.ca_file)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(bad)
        with pytest.raises(aiohttp.ClientConnectorError):
            await front.session.get(front.url("/hello"), ssl=context)
    context = front.trust(front.authority.ca_file)
    context.set_ecdh_curve("secp521r1")
    with pytest.raises(aiohttp.ClientConnectorError):
        await front.session.get(front.url("/hello"), ssl=context)


@pytest.mark.asyncio
async def test_port_in_use_is_said_clearly(front: Rig, tmp_path: Path) -> None:
    taken = settings_for(front.authorities.ca, listen=f"127.0.0.1:{front.proxy.address[1]}")
    second = Proxy(front.agent, taken, tmp_path, front.gateway, front.authority)
    with pytest.raises(CannotListen, match="the port is in use"):
        await second.start()


@pytest.mark.asyncio
async def test_draining_lets_a_transfer_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as front:
        more = asyncio.Event()
        front.agent.shares("/slow.m4s", ToldResponse(begun(), [BODY[:1000], more, BODY[1000:]]))
        answer = await front.session.get(front.url("/slow.m4s"))
        await answer.content.readexactly(1000)
        address = front.proxy.address
        draining = asyncio.get_running_loop().create_task(front.proxy.drain_and_close(20))
        await asyncio.sleep(0)
        more.set()
        assert await answer.read() == BODY[1000:]
        await draining
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n",
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_interim_responses_and_trailers_do_no_harm(front: Rig, answer: bytes, at_once: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            for part in [answer] if at_once else [answer[at : at + 1] for at in range(len(answer))]:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://{OTHER}:{server.sockets[0].getsockname()[1]}/"
    for _ in range(2):
        async with front.session.get(url) as got:
            assert (got.status, await got.read()) == (200, b"ok")
    server.close()
