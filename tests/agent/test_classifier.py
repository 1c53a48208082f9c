"""Which requests are segments that this viewer may have from us; any doubt passes."""

import threading
from typing import Any

import pytest

from ecdn_proxy.agent import classifier
from ecdn_proxy.agent.api import PassToOrigin, ViewerRequest
from ecdn_proxy.agent.classifier import (
    PARSED_AT_ONCE_BYTES,
    Classifier,
    SegmentMatch,
    asked_range,
    origin_clock,
    partly_used_manifest,
    refused_manifest,
)
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.http.cacheability import PREFLIGHT_FIELDS
from ecdn_proxy.core.http.rule_finder import RuleFinder
from ecdn_proxy.core.manifest.model import ManifestError, Presentation
from ecdn_proxy.core.manifest.parse import parse
from ecdn_proxy.core.values import Headers
from ecdn_proxy.wire.sharing_rules import SharingRule
from tests.agent.origins import LIVE

pytestmark = pytest.mark.asyncio

BASE = "https://cdn.test/town-hall/"
KIND = "application/vnd.apple.mpegurl"
HLS: Headers = (("content-type", KIND),)
DASH: Headers = (("content-type", "application/dash+xml"),)
DASH_PATCH: Headers = (("content-type", "application/dash-patch+xml"),)
ANN: Headers = (("cookie", "session=ann"),)
EVE: Headers = (("cookie", "session=eve"),)
UTC = 1_800_000_000.0
RANGES = """#EXTM3U
#EXT-X-VERSION:4
#EXT-X-TARGETDURATION:2
#EXTINF:2.0,
#EXT-X-BYTERANGE:1000@0
all.ts
#EXTINF:2.0,
#EXT-X-BYTERANGE:1000@1000
all.ts
#EXT-X-ENDLIST
"""


def get(name: str, headers: Headers = ANN, method: str = "GET") -> ViewerRequest:
    return ViewerRequest(method, BASE + name, headers)


def sorter(*rules: SharingRule, share_parts: bool = True) -> Classifier:
    return Classifier(
        salt=bytes(32),
        profiles=Profiles.load(()),
        window_s=300.0,
        allow_local=False,
        share_parts=share_parts,
        find_rule=RuleFinder(rules).find,
    )


async def watching(text: str = LIVE, headers: Headers = ANN, rules: tuple[SharingRule, ...] = ()) -> Classifier:
    """Ann has fetched the manifest."""
    one = sorter(*rules)
    assert await one.manifest_arrived(get("live.m3u8", headers), HLS, text.encode(), UTC)
    return one


def match(found: PassToOrigin | SegmentMatch) -> SegmentMatch:
    assert isinstance(found, SegmentMatch), found
    return found


def why(found: PassToOrigin | SegmentMatch) -> str:
    assert isinstance(found, PassToOrigin), found
    return found.why


async def test_a_listed_segment_is_found_and_a_stranger_is_not() -> None:
    one = await watching()
    found = one.classify(get("2.ts"), UTC)
    assert isinstance(found, SegmentMatch)
    assert (found.listed.number, found.listed.live, found.listed.duration_s) == (2, True, 2.0)
    assert found.why == found.listed.why != ""
    assert "no manifest" in why(one.classify(get("99.ts"), UTC))
    assert "no manifest" in why(one.classify(get("live.m3u8"), UTC))
    assert "no manifest" in why(sorter().classify(get("2.ts"), UTC))


@pytest.mark.parametrize("share_parts", [True, False])
async def test_parts_of_low_latency_are_segments_unless_a_setting_says_no(share_parts: bool) -> None:
    hint = '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="9.1.ts"'
    one = sorter(share_parts=share_parts)
    text = f'{LIVE}#EXT-X-PART:DURATION=0.5,URI="9.0.ts"\n{hint}\n'
    assert await one.manifest_arrived(get("live.m3u8"), HLS, text.encode(), UTC)
    for name in ("9.0.ts", "9.1.ts"):
        found = one.classify(get(name), UTC)
        assert isinstance(found, SegmentMatch) == share_parts
        assert share_parts or "share_low_latency_parts" in why(found)
    assert isinstance(one.classify(get("2.ts"), UTC), SegmentMatch)


