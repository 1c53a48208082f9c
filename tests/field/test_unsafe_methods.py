"""After somebody has changed a segment by a method that changes things, its old copy is not used."""

import pytest

from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]


async def _kept(office: Office, folder: str) -> str:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)
    for desk in (0, 1):
        assert (await office.get(desk, path)).body == body(path)
    assert office.origin.bodies(path) == 1.0
    return path


@field(
    property="after a POST, PUT or DELETE that succeeded, a segment is asked of the origin again",
    source="https://github.com/nodejs/undici/issues/3806 https://github.com/Kevinrob/guzzle-cache-middleware/issues/149",
    right="RFC 9111 section 4.4: the answer that is not an error makes every stored answer for this URL invalid",
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"])
async def test_an_unsafe_method_invalidates(office: Office, folder: str, method: str) -> None:
    path = await _kept(office, folder)
    assert (await office.get(0, path, method=method, data=b"x")).status == 200
    office.origin.put(path, body(path, 2), cache="max-age=3600", etag=True)
    assert (await office.get(0, path)).body == body(path, 2)


@field(
    property="after an unsafe method that failed, or a safe one, the copy stays good",
    source="https://github.com/apache/trafficserver/issues/7839",
    right="RFC 9111 section 4.4: only an answer that is not an error invalidates",
)
@pytest.mark.parametrize(("method", "status"), [("POST", 403), ("DELETE", 500), ("HEAD", 200), ("OPTIONS", 200)])
async def test_what_changes_nothing_invalidates_nothing(office: Office, folder: str, method: str, status: int) -> None:
    path = await _kept(office, folder)
    office.origin.put(path, body(path), cache="max-age=3600", etag=True, status=status)
    assert (await office.get(0, path, method=method)).status == status
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    assert (await office.get(0, path)).body == body(path)
    assert office.origin.bodies(path) == 1.0
