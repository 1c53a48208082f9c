"""MPDs that are brought up to date by patches: what a patch adds is shared like all else."""

import pytest

from tests.field.mpd import NAMESPACE, STEP, mpd, probes, timeline
from tests.field.office import Office
from tests.field.origin import body
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_SETS = "/MPD/Period[@id='p0']/AdaptationSet[@id='1']/SegmentTemplate/SegmentTimeline"


def _time(turn: int) -> str:
    return f"2024-01-01T00:00:{turn:02d}Z"


def _patch(turn: int) -> bytes:
    """From turn to turn one more segment."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Patch xmlns="urn:mpeg:dash:schema:mpd-patch:2020" mpdId="ev" '
        f'originalPublishTime="{_time(turn - 1)}" publishTime="{_time(turn)}">'
        f'<replace sel="/MPD/@publishTime">{_time(turn)}</replace>'
        f'<add sel="{_SETS}"><S t="{(turn + 1) * STEP}" d="{STEP}"/></add></Patch>\n'
    ).encode()


@field(
    property="segments that a viewer knows from MPD patches only are shared",
    source="https://github.com/Dash-Industry-Forum/livesim2/issues/174 "
    "https://github.com/Dash-Industry-Forum/dash.js/issues/4452",
    right="ISO/IEC 23009-1 section 5.15: a patch makes the next MPD out of the one before",
)
async def test_segments_of_patches_are_shared(office: Office, folder: str) -> None:
    origin, manifest, count = office.origin, f"{folder}/manifest.mpd", len(office.agents)
    where = f'<PatchLocation ttl="60">{folder}/manifest.mpp</PatchLocation>'
    attributes = f'id="ev" publishTime="{_time(0)}"'
    first = mpd(folder, timeline(folder, 2), attributes=attributes, inside=where, dynamic=True)
    assert NAMESPACE.encode() in first
    origin.put(manifest, first)
    await office.meet(manifest, probes(folder))
    for turn in (1, 2):
        path = f"{folder}/v-{(turn + 1) * STEP}.m4s"
        origin.put(path, body(path), cache="max-age=3600", etag=True)
        origin.put(f"{folder}/manifest.mpp", _patch(turn))
        for desk in range(count):
            await office.learn(desk, f"{folder}/manifest.mpp")
            assert (await office.get(desk, path)).body == body(path)
        assert origin.bodies(path) == 1.0, turn