@pytest.mark.parametrize(
    ("request_", "about"),
    [
        (get("2.ts", method="POST"), "POST passes"),
        (get("2.ts", method="HEAD"), "HEAD passes"),
        (get("2.ts", (*ANN, ("cache-control", "max-age=0, no-store"))), "no-store"),
        (get("2.ts", (*ANN, ("cache-control", "no-cache"), ("cache-control", "no-store"))), "no-store"),
        (get("2.ts", (*ANN, ("upgrade", "websocket"))), "upgrade"),
        (get("2.ts", (*ANN, ("range", "bytes=0-1,5-6"))), "several ranges"),
    ],
)
async def test_what_the_origin_must_answer_itself(request_: ViewerRequest, about: str) -> None:
    assert about in why((await watching()).classify(request_, UTC))


@pytest.mark.parametrize(
    ("fields", "max_age_s"),
    [
        ((), None),
        ((("cache-control", "no-cache"),), 0.0),
        ((("cache-control", "max-age=0"),), 0.0),
        ((("cache-control", "max-age=20"),), 20.0),
        ((("cache-control", "max-age=soon"),), 0.0),
        ((("cache-control", "no-transform"), ("pragma", "no-cache")), None),
        ((("pragma", "No-Cache"),), 0.0),
    ],
)
async def test_a_player_that_asks_for_the_origins_word_says_how_old_a_copy_may_be(
    fields: Headers, max_age_s: float | None
) -> None:
    found = (await watching()).classify(get("2.ts", (*ANN, *fields)), UTC)
    assert isinstance(found, SegmentMatch)
    assert found.max_age_s == max_age_s


@pytest.mark.parametrize(
    ("method", "status", "changes"),
    [("POST", 200, True), ("DELETE", 204, True), ("PUT", 302, True), ("PUT", 403, False), ("GET", 200, False)],
)
async def test_what_a_request_has_changed(method: str, status: int, changes: bool) -> None:
    """RFC 9111 section 4.4: an unsafe method that succeeds makes copies of the same address void."""
    one = await watching()
    found = one.classify(get("2.ts"), UTC)
    assert isinstance(found, SegmentMatch)
    assert one.changed(get("2.ts", method=method), status, UTC) == (found.listed.key if changes else None)
    assert one.changed(get("99.ts", method=method), status, UTC) is None


@pytest.mark.parametrize("name", sorted(PREFLIGHT_FIELDS))
async def test_a_request_with_a_field_of_preflights_never_gets_a_copy(name: str) -> None:
    """RFC 9111 section 4.1: a copy does not say that it varies by the field, and answered a request without it."""
    assert "preflight" in why((await watching()).classify(get("2.ts", (*ANN, (name, "x"))), UTC))


async def test_a_rule_goes_with_the_requests_that_it_covers() -> None:
    rule = SharingRule(name="hall", hosts=("cdn.test",), path="/town-hall/2*", ignore_no_store=True)
    one = await watching(rules=(rule,))
    assert match(one.classify(get("2.ts"), UTC)).rule is rule
    assert match(one.classify(get("1.ts"), UTC)).rule is None


async def test_a_rule_may_leave_a_path_to_its_origin() -> None:
    rule = SharingRule(name="board", hosts=("*.cdn.test", "cdn.test"), share=False, source="agent.toml")
    one = await watching(rules=(rule,))
    assert why(one.classify(get("2.ts"), UTC)) == "rule board of agent.toml says share = false"


# ---- whose


async def test_another_viewer_of_this_machine_is_not_entitled_by_the_first() -> None:
    one = await watching()
    assert isinstance(one.classify(get("2.ts"), UTC), SegmentMatch)
    for stranger in (EVE, (), (*ANN, ("authorization", "Bearer x"))):
        assert "not yet answered" in why(one.classify(get("2.ts", stranger), UTC))


async def test_a_proof_ends_and_any_yes_of_the_origin_renews_it() -> None:
    one = await watching(f"{LIVE}#EXT-X-ENDLIST\n")
    assert isinstance(one.classify(get("2.ts"), UTC + 300.0), SegmentMatch)
    assert "300 s count" in why(one.classify(get("2.ts"), UTC + 301.0))
    one.origin_answered(get("2.ts"), 206, UTC + 301.0)
    assert isinstance(one.classify(get("3.ts"), UTC + 600.0), SegmentMatch)


