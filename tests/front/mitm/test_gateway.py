"""The gateway by itself: its secret, its answers, and how it ends them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDictProxy

from ecdn_proxy.agent.api import Shared, SharedHead
from ecdn_proxy.front.mitm.gateway import SECRET_FIELD, TICKETS_MAX, Gateway
from ecdn_proxy.wire.faults import Unavailable
from tests.front.rig import ToldResponse, head

BODY = bytes(range(250)) * 4


class Door:
    """A gateway and a client that knows its secret."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.session = session

    def ticket(self, response: ToldResponse) -> str:
        """Where mitmproxy is sent for it."""
        return f"/t/{self.gateway.ticket_for(Shared('test', lambda: response))}"

    async def get(
        self, response: ToldResponse, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, bytes, CIMultiDictProxy[str]]:
        fields = {SECRET_FIELD: self.gateway.secret, **(headers or {})}
        async with self.session.request(method, self.ticket(response), headers=fields) as answer:
            return answer.status, await answer.read(), answer.headers


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    gateway = Gateway(source_headers=True, clock=lambda: 1_000_030.0)
    await gateway.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.address[1]}") as session:
        yield Door(gateway, session)
    await gateway.close()


def told(*chunks: bytes | BaseException | asyncio.Event, total: int | None = len(BODY), **more: object) -> ToldResponse:
    return ToldResponse(SharedHead(head(total, **more), "cache", "here"), chunks)


@pytest.mark.asyncio
async def test_without_the_secret_every_path_is_forbidden(door: Door) -> None:
    ticket = door.ticket(told(BODY))
    for secret in ("", "x", door.gateway.secret[:-1], "é" * 20):
        for path in ("/", ticket, "/t/", f"/..{ticket}", "/other"):
            async with door.session.get(path, headers={SECRET_FIELD: secret}) as answer:
                assert answer.status == 403
    async with door.session.get(ticket, headers={SECRET_FIELD: door.gateway.secret}) as answer:
        assert (answer.status, await answer.read()) == (200, BODY), "nobody has spent it"


@pytest.mark.asyncio
async def test_two_boots_have_two_secrets() -> None:
    made = [Gateway(source_headers=False, clock=lambda: 0.0).secret for _ in range(2)]
    assert made[0] != made[1]


async def statuses(door: Door, *tickets: str) -> list[int]:
    found = []
    for ticket in tickets:
        async with door.session.get(ticket, headers={SECRET_FIELD: door.gateway.secret}) as answer:
            found.append(answer.status)
    return found


@pytest.mark.asyncio
async def test_a_ticket_is_good_once(door: Door) -> None:
    ticket = door.ticket(told(BODY))
    assert await statuses(door, ticket, ticket, "/t/none") == [200, 502, 502]


@pytest.mark.asyncio
async def test_tickets_are_bounded(door: Door) -> None:
    first, second = door.ticket(told(BODY)), door.ticket(told(BODY))
    for _ in range(TICKETS_MAX - 1):
        door.ticket(told(BODY))
    assert await statuses(door, first, second) == [502, 200], "the oldest is no longer good"


@pytest.mark.asyncio
@pytest.mark.parametrize("step", [1, 7, 333, 1000])
@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-", BODY),
        ("bytes=10-20", BODY[10:21]),
        ("bytes=-5", BODY[-5:]),
        ("bytes=999-5000", BODY[999:]),
        ("bytes=0-0", BODY[:1]),
    ],
)
async def test_ranges_are_cut_exactly_whatever_the_chunks(door: Door, step: int, asked: str, part: bytes) -> None:
    chunks = [BODY[at : at + step] for at in range(0, len(BODY), step)]
    response = told(*chunks)
    status, body, headers = await door.get(response, {"range": asked})
    assert (status, body, headers["content-length"]) == (206, part, str(len(part)))
    assert response.released.is_set()


@pytest.mark.asyncio
async def test_a_satisfied_viewer_does_not_wait_for_the_rest(door: Door) -> None:
    status, body, _ = await door.get(told(BODY[:100], asyncio.Event()), {"range": "bytes=0-99"})
    assert (status, body) == (206, BODY[:100])


@pytest.mark.asyncio
async def test_a_segment_that_is_a_range_of_a_resource(door: Door) -> None:
    part = told(BODY, headers=(("content-range", f"bytes 5000-{5000 + len(BODY) - 1}/90000"),))
    status, body, headers = await door.get(part, {"range": "bytes=5010-5019"})
    assert (status, body) == (206, BODY[10:20])
    assert headers["content-range"] == "bytes 5010-5019/90000"


@pytest.mark.asyncio
async def test_not_modified_unsatisfiable_and_head(door: Door) -> None:
    status, body, headers = await door.get(told(BODY), {"if-none-match": '"v1"'})
    assert (status, body, headers["etag"]) == (304, b"", '"v1"')
    status, body, headers = await door.get(told(BODY), {"range": "bytes=5000-"})
    assert (status, body, headers["content-range"]) == (416, b"", "bytes */1000")
    status, body, headers = await door.get(told(BODY), method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", "1000")


@pytest.mark.asyncio
async def test_fields_of_a_shared_answer(door: Door) -> None:
    _, _, headers = await door.get(told(BODY, cors="any"), {"origin": "https://player.test"})
    assert headers["access-control-allow-origin"] == "*"
    assert headers["age"] == "30"
    assert headers["x-ecdn-source"] == "cache"
    assert headers["server-timing"] == 'ecdn;desc="cache"'


@pytest.mark.asyncio
async def test_unknown_length_is_chunked_and_ends(door: Door) -> None:
    status, body, headers = await door.get(told(BODY[:300], BODY[300:], total=None))
    assert (status, body, headers["transfer-encoding"]) == (200, BODY, "chunked")


@pytest.mark.asyncio
@pytest.mark.parametrize("total", [len(BODY), None])
async def test_what_breaks_off_is_never_ended(door: Door, total: int | None) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await door.get(told(BODY[:300], Unavailable("gone"), total=total))


@pytest.mark.asyncio
async def test_an_early_end_is_a_break_too(door: Door) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await door.get(told(BODY[:300]))


@pytest.mark.asyncio
async def test_nothing_begun_is_a_connection_that_ends(door: Door) -> None:
    """As without us: no status that the origin did not send."""

    class Never(ToldResponse):
        async def head(self) -> SharedHead:
            raise Unavailable("no source")

    response = Never(SharedHead(head(1), "cache", ""))
    reader, writer = await asyncio.open_connection(*door.gateway.address)
    fields = f"Host: x\r\n{SECRET_FIELD}: {door.gateway.secret}\r\n"
    writer.write(f"GET {door.ticket(response)} HTTP/1.1\r\n{fields}\r\n".encode())
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert response.released.is_set()


@pytest.mark.asyncio
async def test_a_viewer_that_leaves_releases_its_response(door: Door) -> None:
    response = told(BODY[:300], asyncio.Event())
    answer = await door.session.get(door.ticket(response), headers={SECRET_FIELD: door.gateway.secret})
    await answer.content.readexactly(300)
    answer.close()
    await response.released.wait()
