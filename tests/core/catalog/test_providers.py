"""`core.catalog.providers`: for each profile, two viewers meet, two segments never do, and nothing else is dropped."""

# ruff: noqa: E501 - URLs read best on one line

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.catalog.providers import UNKNOWN, BadProfile, Profiles

PROFILES = Profiles.load()
HEX = "0123456789abcdef" * 4
XEH = HEX[::-1]
GUID = "6f2a1b3c-0000-4111-8222-0123456789ab"
SAS = "sv=2024-05-04&st=2025-01-01T00%3A00%3A00Z&se={}&sr=b&sp=r&spr=https&skoid=a&sktid=b&skt=2025-01-01&ske=2025-01-02&sks=b&skv=2024-05-04&sig={}"
SHAREPOINT = "https://contoso.sharepoint.com/_api_cached/v2.1/drives/b!d/items/01I/oneDrive.transcode?format=dash&part=mediasegment&quality=720p&segmentTime={}&track=video&kid=k&enableEncryption=1&cTag=c&version=Published"
TRANSFORM = "https://westeurope1-mediap.svc.ms/transform/dash?provider=spo&part=mediasegment&segmentTime={}&track=v&quality=q&cTag=c&docid=https%3A%2F%2Fcontoso.sharepoint.com%2F_api%2Fv2.0%2Fdrives%2Fb!d%2Fitems%2F1%3Fversion%3DPublished%26tempauth%3D{}&access_token={}&cs={}"

