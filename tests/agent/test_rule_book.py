"""Whose sharing rule counts, and what becomes of one that cannot be used."""

from pathlib import Path

import pytest

from ecdn_proxy.agent.condition_log import ConditionLog
from ecdn_proxy.agent.rule_book import RuleBook
from ecdn_proxy.agent.settings import EffectiveSettings, further_profiles, load
from ecdn_proxy.core.catalog.providers import Profile, Profiles
from ecdn_proxy.io import clock

URL = "https://cdn.example.com/live/1.ts"
OWN = """
[[sharing_rules]]
name = "own"
hosts = ["cdn.example.com"]
path = "/live/"
ignore_no_store = true
"""
PROFILE = """
[[profile]]
name = "hall"
why = "our town halls"
hosts = ["*.example.com"]

[[profile.sharing_rules]]
name = "of-profile"
immutable = true
"""
PUSHED = {"name": "pushed", "hosts": ["*.example.com"], "fresh_s": 60}
BUILT_IN = Profile(
    name="shipped", why="x", hosts=("*.example.com",), sharing_rules=({"name": "built", "ignore_vary": True},)
)


class Book:
    """A rule book, made of what each of its sources says; empty is nothing."""

    def __init__(self, folder: Path, own: str, profile: str, built_in: tuple[Profile, ...] = ()) -> None:
        self.log = ConditionLog()
        (folder / "agent.toml").write_text(own)
        (folder / "profiles.toml").write_text(profile)
        further = further_profiles(str(folder / "profiles.toml"))
        loaded = [Profile(**table) for table in further]  # type: ignore[arg-type]
        profiles = Profiles([*built_in, *loaded], [it.name for it in loaded])
        self.effective: EffectiveSettings = load(folder / "agent.toml", {}, {}, {"sharing_rules": [PUSHED]})
        self.book = RuleBook(self.effective, profiles, self.log)

    def said(self, url: str = URL) -> str:
        rule = self.book.find(url)
        return "" if rule is None else rule.said

    def refused(self) -> str:
        found = self.log.conditions.holding(clock.monotonic())
        return next((it.text for it in found if it.code == "sharing-rule-refused"), "")


@pytest.mark.parametrize(
    ("own", "profile", "pushed", "counts"),
    [
        (OWN, PROFILE, [PUSHED], "rule own of agent.toml"),
        ("", PROFILE, [PUSHED], "rule of-profile of profile hall"),
        ("", "", [PUSHED], "rule pushed of the coordinator"),
        ("", "", [], "rule built of built-in profile shipped"),
    ],
)
def test_the_machines_own_before_the_coordinators_before_what_is_built_in(
    tmp_path: Path, own: str, profile: str, pushed: list[object], counts: str
) -> None:
    book = Book(tmp_path, own, profile, (BUILT_IN,))
    book.book.coordinator_said({"sharing_rules": pushed})
    assert book.said() == counts
    assert not book.refused()


def test_where_the_stronger_rule_does_not_reach_the_weaker_counts(tmp_path: Path) -> None:
    book = Book(tmp_path, OWN, "")
    book.book.coordinator_said({"sharing_rules": [PUSHED]})
    assert book.said("https://cdn.example.com/vod/1.ts") == "rule pushed of the coordinator"
    assert book.said("https://cdn.example.net/live/1.ts") == ""
    assert [rule.name for rule in book.book.rules] == ["own", "pushed"]


def test_the_coordinators_rules_come_and_go_while_the_agent_runs(tmp_path: Path) -> None:
    book = Book(tmp_path, "", "")
    assert book.said() == "", "nothing of the coordinator's counts as the machine's own"
    book.book.coordinator_said({"sharing_rules": [PUSHED], "upload_mbps_max": 5})
    assert book.said() == "rule pushed of the coordinator"
    book.book.coordinator_said({"upload_mbps_max": 5})
    assert book.said() == ""


def test_a_profile_of_the_machine_takes_a_built_in_ones_place_with_its_rules(tmp_path: Path) -> None:
    book = Book(tmp_path, "", PROFILE.replace('"hall"', '"shipped"'), (BUILT_IN,))
    assert book.said() == "rule of-profile of profile shipped"
    assert len(book.book.rules) == 1


def test_bad_rules_are_told_with_place_and_cure_and_the_others_count(tmp_path: Path) -> None:
    bad = '\n[[sharing_rules]]\nname = "all"\nhosts = ["*"]\nimmutable = true\n'
    book = Book(tmp_path, OWN + bad, PROFILE + "fresh_s = 5\n")
    assert book.said() == "rule own of agent.toml"
    assert [rule.name for rule in book.book.rules] == ["own"]
    assert book.refused().startswith("agent.toml, sharing_rules 2 ('all'): '*' is no host of a rule; write")
    assert "profile 'hall', sharing_rules 1 ('of-profile'): immutable and fresh_s contradict" in book.refused()
    book.book.coordinator_said({"sharing_rules": "all"})
    assert "the coordinator's sharing_rules: 'all' is no list of rules" in book.refused()


def test_the_condition_ends_when_the_coordinator_has_corrected_its_rule(tmp_path: Path) -> None:
    book = Book(tmp_path, "", "")
    book.book.coordinator_said({"sharing_rules": [{**PUSHED, "forever": True}]})
    assert "the coordinator's sharing_rules 1 ('pushed'): there is no 'forever' in a rule" in book.refused()
    book.book.coordinator_said({"sharing_rules": [PUSHED]})
    assert not book.refused()
