"""Tokens that stand in the path: whatever they hold, the segment behind them is the same for all."""

import pytest

from tests.field.office import Office
from tests.field.origin import PROBES, body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]


def _token(acl: str, desk: int) -> str:
    return f"hdntl=exp=1900000000~acl={acl}~data=hdntl~hmac={desk:064x}"


@field(
    property="a token in the path that holds a bare slash (`acl=/*`) is taken off as one",
    source="https://github.com/kaltura/nginx-akamai-token-validate-module/issues/16 "
    "https://github.com/kaltura/nginx-vod-module/issues/423",
    right="a token is what its fields say, from its name to its hmac; slashes in its acl belong to it",
)
@pytest.mark.parametrize("acl", ["/*", "/live/*!/vod/*"])
async def test_a_token_with_bare_slashes_is_no_identity(office: Office, folder: str, acl: str) -> None:
    await _each_with_its_token(office, folder, acl)


@field(
    property="a token in the path whose slashes are escaped is taken off",
    source="https://github.com/kaltura/nginx-akamai-token-validate-module/issues/16",
    right="a token is what its fields say",
)
async def test_a_token_with_escaped_slashes_is_no_identity(office: Office, folder: str) -> None:
    await _each_with_its_token(office, folder, "%2f*")


async def _each_with_its_token(office: Office, folder: str, acl: str) -> None:
    count, names = len(office.agents), [f"probe-{number}.ts" for number in range(PROBES)]
    own = [f"/{_token(acl, desk)}{folder}" for desk in range(count)]
    for base in own:
        plain = base.replace("%2f", "/")
        office.origin.put(f"{plain}/index.m3u8", playlist("1.ts", *names))
        office.origin.put(f"{plain}/1.ts", body("1"), cache="max-age=3600", etag='"1"')
    for desk, base in enumerate(own):
        await office.learn(desk, f"{base}/index.m3u8")
    for name in names:
        for desk, base in enumerate(own):
            await office.get(desk, f"{base}/{name}")
    for desk, base in enumerate(own):
        assert (await office.get(desk, f"{base}/1.ts")).body == body("1")
    assert sum(office.origin.bodies(f"{base.replace('%2f', '/')}/1.ts") for base in own) == 1.0, await office.why()
