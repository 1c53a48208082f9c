"""`core.manifest.patch`: what a patch makes of an MPD, which MPD it fits, and what is refused."""

# ruff: noqa: E501 - a manifest or a row of cases reads best on one line

from typing import Any
from xml.etree.ElementTree import fromstring, tostring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.manifest import parse as manifest
from ecdn_proxy.core.manifest import patch
from ecdn_proxy.core.manifest.model import ManifestError, PatchBase, Presentation
from tests.core import corpus
from tests.core.effort import calls

AT = corpus.BASE + "live/m.mpd"
WHOLE = """<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" id="ev1" type="dynamic" availabilityStartTime="2023-11-14T22:12:20Z"
     publishTime="2023-11-14T22:13:10Z" minimumUpdatePeriod="PT4S" timeShiftBufferDepth="PT60S">
  <PatchLocation ttl="60">patches/m.mpp</PatchLocation>
  <Period id="p0" start="PT0S">
    <AdaptationSet id="1" mimeType="video/mp4">
      <SegmentTemplate timescale="1000" initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Time$.m4s">
        <SegmentTimeline><S t="40000" d="4000" r="1"/></SegmentTimeline>
      </SegmentTemplate>
      <Representation id="v1" bandwidth="800000"/>
    </AdaptationSet>
  </Period>
</MPD>"""
LINE = "/MPD/Period[@id='p0']/AdaptationSet[@id='1']/SegmentTemplate/SegmentTimeline"
ADDED = (
    f'<replace sel="/MPD/@publishTime">2023-11-14T22:13:14Z</replace><add sel="{LINE}"><S t="48000" d="4000"/></add>'
)


def document(
    operations: str, old: str = "2023-11-14T22:13:10Z", new: str = "2023-11-14T22:13:14Z", of: str = "ev1"
) -> bytes:
    return (
        f'<?xml version="1.0"?><Patch xmlns="urn:mpeg:dash:schema:mpd-patch:2020" mpdId="{of}" originalPublishTime="{old}" publishTime="{new}">'
        f"{operations}</Patch>"
    ).encode()


def learnt(body: bytes, *bases: PatchBase, url: str = corpus.BASE + "live/patches/m.mpp") -> Presentation:
    return manifest.parse(url, body, "application/dash-patch+xml", corpus.UTC, bases=bases)


def base(text: str = WHOLE) -> PatchBase:
    found = manifest.parse(AT, text.encode(), None, corpus.UTC)
    assert found.patch_base is not None
    return found.patch_base


def names(found: Presentation) -> list[str]:
    return [url.rpartition("/")[2] for url, _, _, kind in corpus.rows_of(found, corpus.UTC) if kind == "media"]


def test_an_mpd_that_can_be_patched_names_where_and_what() -> None:
    found = manifest.parse(AT, WHOLE.encode(), None, corpus.UTC)
    assert found.child_manifests == (corpus.BASE + "live/patches/m.mpp",)
    assert base() == PatchBase(AT, "ev1", "2023-11-14T22:13:10Z", WHOLE.encode())
    assert manifest.parse(AT, corpus.mpd(corpus.video("")), None, corpus.UTC).patch_base is None


def test_an_event_goes_on_by_patches_alone() -> None:
    found = learnt(document(ADDED), base())
    assert found.url == AT
    assert names(found) == ["v1-40000.m4s", "v1-44000.m4s", "v1-48000.m4s"]
    next_base = found.patch_base
    assert next_base is not None
    assert (next_base.id, next_base.published) == ("ev1", "2023-11-14T22:13:14Z")
    more = f'<remove sel="{LINE}/S[1]"/><add sel="{LINE}"><S t="52000" d="4000" r="1"/></add>'
    third = learnt(document(more, "2023-11-14T22:13:14Z", "2023-11-14T22:13:18Z"), next_base)
    assert names(third) == ["v1-48000.m4s", "v1-52000.m4s", "v1-56000.m4s"]
    assert third.patch_base is not None
    assert third.patch_base.published == "2023-11-14T22:13:18Z"  # although no operation says it


def test_a_patch_that_another_player_brought_before_changes_nothing() -> None:
    once = learnt(document(ADDED), base())
    assert once.patch_base is not None
    again = learnt(document(ADDED), once.patch_base, base())
    assert names(again) == names(once)
    late = learnt(document(ADDED, new="2023-11-14T22:13:15.000Z"), once.patch_base, base())
    assert names(late) == names(once)


