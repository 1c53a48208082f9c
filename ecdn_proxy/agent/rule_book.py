"""The sharing rules in force on this machine, from everybody who may set some, and what is wrong with the others.

    RuleBook.find(url)                the rule that counts for a request; None: as the origin says
    RuleBook.rules                    all in force, the strongest first, for the status page
    RuleBook.coordinator_said(…)      the coordinator's, again whenever they change: they count from the next request on

    built in  <  the coordinator  <  the profiles of `profiles_file`  <  agent.toml       what stands further right wins

A rule that cannot be used is left out. The condition `sharing-rule-refused` says which one, where, and what to write.
"""

from collections.abc import Mapping
from typing import Any, Final

from ecdn_proxy.agent.condition_log import ConditionSink
from ecdn_proxy.agent.settings import EffectiveSettings
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.http.rule_finder import RuleFinder
from ecdn_proxy.wire.sharing_rules import SharingRule, read_rules

SETTING: Final = "sharing_rules"
_TOLD_MAX: Final = 5
"""The most refused rules that the condition names; whoever mends these sees the next ones."""

_Read = tuple[tuple[SharingRule, ...], tuple[str, ...]]


class RuleBook:
    """All sharing rules of one agent."""

    def __init__(self, effective: EffectiveSettings, profiles: Profiles, conditions: ConditionSink) -> None:
        """Read the machine's own rules and those that are built in; the coordinator has said nothing yet."""
        self._conditions = conditions
        source = effective.sources[SETTING]
        own = () if source in {"default", "coordinator"} else effective.settings.sharing_rules
        self._own = [read_rules(own, f"{source}, {SETTING}", source), *_of_profiles(profiles, shipped=False)]
        self._built_in = _of_profiles(profiles, shipped=True)
        self._finder = RuleFinder(())
        self.coordinator_said({})

    @property
    def rules(self) -> tuple[SharingRule, ...]:
        """The rules in force, in the order in which they are asked."""
        return self._finder.rules

    def find(self, url: str) -> SharingRule | None:
        """The rule that counts for a request's URL.

        Raises:
            BadUrl: as `urls.split`.
        """
        return self._finder.find(url)

    def coordinator_said(self, settings: Mapping[str, Any]) -> None:
        """Take the coordinator's rules out of the settings that it sends, in place of those before."""
        said = read_rules(settings.get(SETTING, ()), f"the coordinator's {SETTING}", "the coordinator")
        everybody = [*self._own, said, *self._built_in]
        self._finder = RuleFinder(rule for rules, _ in everybody for rule in rules)
        mistakes = [mistake for _, wrong in everybody for mistake in wrong]
        if mistakes:
            self._conditions.raise_condition("sharing-rule-refused", " ".join(mistakes[:_TOLD_MAX]))
        else:
            self._conditions.clear_condition("sharing-rule-refused")


def _of_profiles(profiles: Profiles, *, shipped: bool) -> list[_Read]:
    kind = "built-in profile" if shipped else "profile"
    return [
        read_rules(tables, f"{kind} {name!r}, {SETTING}", f"{kind} {name}")
        for name, tables in profiles.sharing_rules(shipped=shipped)
    ]