# provider, one viewer's URL, another viewer's URL of the same segment, the first viewer's URL of the next segment, tokens
SAME: list[tuple[str, str, str, str, int]] = [
    ("teams", "https://a.ml.cdn.office.net/x/QualityLevels(1)/Fragments(video=1)?t=1", "https://a.ml.cdn.office.net:443/x/QualityLevels(1)/Fragments(video=1)?t=1#f",
     "https://a.ml.cdn.office.net/x/QualityLevels(1)/Fragments(video=2)?t=1", 0),
    ("azure-media", f"https://acc-euwe.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(400000)/Fragments(video=0,format=mpd-time-csf)?token=Bearer%20x",
     f"http://acc.streaming.mediaservices.windows.net/p/{GUID}/a.ism/QualityLevels(400000)/Fragments(video=0,format=mpd-time-csf)?token=y".replace("http:", "https:"),
     f"https://acc-euwe.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(400000)/Fragments(video=1,format=mpd-time-csf)?token=Bearer%20x", 1),
    ("stream-sharepoint", SHAREPOINT.format(0) + "&P1=17&P2=2&P3=3&P4=sig%3D&correlationid=abc&pn=1&tempauth=v1.e&access_token=t",
     SHAREPOINT.format(0) + "&P1=18&P2=2&P3=3&P4=other&correlationid=def&pn=2", SHAREPOINT.format(40) + "&P1=17", 6),
    ("stream-transform", TRANSFORM.format(0, "a.b", "x", "1"), TRANSFORM.format(0, "c.d", "y", "2"), TRANSFORM.format(40, "a.b", "x", "1"), 3),
    ("kaltura", "https://cfvod.kaltura.com/hls/p/1/sp/100/serveFlavor/entryId/1_a/v/1/flavorId/1_f/name/a.mp4/seg-1-v1-a1.ts?ks=djJ8&Policy=p&Signature=s&Key-Pair-Id=k",
     f"https://vod-cache.kaltura.com/hls/p/1/sp/100/serveFlavor/entryId/1_a/v/1/flavorId/1_f/name/a.mp4/seg-1-v1-a1.ts?hdnts=exp=1~acl=/*~hmac={HEX}",
     "https://cfvod.kaltura.com/hls/p/1/sp/100/serveFlavor/entryId/1_a/v/1/flavorId/1_f/name/a.mp4/seg-2-v1-a1.ts", 4),
    ("brightcove", "https://house-fastly-signed-us-east-1-prod.brightcovecdn.com/media/v1/hls/v4/clear/62/g/s/5x/segment0.ts?fastly_token=Njc",
     "https://bcbolt446c5271-a.akamaihd.net/media/v1/hls/v4/clear/62/g/s/5x/segment0.ts?akamai_token=exp=1~acl=/*~hmac=1",
     "https://house-fastly-signed-us-east-1-prod.brightcovecdn.com/media/v1/hls/v4/clear/62/g/s/5x/segment1.ts?fastly_token=Njc", 1),
    ("vimeo", f"https://vod-adaptive-ak.vimeocdn.com/exp=1700000000~acl=%2Fclip%2F%2A~hmac={HEX}/clip/psid=ab/v2/range/prot/cmFuZ2U/avf/v1.mp4?pathsig=8c~x&r=dXM&range=0-99&st=1",
     f"https://vod-adaptive-ak.vimeocdn.com/exp=1800000000~acl=%2Fclip%2F%2A~hmac={XEH}/clip/psid=cd/v2/range/prot/cmFuZ2U/avf/v1.mp4?pathsig=9d~y&r=dXM&range=0-99&st=1&rh=q",
     f"https://vod-adaptive-ak.vimeocdn.com/exp=1700000000~acl=%2Fclip%2F%2A~hmac={HEX}/clip/psid=ab/v2/range/prot/cmFuZ2U/avf/v1.mp4?pathsig=8c~x&r=dXM&range=100-199&st=2", 3),
    ("unknown", f"https://media.example.com/a/1.m4s?hdnts=st=1~exp=2~acl=/*~hmac={HEX}&q=1", f"https://media.example.com/a/1.m4s?hdnea=exp%3D3%7Eacl%3D%2F%2A%7Ehmac%3D{XEH}&q=1",
     "https://media.example.com/a/2.m4s?q=1", 1),
    ("unknown", f"https://media.example.com/hdntl=exp=2~acl=%2f*~data=hdntl~hmac={HEX}/a/1.m4s", "https://media.example.com/a/1.m4s", f"https://media.example.com/hdntl=exp=2~acl=%2f*~hmac={HEX}/a/2.m4s", 1),
    ("unknown", f"https://media.example.com/hdntl=exp=2~acl=/*~hmac={HEX}/a/1.m4s", f"https://media.example.com/hdntl=st=1~exp=3~acl=/*!/a/b/*~data=x/y~hmac={XEH}/a/1.m4s",
     f"https://media.example.com/hdntl=exp=2~acl=/*~hmac={HEX}/a/2.m4s", 1),
    ("unknown", f"https://media.example.com/live/hdnts=exp=2~acl=/live/a/*~hmac={HEX}/a/1.m4s", "https://media.example.com/live/a/1.m4s", "https://media.example.com/live/a/2.m4s", 1),
    ("unknown", f"https://media.example.com/a/1.m4s/hdnea=exp=2~acl=/a/*~hmac={HEX}", f"https://media.example.com/a/1.m4s/hdnea=exp=3~acl=/*~hmac={XEH}", "https://media.example.com/a/2.m4s", 1),
    ("vimeo", f"https://x.vimeocdn.com/exp=1~acl=/clip/*~hmac={HEX}/clip/v2/1.mp4", f"https://x.vimeocdn.com/st=1~exp=2~acl=/clip/v2/*~hmac={XEH}/clip/v2/1.mp4", "https://x.vimeocdn.com/clip/v2/2.mp4", 1),
    ("unknown", "https://h.example/1.ts?CMCD=br%3D1&a=1", "https://h.example/1.ts?a=1&_HLS_msn=5&_HLS_part=1", "https://h.example/2.ts?CMCD=br%3D1&a=1", 0),
    ("vimeo", "https://x.vimeocdn.com./1.mp4?r=a", "https://x.vimeocdn.com:443/1.mp4?r=b", "https://x.vimeocdn.com./2.mp4", 0),
    ("vimeo", "https://x.vimeocdn.com/1.mp4?CMCD=a", "https://x.vimeocdn.com/1.mp4?CMCD=b", "https://x.vimeocdn.com/2.mp4", 0),
    ("unknown", "https://d1.cloudfront.net/a/1.m4s?x=1&Expires=17&Signature=a__&Key-Pair-Id=K", "https://d1.cloudfront.net/a/1.m4s?Policy=ey&Signature=b__&Key-Pair-Id=L&x=1", "https://d1.cloudfront.net/a/2.m4s?x=1", 3),
    ("unknown", "https://b.s3.amazonaws.com/1.ts?X-Amz-Algorithm=A&X-Amz-Credential=C&X-Amz-Date=D&X-Amz-Expires=3&X-Amz-SignedHeaders=host&X-Amz-Signature=s&versionId=7",
     "https://b.s3.amazonaws.com/1.ts?versionId=7&X-Amz-Credential=D&X-Amz-Signature=t&X-Amz-Security-Token=u", "https://b.s3.amazonaws.com/1.ts?versionId=8", 6),
    ("unknown", "https://b.s3.amazonaws.com/1.ts?AWSAccessKeyId=A&Signature=s&Expires=1", "https://b.s3.amazonaws.com/1.ts?AWSAccessKeyId=B&Signature=t&Expires=2", "https://b.s3.amazonaws.com/2.ts", 3),
    ("unknown", "https://storage.googleapis.com/b/1.ts?X-Goog-Algorithm=A&X-Goog-Credential=C&X-Goog-Date=D&X-Goog-Expires=3&X-Goog-SignedHeaders=host&X-Goog-Signature=s&generation=4",
     "https://storage.googleapis.com/b/1.ts?generation=4&X-Goog-Credential=E&X-Goog-Signature=t", "https://storage.googleapis.com/b/1.ts?generation=5", 6),
    ("unknown", "https://storage.googleapis.com/b/1.ts?GoogleAccessId=a&Expires=1&Signature=s", "https://storage.googleapis.com/b/1.ts?GoogleAccessId=b&Expires=2&Signature=t", "https://storage.googleapis.com/b/2.ts", 3),
    ("unknown", "https://acc.blob.core.windows.net/c/1.m4s?" + SAS.format("2025-01-02", "aaa%3D") + "&snapshot=x", "https://acc.blob.core.windows.net/c/1.m4s?snapshot=x&" + SAS.format("2026-01-02", "bbb%3D"),
     "https://acc.blob.core.windows.net/c/1.m4s?snapshot=y", 13),
]  # fmt: skip

