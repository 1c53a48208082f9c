"""`RuleFinder`: which of an administrator's sharing rules (`wire/sharing_rules.py`) counts for a request's URL."""

from collections.abc import Iterable

from ecdn_proxy.core.http import urls
from ecdn_proxy.core.http.hosts import host_name
from ecdn_proxy.wire.sharing_rules import SharingRule


class RuleFinder:
    """Rules in the order in which they are asked; immutable."""

    def __init__(self, rules: Iterable[SharingRule]) -> None:
        """Take the rules, the strongest first."""
        self.rules = tuple(rules)

    def find(self, url: str) -> SharingRule | None:
        """The first rule that covers a URL. It counts alone: what a weaker rule permits is not added to it.

        Raises:
            BadUrl: as `urls.split`.
        """
        if not self.rules:
            return None
        parts = urls.split(url)
        host = host_name(parts.host)
        return next((rule for rule in self.rules if rule.covers(host, parts.path)), None)
