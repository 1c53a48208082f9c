"""Which rule counts for a URL."""

import pytest

from ecdn_proxy.core.http.rule_finder import RuleFinder
from ecdn_proxy.core.http.urls import BadUrl
from ecdn_proxy.wire.sharing_rules import SharingRule


def rule(name: str, host: str, path: str = "/") -> SharingRule:
    return SharingRule(name=name, hosts=(host,), path=path, immutable=True)


FINDER = RuleFinder([
    rule("strongest", "cdn.example.com", "/live/"),
    rule("wide", "*.example.com"),
    rule("never", "cdn.example.com", "/live/"),
])  # fmt: skip


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://cdn.example.com/live/1.ts", "strongest"),
        ("https://CDN.example.com:8443/live/1.ts?token=x", "strongest"),
        ("https://cdn.example.com./live/1.ts", "strongest"),
        ("https://cdn.example.com/vod/%2e%2e/live/1.ts", "strongest"),
        ("https://cdn.example.com/live/../vod/1.ts", "wide"),
        ("http://other.example.com/live/1.ts", "wide"),
        ("https://example.com/live/1.ts", None),
        ("https://cdn.example.com@evil.test/live/1.ts", None),
        ("https://evil.test/cdn.example.com/live/1.ts", None),
        ("https://evil.test/?https://cdn.example.com/live/1.ts", None),
    ],
)
def test_the_first_rule_that_covers_a_url_counts(url: str, found: str | None) -> None:
    it = FINDER.find(url)
    assert (it.name if it else None) == found


def test_without_rules_nothing_is_looked_at() -> None:
    assert RuleFinder([]).find("nonsense") is None
    with pytest.raises(BadUrl):
        FINDER.find("nonsense")