DIFFERENT = [
    ("http://h.example/1.ts", "https://h.example/1.ts"),
    ("https://h.example/1.ts", "https://h.example:8443/1.ts"),
    ("https://h.example/a//1.ts", "https://h.example/a/1.ts"),
    ("https://h.example/1.ts?token=a", "https://h.example/1.ts?token=b"),
    ("https://h.example/1.ts?cmcd=1", "https://h.example/1.ts?cmcd=2"),
    ("https://h.example/1.ts?_HLS_=1", "https://h.example/1.ts?_HLS_=2"),
    ("https://h.example/1.ts?Expires=1", "https://h.example/1.ts?Expires=2"),
    ("https://h.example/1.ts?Signature=1&Expires=1", "https://h.example/1.ts?Signature=2&Expires=1"),
    ("https://h.example/1.ts?hdnts=1", "https://h.example/1.ts?hdnts=2"),
    ("https://h.example/1.ts?sv=1&sp=2", "https://h.example/1.ts?sv=2&sp=2"),
    ("https://h.example/hdnts=1/1.ts", "https://h.example/hdnts=2/1.ts"),
    (f"https://h.example/hdntl=exp=1/event/1~hmac={HEX}/1.ts", f"https://h.example/hdntl=exp=1/event/2~hmac={HEX}/1.ts"),
    (f"https://h.example/hdntl=acl=/*~hmac={HEX}/1.ts", f"https://h.example/hdntl=acl=/*~hmac={XEH}/1.ts"),
    (f"https://h.example/hdntl=exp=1~acl=/*/a/1.ts/hmac={HEX}", f"https://h.example/hdntl=exp=1~acl=/*/b/1.ts/hmac={HEX}"),
    (f"https://h.example/hdntl=exp=1~acl=/*~hmac={HEX}x/1.ts", f"https://h.example/hdntl=exp=1~acl=/*~hmac={XEH}x/1.ts"),
    (f"https://h.example/xhdntl=exp=1~acl=/*~hmac={HEX}/1.ts", f"https://h.example/xhdntl=exp=1~acl=/*~hmac={XEH}/1.ts"),
    (f"https://h.example/hdntl=exp=1~film=a/1~hmac={HEX}/1.ts", f"https://h.example/hdntl=exp=1~film=a/2~hmac={HEX}/1.ts"),
    ("https://h.example/1.ts?a=1&b=2", "https://h.example/1.ts?b=2&a=1"),
    ("https://b.s3.amazonaws.com/1.ts?X-Amz-Signature=s&X-Amz-Credential=c&response-content-type=a", "https://b.s3.amazonaws.com/1.ts?X-Amz-Signature=s&X-Amz-Credential=c&response-content-type=b"),
    ("https://acc.blob.core.windows.net/1?sv=2024-05-04&sig=a&rsce=gzip", "https://acc.blob.core.windows.net/1?sv=2024-05-04&sig=a"),
    ("https://a.boltdns.net/x/1.ts?fastly_token=a", "https://a.boltdns.net/x/1.ts?fastly_token=b"),
    (f"https://evil.example/{GUID}/a.ism/QualityLevels(4)/Fragments(video=0)", f"https://a.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(4)/Fragments(video=0)"),
    (TRANSFORM.format(0, "a", "b", "c"), TRANSFORM.format(0, "a", "b", "c").replace("Published", "2")),
    (TRANSFORM.format(0, "a", "b", "c").replace("%3Fversion", "%26version"), TRANSFORM.format(0, "a", "b", "c")),
    (f"http://a.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(4)/Fragments(video=0)", f"https://a.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(4)/Fragments(video=0)"),
    ("https://h.example/hls/p/1/x.ts?ks=1", "https://h.example/hls/p/1/x.ts?ks=2"),
    ("https://h.example/1?" + "&".join(f"a{i}=1" for i in range(201)) + "&Signature=1&Key-Pair-Id=1", "https://h.example/1?" + "&".join(f"a{i}=1" for i in range(201)) + "&Signature=2&Key-Pair-Id=1"),
]  # fmt: skip

