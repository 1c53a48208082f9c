"""Origins that take seconds until the first byte: waited for once, as a browser would, and no error of our making."""

import asyncio

import pytest

from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_LATE_S = 0.3
"""What an agent may add to what a direct viewer waits."""


@field(
    property="a first byte that comes after 4 s or 13 s: one request, and the viewer waits as long as without us",
    source="https://github.com/video-dev/hls.js/issues/5692 https://github.com/jellyfin/jellyfin/issues/8744",
    right="a first byte that is late for all is waited for once, as long as a browser would wait",
)
@pytest.mark.parametrize("late_s", [4.0, 13.0])
@pytest.mark.parametrize("viewers", [1, 3])
async def test_a_late_first_byte_is_waited_for_once(
    office: Office, folder: str, late_s: float, viewers: int, quiet_machine: bool
) -> None:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True, first_byte_s=late_s)
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)
    got = await asyncio.gather(*(office.get(desk, path) for desk in range(viewers)))
    assert [(it.status, it.body == body(path)) for it in got] == [(200, True)] * viewers
    assert len(office.origin.requests(path)) == 1, await office.why()
    assert office.origin.bodies(path) == 1.0
    if quiet_machine:
        assert max(it.first_byte_s for it in got) <= late_s + _LATE_S
