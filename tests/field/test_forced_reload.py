"""Requests that ask for validation, or for no cache at all: the origin is asked, the body stays in the office."""

import pytest

from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_VLC = "https://github.com/videolan/vlc/blob/master/modules/demux/adaptive/http/HTTPConnection.cpp"
_RELOAD = "https://github.com/video-dev/hls.js/issues/810"


async def _published(office: Office, folder: str, fields: dict[str, str]) -> str:
    """One segment's path, in a stream whose players send these fields with everything."""
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    office.origin.put(manifest, playlist(path, probes=folder), etag=True)
    await office.meet(manifest)
    for desk in range(len(office.agents)):
        assert (await office.get(desk, manifest, fields)).status == 200
    return path


@field(
    property="a player that sends `Cache-Control: no-cache` with everything gets its bodies from the office",
    source=f"{_VLC} {_RELOAD}",
    right="RFC 9111 section 5.2.1.4: it asks for validation, not for another body; after 304 the office gives it",
)
@pytest.mark.parametrize("directive", ["no-cache", "max-age=0"])
async def test_a_request_for_validation_costs_a_304(office: Office, folder: str, directive: str) -> None:
    fields = {"Cache-Control": directive}
    path = await _published(office, folder, fields)
    for desk in range(len(office.agents)):
        got = await office.get(desk, path, fields)
        assert (got.status, got.body) == (200, body(path)), desk
    assert office.origin.bodies(path) == 1.0, await office.why()
    assert office.origin.validations(path) == len(office.agents) - 1


@field(
    property="a forced reload after the origin has changed the segment brings the new one, to the neighbours too",
    source=_RELOAD,
    right="RFC 9111 section 4.3.3: 200 to a conditional request is the new answer, and the old copy is not used again",
)
async def test_a_forced_reload_brings_a_new_body(office: Office, folder: str) -> None:
    path = await _published(office, folder, {})
    for desk in range(len(office.agents)):
        assert (await office.get(desk, path)).body == body(path)
    office.origin.put(path, body(path, 2), cache="max-age=3600", etag=True)
    for desk in range(len(office.agents)):
        assert (await office.get(desk, path, {"Cache-Control": "no-cache"})).body == body(path, 2), desk
    assert office.origin.bodies(path, 2) == 1.0


@field(
    property="a request with `no-store` goes to the origin and its answer is kept nowhere",
    source="https://www.rfc-editor.org/rfc/rfc9111#section-5.2.1.5",
    right="RFC 9111 section 5.2.1.5: neither this request nor any answer to it is stored",
)
async def test_a_request_with_no_store_passes(office: Office, folder: str) -> None:
    path = await _published(office, folder, {})
    for times in (1, 2):
        assert (await office.get(0, path, {"Cache-Control": "no-store"})).body == body(path)
        assert office.origin.bodies(path) == float(times)
    assert (await office.get(1, path)).body == body(path)
    assert office.origin.bodies(path) == 3.0


@field(
    property="a request with `Pragma: no-cache` is one with `Cache-Control: no-cache`",
    source="https://www.rfc-editor.org/rfc/rfc9111#section-5.4",
    right="RFC 9111 section 5.4: where there is no Cache-Control, it means no-cache",
)
async def test_pragma_asks_for_validation_too(office: Office, folder: str) -> None:
    path = await _published(office, folder, {})
    assert (await office.get(0, path)).body == body(path)
    assert (await office.get(0, path, {"Pragma": "no-cache"})).body == body(path)
    assert (office.origin.bodies(path), office.origin.validations(path)) == (1.0, 1)
