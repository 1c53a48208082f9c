"""Load balancers that set a cookie on everything: what is public is shared, and the cookie goes to its asker only."""

import pytest

from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]


async def _three_ask(office: Office, folder: str, cache: str) -> list[str | None]:
    """The cookie that each desk was given."""
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    count = iter(range(10))
    office.origin.put(
        path, body(path), cache=cache, etag=True, fields=lambda _: {"Set-Cookie": f"node={next(count)}; Path=/"}
    )
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)
    got = [await office.get(desk, path) for desk in range(len(office.agents))]
    assert [it.body == body(path) for it in got] == [True] * len(got)
    return [it.fields.get("Set-Cookie") for it in got]


@field(
    property="`Set-Cookie` beside `public, max-age`: shared, and nobody gets another one's cookie",
    source="https://github.com/ant-media/Ant-Media-Server/issues/3282",
    right="RFC 9111 sections 3 and 7.3: the origin says that the answer is for all; the cookie is not stored",
)
@pytest.mark.parametrize("cache", ["public, max-age=3600", "s-maxage=3600"])
async def test_a_cookie_beside_public_is_shared_without_it(office: Office, folder: str, cache: str) -> None:
    cookies = await _three_ask(office, folder, cache)
    assert office.origin.bodies(f"{folder}/1.ts") == 1.0, await office.why()
    assert cookies[1:] == [None, None]


@field(
    property="`Set-Cookie` without `public` keeps an answer private, and each asker gets its own cookie",
    source="https://github.com/bluenviron/mediamtx/issues/5700",
    right="RFC 9111 section 7.3: nothing says that the answer is not about this one asker",
)
async def test_a_cookie_alone_keeps_it_private(office: Office, folder: str) -> None:
    assert await _three_ask(office, folder, "max-age=3600") == [f"node={number}; Path=/" for number in range(3)]
    assert office.origin.bodies(f"{folder}/1.ts") == 3.0