async def test_a_yes_to_a_segment_entitles_who_asked_for_it() -> None:
    one = await watching()
    one.origin_answered(get("1.ts", EVE), 200, UTC)
    assert isinstance(one.classify(get("2.ts", EVE), UTC), SegmentMatch)


async def test_a_viewer_that_shows_an_authorization_is_entitled_by_it() -> None:
    bearer: Headers = (("authorization", "Bearer ann"),)
    one = await watching(headers=bearer)
    assert isinstance(one.classify(get("2.ts", bearer), UTC), SegmentMatch)
    assert isinstance(one.classify(get("2.ts", (("authorization", "Bearer eve"),)), UTC), PassToOrigin)
    assert isinstance(one.classify(get("2.ts", ()), UTC), PassToOrigin)


async def test_two_viewers_have_one_segment_and_what_is_found_shows_nothing_of_them() -> None:
    one = await watching()
    assert isinstance(one.classify(get("2.ts", EVE), UTC), PassToOrigin), "the one's proof is not the other's"
    one.origin_answered(get("1.ts", EVE), 304, UTC)  # "not modified" is a yes too
    ann, eve = (match(one.classify(get("2.ts", of), UTC)) for of in (ANN, EVE))
    assert ann.listed.key == eve.listed.key, "one segment, whoever asks"
    assert "session" not in f"{ann}{eve}"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_no_of_the_origin_takes_the_proof_back(status: int) -> None:
    one = await watching()
    one.origin_answered(get("1.ts"), status, UTC)
    assert isinstance(one.classify(get("2.ts"), UTC), PassToOrigin)
    one.origin_answered(get("1.ts"), 200, UTC)
    assert isinstance(one.classify(get("2.ts"), UTC), SegmentMatch)


@pytest.mark.parametrize("status", [404, 416, 500, 503])
async def test_a_trouble_of_the_origin_is_no_no(status: int) -> None:
    one = await watching()
    one.origin_answered(get("1.ts"), status, UTC)
    assert isinstance(one.classify(get("2.ts"), UTC), SegmentMatch)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("1.ts", EVE), 404),
        (get("1.ts", EVE), 500),
        (get("elsewhere", EVE), 200),
        (get("1.ts", EVE, "POST"), 200),
        (get("1.ts", (*EVE, ("range", "bytes=0-1,4-5"))), 206),
    ],
)
async def test_what_proves_nothing(request_: ViewerRequest, status: int) -> None:
    one = await watching()
    one.origin_answered(request_, status, UTC)
    assert isinstance(one.classify(get("2.ts", EVE), UTC), PassToOrigin)


async def test_tokens_in_the_manifest_are_its_readers() -> None:
    signed = LIVE.replace("2.ts", "2.ts?hdnea=st=1~exp=2~acl=/*~hmac=aa")
    one = await watching(signed)
    url = "2.ts?hdnea=st=1~exp=2~acl=/*~hmac=aa"
    assert isinstance(one.classify(get(url), UTC), SegmentMatch)
    assert isinstance(one.classify(get(url, EVE), UTC), PassToOrigin)
    assert isinstance(one.classify(get("2.ts?hdnea=st=1~exp=2~acl=/*~hmac=bb"), UTC), PassToOrigin)


async def test_cookies_that_come_in_several_fields_are_all_the_viewers() -> None:
    """HTTP/2 splits them (RFC 9113 section 8.2.3): the last crumb may be the same for everyone."""
    lang = ("cookie", "lang=en")
    one = await watching(headers=(*ANN, lang))
    assert isinstance(one.classify(get("2.ts", (*ANN, lang)), UTC), SegmentMatch)
    assert isinstance(one.classify(get("2.ts", (("cookie", "session=ann; lang=en"),)), UTC), SegmentMatch), (
        "as HTTP/1.1 has them"
    )
    assert isinstance(one.classify(get("2.ts", (*EVE, lang)), UTC), PassToOrigin)