STRAIGHT = [
    "https://r1---sn-x.googlevideo.com/videoplayback?id=1",
    "https://kd.eu.keys.ml.teams.microsoft.com/key?kid=1",
    "https://a.ecdn.teams.microsoft.com/x",
    "https://a.ml.cdn.office.net/x.ism/manifest(format=m3u8-cmaf)",
    f"https://a.streaming.media.azure.net/{GUID}/a.ism/manifest(format=mpd-time-csf)",
    f"https://a.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(1)/Manifest(video,format=m3u8-aapl)",
    SHAREPOINT.format(0).replace("mediasegment", "key"),
    SHAREPOINT.format(0).replace("mediasegment", "INDEX"),
    TRANSFORM.format(0, "a", "b", "c").replace("mediasegment", "key"),
    "https://cdnapisec.kaltura.com/p/1/sp/100/playManifest/entryId/1_a/format/applehttp/protocol/https/a.m3u8",
    "https://manifest.prod.boltdns.net/media/v1/hls/v4/clear/6/rendition.m3u8?fastly_token=x",
    "https://x.vimeocdn.com/drm/license",
]


@pytest.mark.parametrize(("provider", "one", "other", "following", "tokens"), SAME)
def test_two_viewers_meet_and_two_segments_do_not(
    provider: str, one: str, other: str, following: str, tokens: int
) -> None:
    first, second, third = (PROFILES.canonical(url) for url in (one, other, following))
    assert first.identity == second.identity
    assert first.identity != third.identity
    assert {first.provider, second.provider, third.provider} == {provider}
    assert len(first.tokens) == tokens
    assert first.share
    assert first.rule
    assert PROFILES.canonical(first.identity).identity == first.identity or "(" in first.identity.split("/")[2]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_nothing_is_dropped_by_its_name_alone(one: str, other: str) -> None:
    assert PROFILES.canonical(one).identity != PROFILES.canonical(other).identity


@pytest.mark.parametrize("url", STRAIGHT)
def test_straight_to_the_origin(url: str) -> None:
    found = PROFILES.canonical(url)
    assert not found.share
    assert found.rule


@given(
    st.sampled_from([row[1] for row in SAME]),
    st.text("abcdef0123456789", min_size=1, max_size=5),
    st.sampled_from(["id", "v", "seg", "bitrate", "st", "sid", "e"]),
)
def test_an_unknown_parameter_always_identifies(url: str, value: str, name: str) -> None:
    one, other = (PROFILES.canonical(f"{url}{'&' if '?' in url else '?'}{name}={value}{more}") for more in ("", "x"))
    assert one.identity != other.identity


