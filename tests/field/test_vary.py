"""`Vary`: only fields that differ between two requests keep their answers apart."""

from collections.abc import Mapping, Sequence

import pytest
from aiohttp import web

from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_SELECTED = "RFC 9111 section 4.1: two requests that have the same value of a named field, or both none, match"


async def _three_ask(
    office: Office, folder: str, vary: str, requests: Sequence[Mapping[str, str]], bodies: float | None = 1.0
) -> None:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True, fields={"Vary": vary})
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)
    for desk, fields in enumerate(requests):
        assert (await office.get(desk, path, fields)).body == body(path)
    if bodies is not None:
        assert office.origin.bodies(path) == bodies, await office.why()


@field(
    property="`Vary` of preflight fields, as every storage bucket with CORS sends it, does not make a segment private",
    source="https://github.com/porsche-design-system/porsche-design-system/issues/1469 "
    "https://github.com/apache/trafficserver/issues/3954",
    right=f"{_SELECTED}; a GET carries no preflight field",
)
async def test_vary_of_preflight_fields_is_shared(office: Office, folder: str) -> None:
    vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
    await _three_ask(office, folder, vary, [{}, {}, {}])


@field(
    property="`Vary: Accept-Encoding` does not make a segment private",
    source="https://www.rfc-editor.org/rfc/rfc9111#section-4.1",
    right="a segment is asked for and kept without content coding",
)
async def test_vary_of_accept_encoding_is_shared(office: Office, folder: str) -> None:
    asks = [{"Accept-Encoding": coding} for coding in ("gzip, deflate, br", "identity", "gzip")]
    await _three_ask(office, folder, "Accept-Encoding", asks)


@field(
    property="`Vary: Cookie` shares among those who send no cookie",
    source="https://www.rfc-editor.org/rfc/rfc9111#section-4.1",
    right=_SELECTED,
)
async def test_vary_of_a_field_that_nobody_sends_is_shared(office: Office, folder: str) -> None:
    await _three_ask(office, folder, "Cookie, X-Session", [{}, {}, {}])


@field(
    property="an answer that differs by a named field is each asker's own",
    source="https://www.rfc-editor.org/rfc/rfc9111#section-4.1",
    right=_SELECTED,
)
async def test_different_languages_get_their_own(office: Office, folder: str) -> None:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"

    async def by_language(request: web.Request) -> web.Response:
        language = request.headers.get("Accept-Language", "")
        fields = {"Vary": "Accept-Language", "Cache-Control": "max-age=3600", "ETag": f'"{language}"'}
        return web.Response(body=body(language), content_type="video/mp2t", headers=fields)

    office.origin.handle(path, by_language)
    office.origin.put(manifest, playlist(path, probes=folder))
    await office.meet(manifest)
    for _ in range(2):
        for desk, language in enumerate(("de", "fr", "de")):
            assert (await office.get(desk, path, {"Accept-Language": language})).body == body(language)


@field(
    property="`Vary: *` is nobody's but the asker's",
    source="https://www.rfc-editor.org/rfc/rfc9111#section-4.1",
    right="RFC 9111 section 4.1: it never matches",
)
async def test_vary_of_everything_is_not_shared(office: Office, folder: str) -> None:
    await _three_ask(office, folder, "*", [{}, {}, {}], bodies=3.0)