# ---- ranges


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        ("bytes=0-99", (0, 99)),
        ("bytes=100-", (100, None)),
        ("Bytes = 5-6", (5, 6)),
        ("bytes= 5-6 ", (5, 6)),
        ("bytes=0-1,3-4", "several"),
        ("bytes=-500", None),
        ("bytes=5", None),
        ("bytes=a-6", None),
        ("bytes=5-b", None),
        ("bytes=٣-٤", None),
        ("items=0-5", None),
        ("items=0-5,7-8", None),
        ("", None),
    ],
)
async def test_what_was_asked_for(value: str | None, found: object) -> None:
    assert asked_range(value) == found


@pytest.mark.parametrize("value", [f"bytes={'9' * 5_000}-", f"bytes=0-{'9' * 5_000}", f"bytes={'9' * 19}-"])
async def test_a_range_of_many_digits_is_no_range_of_ours(value: str) -> None:
    """Of a segment that is a whole resource it is cut, as any other; of one that is a part it is another part."""
    asked = (*ANN, ("range", value))
    assert asked_range(value) is None
    one = await watching()
    one.origin_answered(get("2.ts", asked), 416, UTC)
    assert match(one.classify(get("2.ts", asked), UTC)).listed.byte_range is None
    assert "no manifest" in why((await watching(RANGES)).classify(get("all.ts", asked), UTC))


async def test_a_part_of_a_resource_is_a_segment_of_its_own() -> None:
    one = await watching(RANGES)
    first = one.classify(get("all.ts", (*ANN, ("range", "bytes=0-999"))), UTC)
    second = one.classify(get("all.ts", (*ANN, ("range", "bytes=1000-1999"))), UTC)
    assert isinstance(first, SegmentMatch)
    assert isinstance(second, SegmentMatch)
    assert first.listed.key != second.listed.key
    assert isinstance(one.classify(get("all.ts", (*ANN, ("range", "bytes=0-1999"))), UTC), PassToOrigin)
    conditional = (*ANN, ("range", "bytes=0-999"), ("if-range", '"v1"'))
    assert "conditional" in why(one.classify(get("all.ts", conditional), UTC))
    assert isinstance((await watching()).classify(get("2.ts", conditional), UTC), SegmentMatch), (
        "what is here whole can be compared"
    )


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-99", "bytes=-500", "bytes=9-5", "bytes=999999999-"])
async def test_a_range_of_a_whole_segment_is_cut_out_of_it(value: str) -> None:
    found = (await watching()).classify(get("2.ts", (*ANN, ("range", value))), UTC)
    assert isinstance(found, SegmentMatch)
    assert found.listed.byte_range is None


# ---- manifests


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("live.m3u8", KIND, True),
        ("live.m3u8?x=1", "application/octet-stream", True),
        ("live.m3u8", "text/html", True),
        ("LIVE.M3U8", "", True),
        ("live.m3u8", "image/png", False),
        ("live.m3u8", "video/mp2t", False),
        ("stream.mpd", "application/dash+xml", True),
        ("vod.ism/manifest", "text/xml", True),
        ("vod.ism/Manifest(format=mpd)", "application/dash+xml", True),
        ("api/play", "application/vnd.apple.mpegurl; charset=utf-8", True),
        ("api/play", "application/dash+xml", True),
        ("api/play", "text/html; charset=utf-8", False),
        ("page.xhtml", "text/html+xml", False),
        ("2.ts", "video/mp2t", False),
        ("2.ts", "", False),
    ],
)
async def test_which_bodies_are_worth_a_look(name: str, kind: str, wanted: bool) -> None:
    assert sorter().may_be_manifest(get(name), 200, (("content-type", kind),)) is wanted
    assert not sorter().may_be_manifest(get(name), 404, (("content-type", kind),))
    assert not sorter().may_be_manifest(get(name, method="POST"), 200, (("content-type", kind),))


@pytest.mark.parametrize(
    ("status", "content_range", "wanted"),
    [
        (206, "bytes 0-99/100", True),
        (203, None, True),
        (206, " bytes 0-99/100", True),
        (206, "bytes 0-98/100", False),
        (206, "bytes 1-99/100", False),
        (206, "bytes 0-99/*", False),
        (206, "bytes 0-99", False),
        (206, None, False),
        (304, None, False),
    ],
)
async def test_all_of_a_manifest_is_one_whatever_its_status(
    status: int, content_range: str | None, wanted: bool
) -> None:
    """ffmpeg, and so mpv and yt-dlp, ask for playlists with `Range: bytes=0-`."""
    headers = (*HLS, *((("content-range", content_range),) if content_range is not None else ()))
    assert sorter().may_be_manifest(get("live.m3u8", (*ANN, ("range", "bytes=0-"))), status, headers) is wanted