def test_equal_moments_may_be_written_differently() -> None:
    assert len(names(learnt(document(ADDED, old="2023-11-14T23:13:10.000+01:00"), base()))) == 3


@pytest.mark.parametrize(
    ("body", "bases", "word"),
    [
        (document(ADDED), (), "not fetched through this agent"),
        (document(ADDED, of="ev2"), (base(),), "another MPD ('ev2')"),
        (document(ADDED, old="2023-11-14T22:13:02Z"), (base(),), "a version that was not seen"),
        (document(ADDED, old="yesterday", new=""), (base(),), "a version that was not seen"),
        (document(ADDED, old="", new=""), (base(),), "a version that was not seen"),
        (document("<move sel='/MPD'/>"), (base(),), "an operation that RFC 5261 does not know"),
        (document("<remove/>"), (base(),), "a selector that is not read"),
        (document('<remove sel="Period"/>'), (base(),), "a selector that is not read"),
        (document('<remove sel="/MPD/Period[position()=1]"/>'), (base(),), "a condition that is not read"),
        (document('<remove sel="//S"/>'), (base(),), "a selector that is not read"),
        (document('<remove sel="/MPD/Period[2]"/>'), (base(),), "names 0 elements"),
        (document('<remove sel="/MPD/Period[0]"/>'), (base(),), "names 0 elements"),
        (document('<remove sel="/MPD/*"/>'), (base(),), "names 2 elements"),
        (document(f'<remove sel="/MPD{"/a" * 600}"/>'), (base(),), "the limit is 1024"),
        (document('<remove sel="/MPD"/>'), (base(),), "the MPD itself"),
        (document('<replace sel="/MPD"><MPD/></replace>'), (base(),), "the MPD by none"),
        (document('<replace sel="/MPD/Period"/>'), (base(),), "one element can be replaced by one"),
        (document('<replace sel="/MPD/@none">1</replace>'), (base(),), "no such attribute"),
        (document('<remove sel="/MPD/@none"/>'), (base(),), "no such attribute"),
        (document('<add sel="/MPD/@id">1</add>'), (base(),), "only elements"),
        (document('<add sel="/MPD" pos="before"><a/></add>'), (base(),), "nothing can stand beside"),
        (document('<add sel="/MPD" pos="inside"><a/></add>'), (base(),), "a place that RFC 5261 does not know"),
        (document("<remove sel='/MPD/Period'/>" * 2001), (base(),), "the limit is 2000"),
        (b"<Patch >", (base(),), "not well-formed"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><Patch>&x;</Patch>', (base(),), "neither"),
    ],
)
def test_what_does_not_fit_is_said_and_changes_nothing(body: bytes, bases: tuple[PatchBase, ...], word: str) -> None:
    with pytest.raises(ManifestError) as caught:
        learnt(body, *bases)
    assert word in str(caught.value)
    assert caught.value.cure


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ('<add sel="/MPD/a" type="@y">2</add>', '<MPD><a x="1" y="2">t<b /><c /></a></MPD>'),
        ('<add sel="/MPD/a" type="@p:x">2</add>', '<MPD><a x="2">t<b /><c /></a></MPD>'),
        ('<add sel="/MPD/a" type="namespace::p">u</add>', '<MPD><a x="1">t<b /><c /></a></MPD>'),
        ('<add sel="/MPD/a"><d/><e/></add>', '<MPD><a x="1">t<b /><c /><d /><e /></a></MPD>'),
        ('<add sel="/MPD/a" pos="prepend"><d/><e/></add>', '<MPD><a x="1">t<d /><e /><b /><c /></a></MPD>'),
        ('<add sel="/MPD/a/c" pos="before"><d/><e/></add>', '<MPD><a x="1">t<b /><d /><e /><c /></a></MPD>'),
        ('<add sel="/MPD/a/b" pos="after"><d/></add>', '<MPD><a x="1">t<b /><d /><c /></a></MPD>'),
        ('<add sel="/MPD/a/b">u</add>', '<MPD><a x="1">t<b>u</b><c /></a></MPD>'),
        ('<replace sel="/MPD/a/text()">u</replace>', '<MPD><a x="1">u<b /><c /></a></MPD>'),
        ("<replace sel='/m:MPD/m:a[@x = \"1\"]/@x'>9</replace>", '<MPD><a x="9">t<b /><c /></a></MPD>'),
        ('<replace sel="/*/*/b[1]"><d/></replace>', '<MPD><a x="1">t<d /><c /></a></MPD>'),
        ('<remove sel="/MPD/a[@x=&quot;1&quot;][1]/*[2]"/>', '<MPD><a x="1">t<b /></a></MPD>'),
        ('<remove sel="/MPD/a/text()"/><remove sel="/MPD/a/@x"/>', "<MPD><a><b /><c /></a></MPD>"),
        ('<remove sel="/MPD/a"/>', "<MPD />"),
    ],
)
def test_operations(operations: str, said: str) -> None:
    root = fromstring('<m:MPD xmlns:m="urn:x"><m:a x="1">t<m:b/><m:c/></m:a></m:MPD>')
    patch.apply(fromstring(f'<Patch xmlns="urn:y" xmlns:m="urn:x">{operations}</Patch>'), root)
    assert tostring(root).decode() == said


