"""Pages of other origins: each asker gets the CORS fields that the origin would give it, its body from the office."""

from collections.abc import Mapping

import pytest
from aiohttp import web

from tests.field.office import Got, Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

A, B, STRANGER = "https://a.example", "https://b.example", "https://stranger.example"
_REBUILT = (
    "Fetch standard, section 3.2: what an origin says for one asker's Origin says nothing for another; where nothing "
    "is proved for this one, a conditional request asks, and the body stays in the office"
)


def _echo(request: web.Request) -> Mapping[str, str]:
    """As a server does that names whoever asks and forgets Vary."""
    origin = request.headers.get("Origin")
    if origin not in {A, B}:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}


def _only_when_asked(request: web.Request) -> Mapping[str, str]:
    """As storage buckets do: no CORS field and no Vary unless the request has an Origin."""
    return {"Access-Control-Allow-Origin": "*", "Vary": "Origin"} if "Origin" in request.headers else {}


async def _asked_by(office: Office, folder: str, fields: object, askers: list[str | None]) -> list[Got]:
    """One segment, asked for at desk 0, 1 and so on by pages of these origins."""
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True, fields=fields)  # type: ignore[arg-type]
    office.origin.put(manifest, playlist(path, probes=folder), fields={"Access-Control-Allow-Origin": "*"})
    await office.meet(manifest)
    got = []
    for desk, asker in enumerate(askers):
        got.append(await office.get(desk, path, {} if asker is None else {"Origin": asker}))
        assert (got[-1].status, got[-1].body) == (200, body(path)), (desk, asker)
    return got


def _allowed(got: list[Got]) -> list[str | None]:
    return [it.fields.get("Access-Control-Allow-Origin") for it in got]


@field(
    property="an origin that echoes Origin without Vary: each page gets its own name back, one body an office",
    source="https://github.com/rs/cors/issues/10 https://github.com/apache/apisix/issues/6835",
    right=_REBUILT,
)
async def test_an_echo_without_vary_names_each_asker(office: Office, folder: str) -> None:
    got = await _asked_by(office, folder, _echo, [A, B, A])
    assert _allowed(got) == [A, B, A]
    assert [it.fields.get("Access-Control-Allow-Credentials") for it in got] == ["true"] * 3
    assert office.origin.bodies(f"{folder}/1.ts") == 1.0


@field(
    property="an origin that allows some pages: a page that it does not know gets no leave from the office either",
    source="https://github.com/rs/cors/issues/10",
    right=_REBUILT,
)
async def test_a_page_that_the_origin_does_not_allow_is_not_allowed(office: Office, folder: str) -> None:
    got = await _asked_by(office, folder, _echo, [A, STRANGER, B])
    assert _allowed(got) == [A, None, B]
    # a 304 without CORS fields refuses nobody for certain: such a page has the origin's whole answer
    assert office.origin.bodies(f"{folder}/1.ts") <= 2.0


@field(
    property="CORS fields only for who sends Origin: the first asker without one spoils nothing for a page",
    source="https://github.com/apache/trafficserver/issues/3954 https://github.com/seaweedfs/seaweedfs/issues/8071",
    right=_REBUILT,
)
async def test_a_first_asker_without_origin_spoils_nothing(office: Office, folder: str) -> None:
    got = await _asked_by(office, folder, _only_when_asked, [None, A, B])
    assert _allowed(got)[1:] == ["*", "*"]
    assert office.origin.bodies(f"{folder}/1.ts") == 1.0


@field(
    property="CORS fields only for who sends Origin: a first asker that is a page leaves the others what they need",
    source="https://github.com/PRX/Infrastructure/issues/412",
    right=_REBUILT,
)
async def test_a_first_asker_with_origin_spoils_nothing(office: Office, folder: str) -> None:
    got = await _asked_by(office, folder, _only_when_asked, [A, None, B])
    assert [_allowed(got)[0], _allowed(got)[2]] == ["*", "*"]
    assert office.origin.bodies(f"{folder}/1.ts") == 1.0


@field(
    property="fixed CORS fields: everybody gets exactly these, one body an office",
    source="https://github.com/koajs/cors/issues/47",
    right="a field that is the same for two askers is no echo; it goes to each as the origin says it",
)
async def test_fixed_fields_stay_as_they_are(office: Office, folder: str) -> None:
    fixed = {
        "Access-Control-Allow-Origin": A,
        "Access-Control-Expose-Headers": "Date, X-Served-By",
        "Timing-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    got = await _asked_by(office, folder, fixed, [B, A, None])
    for it in got:
        assert {name: it.fields.get(name) for name in fixed} == fixed
    assert office.origin.bodies(f"{folder}/1.ts") == 1.0


@field(
    property="leave for every page (`*`) is never made leave with credentials",
    source="https://github.com/gaul/s3proxy/issues/343",
    right="Fetch standard, section 3.2.5: with credentials `*` allows nobody",
)
async def test_leave_for_all_stays_leave_for_all(office: Office, folder: str) -> None:
    got = await _asked_by(office, folder, {"Access-Control-Allow-Origin": "*"}, [A, B, None])
    assert _allowed(got)[:2] == ["*", "*"]
    assert [it.fields.get("Access-Control-Allow-Credentials") for it in got] == [None] * 3
    assert office.origin.bodies(f"{folder}/1.ts") == 1.0