TAGGED: Headers = (*HLS, ("etag", '"v1"'), ("last-modified", "Thu, 05 Nov 2026 10:00:00 GMT"))


def validating(name: str, *fields: tuple[str, str], method: str = "GET") -> ViewerRequest:
    return get(name, (*ANN, *(fields or (("if-none-match", '"v1"'),))), method)


@pytest.mark.parametrize(
    ("request_", "whole"),
    [
        (validating("live.m3u8"), True),
        (validating("vod.ism/manifest(format=mpd)?x=1"), True),
        (validating("live.mpd", ("if-modified-since", "Thu, 05 Nov 2026 10:00:00 GMT")), True),
        (validating("live.m3u8", ("if-none-match", '"v1"'), ("range", "bytes=0-")), True),
        (validating("videomanifest?part=index", ("if-none-match", '"v1"'), ("sec-fetch-dest", "empty")), True),
        (validating("videomanifest?part=index", ("if-none-match", '"v1"'), ("sec-fetch-dest", "image")), False),
        (validating("live.m3u8", ("if-none-match", '"v1"'), ("range", "bytes=0-99")), False),
        (validating("live.m3u8", ("if-none-match", "*")), False),
        (validating("live.m3u8", method="HEAD"), False),
        (validating("2.ts"), False),
        (validating("player.js"), False),
        (get("live.m3u8"), False),
    ],
)
async def test_a_manifest_that_is_not_known_is_asked_for_without_conditions(
    request_: ViewerRequest, whole: bool
) -> None:
    assert sorter().needs_whole_body(request_) is whole


async def test_a_viewer_that_validates_the_body_that_is_known_may_be_told_304() -> None:
    one = sorter()
    await one.manifest_arrived(get("live.m3u8"), TAGGED, LIVE.encode(), UTC)
    assert not one.needs_whole_body(validating("live.m3u8"))
    assert not one.needs_whole_body(validating("live.m3u8", ("if-none-match", 'W/"v1"')))
    assert one.needs_whole_body(validating("live.m3u8", ("if-none-match", '"v0"'))), "another body than was seen here"
    one.forget_old(UTC + 86_400.0)
    assert one.needs_whole_body(validating("live.m3u8")), "what it lists is not known any more"


async def test_a_304_to_a_known_manifest_proves_its_viewer() -> None:
    one = await watching()
    assert isinstance(one.classify(get("2.ts", EVE), UTC), PassToOrigin)
    one.origin_answered(get("live.m3u8", EVE), 304, UTC)
    assert isinstance(one.classify(get("2.ts", EVE), UTC), SegmentMatch)
    one.origin_answered(get("unknown.m3u8", EVE), 304, UTC)
    one.origin_answered(ViewerRequest("GET", "not a url", EVE), 304, UTC)


async def test_what_has_shown_to_be_no_manifest_may_be_validated() -> None:
    one = sorter()
    polled = validating("api/state", ("if-none-match", '"v1"'), ("sec-fetch-dest", "empty"))
    assert one.needs_whole_body(polled)
    assert not one.may_be_manifest(polled, 200, (("content-type", "application/json"), ("etag", '"v1"')))
    assert not one.needs_whole_body(polled)
    await one.manifest_arrived(get("notes"), (("content-type", "text/plain"), ("etag", '"v1"')), b"hello", UTC)
    assert not one.needs_whole_body(validating("notes"))


async def test_what_is_no_manifest_opens_no_stream() -> None:
    assert not await sorter().manifest_arrived(get("notes.txt"), (("content-type", "text/plain"),), b"hello", UTC)


async def test_a_manifest_that_cannot_be_used_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ManifestError):
        await sorter().manifest_arrived(get("live.m3u8"), HLS, b"#EXTM3U\n#EXT-X-TARGETDURATION:two\n", UTC)


