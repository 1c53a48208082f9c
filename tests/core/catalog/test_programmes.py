"""`core.catalog.programmes`: what a segment's own identity says of whom its viewers meet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.catalog.programmes import PROGRAMMES_MAX, folded, folder_above, place_of


@pytest.mark.parametrize(
    ("identity", "programme"),
    [
        ("https://h/event/720p/7.ts", "https://h/event/"),
        ("https://h/event/720p/7.ts?x=/a/b/c", "https://h/event/"),
        ("https://h:8443/out/v1/guid/index_1_7.ts", "https://h:8443/out/v1/"),
        ("https://h/event/7.ts", "https://h/event/"),
        ("https://h/7.ts", "https://h/"),
        ("https://h/", "https://h/"),
        ("https://h", "https://h/"),
        ("https://h//7.ts", "https://h//"),
        ("https://(azure-media)/guid/a.ism/QualityLevels(4)/Fragments(video=0)", "https://(azure-media)/guid/a.ism/"),
    ],
)
def test_the_folder_above(identity: str, programme: str) -> None:
    assert folder_above(identity) == programme
    assert place_of(programme) == place_of(identity)


def test_too_many_at_one_place_count_as_their_common_folder() -> None:
    many = [f"https://h/event/parts/{n}/" for n in range(PROGRAMMES_MAX + 1)]
    other = "https://ads.test/a/"
    assert folded([*many, other]) == {**dict.fromkeys(many, "https://h/event/parts/"), other: other}
    assert folded([f"https://h/{n}/" for n in range(20)])["https://h/7/"] == "https://h/"
    assert folded(many[1:]) == {one: one for one in many[1:]}
    assert folded([]) == {}


@given(st.lists(st.lists(st.sampled_from(["a", "b", ""]), max_size=5), max_size=40))
def test_nothing_leaves_its_place_and_places_have_few(paths: list[list[str]]) -> None:
    programmes = {"/".join(("https://h", *path, "")) for path in paths}
    found = folded(programmes)
    assert found.keys() == programmes
    assert len(set(found.values())) <= PROGRAMMES_MAX
    assert all(one.startswith(into) and into.startswith("https://h/") for one, into in found.items())