@pytest.mark.parametrize(
    ("url", "programme"),
    [
        (
            f"https://x.vimeocdn.com/exp=1~acl=/clip/*~hmac={HEX}/clip/psid=ab/v2/range/prot/cmFuZ2U/avf/v1.mp4?range=0-9",
            "https://x.vimeocdn.com/clip/",
        ),
        (SHAREPOINT.format(0), "https://contoso.sharepoint.com/drives/b!d/items/01I/"),
        (
            "https://cfvod.kaltura.com/hls/p/1/sp/100/serveFlavor/entryId/1_a/v/1/flavorId/1_f/name/a.mp4/seg-1-v1-a1.ts",
            "https://(kaltura)/entryId/1_a/",
        ),
        (
            f"https://acc.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(400000)/Fragments(video=0)",
            f"https://(azure-media)/{GUID}/a.ism/",
        ),
        ("https://h.example/event/720p/1.ts?entryId/7", "https://h.example/event/"),
    ],
)
def test_what_belongs_to_one_programme(url: str, programme: str) -> None:
    found = PROFILES.canonical(url)
    assert PROFILES.programme(f"{found.provider}|{found.identity}") == programme


def test_ranges_are_part_of_an_identity_when_given() -> None:
    url = "https://h.example/1.mp4"
    assert len({PROFILES.canonical(url, r).identity for r in (None, (0, 9), (0, None), (1, 9))}) == 4


def test_a_template_keeps_its_variables() -> None:
    found = PROFILES.canonical(
        f"https://a.streaming.media.azure.net/{GUID}/a.ism/QualityLevels(4)/Fragments(video=$Time$)?token=x"
    )
    assert found.identity.endswith("Fragments(video=$Time$)")
    assert "$Number%05d$" in PROFILES.canonical("https://h.example/$Number%05d$.m4s").identity


def test_nested_credentials_are_cut_out_of_their_parameter_only() -> None:
    plain = PROFILES.canonical("https://a-mediap.svc.ms/transform/x?docid=https%3A%2F%2Fh%2F1%3Ftempauth%3Dx")
    assert plain.identity == "https://a-mediap.svc.ms/transform/x?docid=https%3A%2F%2Fh%2F1"
    assert plain.tokens == ("tempauth=x",)


def test_an_administrators_profiles() -> None:
    mine: dict[str, Any] = {
        "name": "mine",
        "why": "ours",
        "hosts": ["video.corp.example"],
        "drop_query": [{"name": "sid"}],
    }
    profiles = Profiles.load([mine, {"name": "youtube", "why": "none", "hosts": ["nowhere.example"]}])
    assert profiles.canonical("https://video.corp.example/1?sid=a").identity == "https://video.corp.example/1"
    assert profiles.canonical("https://x.googlevideo.com/1").share
    assert profiles.canonical("https://unknown.example/").provider == UNKNOWN
    assert profiles.canonical("https://video.corp.example/1").provider == "mine"
    assert {"mine", "akamai", "vimeo"} <= set(profiles.names())


@pytest.mark.parametrize(
    "table",
    [
        {"name": "x", "why": ""},
        {"name": "x", "why": "", "hosts": ["h"], "generic": True},
        {"name": "x", "why": "", "generic": True, "host_free": True},
        {"name": "x", "why": "", "hosts": ["h"], "path": "("},
        {"name": "x", "why": "", "hosts": ["h"], "drop_query": [{"name": "("}]},
        {"name": "x", "why": "", "hosts": ["h"], "also": ["nobody"]},
        {"name": "x", "why": "", "hosts": ["h"], "colour": "red"},
        {"why": ""},
    ],
)
def test_bad_profiles_say_what_is_wrong(table: dict[str, Any]) -> None:
    with pytest.raises(BadProfile, match=r"profile"):
        Profiles.load([table])


def test_every_shipped_profile_has_a_case() -> None:
    named = {PROFILES.canonical(row[1]).provider for row in SAME} | {
        PROFILES.canonical(url).provider for url in STRAIGHT
    }
    generic = {"akamai", "aws", "aws-2", "azure-sas", "cloudfront", "gcs", "gcs-2", "player-hints"}
    assert set(PROFILES.names()) == (named - {"unknown"}) | generic