async def test_a_long_manifest_is_read_all_the_same_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"#EXTINF:2.0,\n{number}.ts\n" for number in range(6_000))
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{lines}#EXT-X-ENDLIST\n"
    assert len(text) > PARSED_AT_ONCE_BYTES
    beside_the_loop: list[bool] = []

    def noted(*told: Any, **more: Any) -> Presentation:
        beside_the_loop.append(threading.current_thread() is not threading.main_thread())
        return parse(*told, **more)

    monkeypatch.setattr(classifier, "parse", noted)
    one = await watching(text)
    assert isinstance(one.classify(get("5999.ts"), UTC), SegmentMatch)
    await watching()
    assert beside_the_loop == [True, False], "a short one is not worth a thread"


MASTER = """#EXTM3U
#EXT-X-DEFINE:NAME="folder",VALUE="parts"
#EXT-X-STREAM-INF:BANDWIDTH=3000000
live.m3u8
"""


async def test_who_came_late_and_who_saw_the_master_meet() -> None:
    first, newcomer = sorter(), sorter()
    told = await first.manifest_arrived(get("master.m3u8"), HLS, MASTER.encode(), UTC)
    assert len(told) == 1
    assert await first.manifest_arrived(get("live.m3u8"), HLS, LIVE.encode(), UTC) == told
    assert await newcomer.manifest_arrived(get("live.m3u8"), HLS, LIVE.encode(), UTC) == told
    assert (
        match(first.classify(get("2.ts"), UTC)).listed.stream
        == match(newcomer.classify(get("2.ts"), UTC)).listed.stream
    )


async def test_what_the_master_defines_counts_in_its_playlists() -> None:
    imported = LIVE.replace("#EXT-X-VERSION:3\n", '#EXT-X-VERSION:8\n#EXT-X-DEFINE:IMPORT="folder"\n')
    one = sorter()
    await one.manifest_arrived(get("master.m3u8"), HLS, MASTER.encode(), UTC)
    await one.manifest_arrived(get("live.m3u8"), HLS, imported.replace("2.ts", "{$folder}/2.ts").encode(), UTC)
    assert isinstance(one.classify(get("parts/2.ts"), UTC), SegmentMatch)


async def test_what_is_old_is_forgotten_and_takes_no_room() -> None:
    one = await watching(f"{LIVE}#EXT-X-ENDLIST\n")
    one.forget_old(UTC + 300.0)
    assert isinstance(one.classify(get("2.ts"), UTC), SegmentMatch)
    assert (len(one.catalog._streams), len(one._entitlements)) == (1, 1)
    one.forget_old(UTC + 86_400.0)
    assert "no manifest" in why(one.classify(get("2.ts"), UTC))
    assert (len(one.catalog._streams), len(one._entitlements)) == (0, 0)


LINE = "/MPD/Period/AdaptationSet/SegmentTemplate/SegmentTimeline"


def live_mpd(published: str, entries: str) -> bytes:
    return (
        f'<MPD id="e" type="dynamic" availabilityStartTime="2020-01-01T00:00:00Z" publishTime="{published}">'
        '<PatchLocation ttl="60">m.mpp</PatchLocation><Period id="p"><AdaptationSet>'
        '<SegmentTemplate media="$Time$.m4s">'
        f"<SegmentTimeline>{entries}</SegmentTimeline></SegmentTemplate>"
        '<Representation id="v"/></AdaptationSet></Period></MPD>'
    ).encode()


def mpd_patch(before: str, after: str, entries: str) -> bytes:
    return (
        f'<Patch mpdId="e" originalPublishTime="{before}" publishTime="{after}">'
        f'<replace sel="/MPD/@publishTime">{after}</replace><add sel="{LINE}">{entries}</add></Patch>'
    ).encode()


