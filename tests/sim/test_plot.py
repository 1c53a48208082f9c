"""The picture has its four panels, whatever the result, and stays small."""

from xml.etree import ElementTree

import pytest

from ecdn_proxy.sim.company import Result, simulate
from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.plot import DOTS_MAX, svg
from tests.sim.test_office import small

SVG = "{http://www.w3.org/2000/svg}"


def words(picture: str) -> list[str]:
    return [it.text or "" for it in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def circles(picture: str) -> int:
    return len(list(ElementTree.fromstring(picture).iter(f"{SVG}circle")))


def test_one_office() -> None:
    result = simulate(small(viewers=6, segments=3))
    picture = svg(result)
    said = words(picture)
    assert "offload of each site (dot), and the most there can be (ring)" in said
    assert "segments at the live edge that had come" in said
    assert "Mbit/s of video on the link" in said
    assert "link in use: mean, busiest second (of its Mbit/s)" in said
    assert "all the link can" in said
    assert circles(picture) == 2
    assert sum(result.total.load_bytes) == pytest.approx(result.total.origin_bytes, rel=1e-6)


def test_many_sites_some_of_which_suffered() -> None:
    sites = [SiteFigures(f"<{at}>", at, 20.0, 0.3, stalls=at % 2) for at in range(1, 2_000)]
    total = SiteFigures("all", 0, 0.0, 0.0)
    for site in sites:
        site.carried({0: 1e6, 5: 2e6}, 10)
        total.merge(site)
    picture = svg(Result(small(), sites, total, ""))
    said = words(picture)
    assert "red: viewers there saw the picture stop" in said
    assert "Mbit/s of video on all links together" in said
    assert circles(picture) <= 2 * DOTS_MAX
    assert total.load_mbps()[5] == pytest.approx(1_999 * 16)
    assert len(picture) < 200_000


def test_a_long_event_is_drawn_in_as_few_bars() -> None:
    it = SiteFigures("long", 10, 20.0, 0.3)
    it.carried(dict.fromkeys(range(7200), 1000000.0), 7_200)
    assert (len(it.load_bytes), it.load_bin_s) == (240, 30)
    assert it.load_mbps() == pytest.approx([8.0] * 240)


def test_nobody_watched() -> None:
    empty = SiteFigures("empty", 1, 20.0, 0.3)
    assert "offload" in svg(Result(small(), [empty], empty, ""))
