"""Which bodies have gone by here, as a conditional request names them."""

import pytest

from ecdn_proxy.agent.known_bodies import KnownBodies

URL = "https://cdn.test/live.m3u8"
DATE = "Thu, 05 Nov 2026 10:00:00 GMT"
LATER = "Thu, 05 Nov 2026 10:00:04 GMT"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"if-none-match": '"a"'}, True),
        ({"if-none-match": 'W/"a"'}, True),
        ({"if-none-match": '"b"'}, False),
        ({"if-none-match": '"a", "b"'}, False),
        ({"if-none-match": "*"}, False),
        ({"if-modified-since": DATE}, True),
        ({"if-modified-since": LATER}, False),
        ({"if-none-match": '"b"', "if-modified-since": DATE}, False),
        ({}, False),
    ],
)
def test_what_a_request_names(fields: dict[str, str], named: bool) -> None:
    bodies = KnownBodies()
    bodies.came(URL, (("etag", '"a"'), ("last-modified", DATE)), is_manifest=True)
    assert (bodies.named_by(URL, fields) is not None) is named
    assert bodies.named_by(URL + "?other", fields) is None


def test_a_body_without_validators_replaces_the_one_before() -> None:
    bodies = KnownBodies()
    bodies.came(URL, (("etag", '"a"'),), is_manifest=True)
    assert bodies.named_by(URL, {"if-modified-since": ""}) is None
    bodies.came(URL, (), is_manifest=True)
    assert bodies.named_by(URL, {"if-none-match": '"a"'}) is None
    assert not len(bodies)


def test_it_is_bounded() -> None:
    bodies = KnownBodies(bodies_max=2)
    for number in range(5):
        bodies.came(f"{URL}?{number}", (("etag", '"a"'),), is_manifest=False)
    assert len(bodies) == 2
    bodies.came(f"{URL}?long", (("etag", "x" * 600),), is_manifest=False)
    assert bodies.named_by(f"{URL}?long", {"if-none-match": "x" * 600}) is None
    assert bodies.named_by(f"{URL}?4", {"if-none-match": '"a"'}) is not None