async def test_an_event_that_is_followed_by_mpd_patches_goes_on_being_shared() -> None:
    one = sorter()
    at = [f"2023-11-14T22:13:{second:02d}Z" for second in (0, 4, 8)]
    patches = (("content-type", "application/dash-patch+xml"),)
    assert one.may_be_manifest(get("m.mpp"), 200, patches)
    assert one.may_be_manifest(get("m.mpp"), 200, (("content-type", "binary/octet-stream"),))
    whole = await one.manifest_arrived(get("m.mpd"), DASH, live_mpd(at[0], '<S t="0" d="4"/>'), UTC)
    for place, (time, count) in enumerate((("4", 2), ("8", 3))):
        body = mpd_patch(at[place], at[place + 1], f'<S t="{time}" d="4"/>')
        assert await one.manifest_arrived(get("m.mpp"), DASH_PATCH, body, UTC + 4 * place) == whole
        found = [isinstance(one.classify(get(f"{name}.m4s"), UTC + 4), SegmentMatch) for name in (0, 4, 8)]
        assert found == [at_place < count for at_place in range(3)]
    assert not isinstance(one.classify(get("m.mpp"), UTC), SegmentMatch)


async def test_a_patch_of_an_mpd_that_is_not_known_harms_nothing() -> None:
    late = sorter()
    body = mpd_patch("2023-11-14T22:13:00Z", "2023-11-14T22:13:04Z", '<S t="4" d="4"/>')
    with pytest.raises(ManifestError, match="not fetched through this agent"):
        await late.manifest_arrived(get("m.mpp"), DASH_PATCH, body, UTC)
    assert "no manifest" in why(late.classify(get("4.m4s"), UTC))
    await late.manifest_arrived(get("m.mpd"), DASH, live_mpd("2023-11-14T22:13:04Z", '<S t="4" d="4"/>'), UTC)
    assert isinstance(late.classify(get("4.m4s"), UTC), SegmentMatch)


async def test_a_long_mpd_is_patched_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    one = sorter()
    entries = "".join(f'<S t="{4 * number}" d="4"/>' for number in range(6_000))
    await one.manifest_arrived(get("m.mpd"), DASH, live_mpd("2023-11-14T22:13:00Z", entries), UTC)
    beside_the_loop: list[bool] = []

    def noted(*told: Any, **more: Any) -> Presentation:
        beside_the_loop.append(threading.current_thread() is not threading.main_thread())
        return parse(*told, **more)

    monkeypatch.setattr(classifier, "parse", noted)
    body = mpd_patch("2023-11-14T22:13:00Z", "2023-11-14T22:13:04Z", '<S t="24000" d="4"/>')
    await one.manifest_arrived(get("m.mpp"), DASH_PATCH, body, UTC)
    assert isinstance(one.classify(get("24000.m4s"), UTC), SegmentMatch)
    assert beside_the_loop == [True]


async def test_the_origins_clock_is_its_date_and_how_long_a_cache_has_kept_it() -> None:
    date = ("date", "Tue, 14 Nov 2023 22:13:20 GMT")
    assert origin_clock((date,)) == 1_700_000_000
    assert origin_clock((date, ("age", "40"))) == 1_700_000_040
    assert origin_clock((date, ("age", "-1, 2"))) == 1_700_000_000
    assert origin_clock((("date", "noon"),)) is None
    assert origin_clock(()) is None


async def test_a_machine_whose_clock_is_wrong_shares_what_the_origins_clock_allows() -> None:
    body = (
        b'<MPD type="dynamic" availabilityStartTime="2023-11-14T22:12:20Z" timeShiftBufferDepth="PT8S"><Period id="p">'
        b'<AdaptationSet><SegmentTemplate media="$Number$.m4s" duration="2"/><Representation id="v"/></AdaptationSet>'
        b"</Period></MPD>"
    )
    for off_s in (-60.0, 60.0):
        one = sorter()
        dated = (*DASH, ("date", "Tue, 14 Nov 2023 22:13:20 GMT"))
        await one.manifest_arrived(get("m.mpd"), dated, body, 1_700_000_000 + off_s)
        assert isinstance(one.classify(get("30.m4s"), 1_700_000_000 + off_s), SegmentMatch)


async def test_what_was_left_out_is_said_in_a_few_sentences_without_a_token() -> None:
    said = partly_used_manifest(get("live.m3u8?token=secret"), ("one", "two", "three", "four", "five"))
    assert said == f"{BASE}live.m3u8: left out: one; two; three; and 2 more"


async def test_a_refusal_shows_no_token() -> None:
    said = refused_manifest(get("live.m3u8?token=secret"), ManifestError("no segments", "line 1", "add some"))
    assert said == f"{BASE}live.m3u8: no segments (line 1); add some"