def test_a_patch_with_very_much_to_look_at_is_refused() -> None:
    wide = fromstring("<MPD>" + "<a/>" * 20_000 + "</MPD>")
    slow = fromstring("<Patch>" + '<replace sel="/MPD/a[1]"><a/></replace>' * 2_000 + "</Patch>")

    def refused() -> None:
        with pytest.raises(ManifestError, match="look at more than"):
            patch.apply(slow, wide)

    assert calls(refused) < 1_000_000


def test_a_patched_mpd_has_the_limits_of_any_manifest() -> None:
    entries = "".join(f'<S t="{48_000 + at}" d="1"/>' for at in range(11))
    body = document(f'<add sel="{LINE}">{entries}</add>')
    with pytest.raises(ManifestError, match="timeline entries"):
        manifest.parse(AT, body, None, corpus.UTC, bases=(base(),), segments_max=11)


def test_a_few_versions_of_a_few_streams_are_kept() -> None:
    bases = patch.PatchBases()

    def version(published: str, size: int = 10) -> PatchBase:
        return PatchBase(AT, "ev1", published, b"x" * size)

    for at in range(6):
        bases.keep("one", version(str(at)))
    assert [kept.published for kept in bases.of("one")] == ["5", "4", "3", "2"]
    bases.keep("one", version("3", 20))
    assert [kept.published for kept in bases.of("one")] == ["3", "5", "4", "2"]
    bases.keep("two", version("0", patch.BASE_BYTES_MAX + 1))
    assert bases.of("two") == ()
    for at in range(16):
        bases.keep(f"other-{at}", version("0", patch.BASE_BYTES_MAX))
    assert bases.of("one") == ()
    assert bases.of("other-0") != ()


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="/MPD@[]='\"1a*()tex:S", max_size=40), st.sampled_from(["add", "replace", "remove"]))
def test_any_selector_is_done_or_refused(selector: str, kind: str) -> None:
    root, operation = fromstring('<MPD a="1"><S t="1"/></MPD>'), fromstring(f"<Patch><{kind}/></Patch>")
    operation[0].set("sel", selector)
    try:
        patch.apply(operation, root)
    except ManifestError:
        return


XPATH: Any = pytest.importorskip("lxml.etree", reason="lxml comes with streamlink: run `make setup`")
NAMES = st.sampled_from(["a", "b"])
CONDITIONS = st.sampled_from(["", "", "[1]", "[2]", "[@x='1']", '[@x="2"]', "[@x='1'][2]", "[2][@x='1']", "[@y='1']"])


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> str:
    inner = "".join(draw(elements(depth - 1)) for _ in range(draw(st.integers(0, 3)))) if depth else ""
    name, value = draw(NAMES), draw(st.sampled_from(["", ' x="1"', ' x="2"', ' y="1"']))
    return f"<{name}{value}>{inner}</{name}>"


@settings(max_examples=300, deadline=None)
@given(st.lists(elements(), max_size=3), st.lists(st.tuples(NAMES | st.just("*"), CONDITIONS), max_size=3))
def test_a_selector_names_what_xpath_says_it_names(inner: list[str], steps: list[tuple[str, str]]) -> None:
    text = "<MPD>" + "".join(inner) + "</MPD>"
    selector = "/MPD" + "".join(f"/{name}{condition}" for name, condition in steps)
    theirs = XPATH.fromstring(text)
    numbered = {element: place for place, element in enumerate(theirs.iter())}
    wanted = [numbered[element] for element in theirs.xpath(selector)]
    root = fromstring(text)
    try:
        _, found, _, _ = patch._place(root, selector, 10_000)
    except ValueError:
        assert len(wanted) != 1
        return
    assert [place for place, element in enumerate(root.iter()) if element is found] == wanted
