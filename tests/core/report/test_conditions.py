"""Trouble that somebody can cure: said once, with its cure, and over when it is over."""

import re
from pathlib import Path

import pytest

import ecdn_proxy
from ecdn_proxy.core.report.conditions import REGISTER, Condition, Conditions
from ecdn_proxy.sansio.machine import Impossible


def test_a_condition_is_new_once_and_shows_its_latest_text() -> None:
    conditions = Conditions()
    assert conditions.raised("coordinator-away", "refused", 0.0)
    assert not conditions.raised("coordinator-away", "timed out", 1.0)
    registered = REGISTER["coordinator-away"]
    shown = Condition("coordinator-away", registered.title, "timed out", registered.remedy)
    assert conditions.holding(1e9) == [shown]
    assert conditions.cleared("coordinator-away")
    assert not conditions.cleared("coordinator-away")
    assert conditions.holding(1.0) == []


def test_some_are_forgotten_when_they_stop_happening() -> None:
    conditions = Conditions()
    conditions.raised("peer-misbehaved", "wrong bytes", 0.0)
    conditions.raised("not-enrolled", "no identity", 0.0)
    conditions.raised("peer-misbehaved", "wrong bytes again", 3_000.0)
    assert [it.code for it in conditions.holding(6_599.0)] == ["peer-misbehaved", "not-enrolled"]
    assert [it.code for it in conditions.holding(6_600.0)] == ["not-enrolled"]
    assert conditions.raised("peer-misbehaved", "once more", 6_700.0)


def test_a_code_that_is_not_registered_is_our_fault() -> None:
    with pytest.raises(Impossible, match="gremlins"):
        Conditions().raised("gremlins", "", 0.0)


@pytest.mark.parametrize("code", REGISTER)
def test_each_has_words_for_its_reader(code: str) -> None:
    assert re.fullmatch(r"[a-z-]+", code)
    assert REGISTER[code].title[0].isupper()
    assert not REGISTER[code].title.endswith(".")
    assert REGISTER[code].remedy.endswith(".")


def test_every_code_that_is_raised_is_registered_and_the_other_way_round() -> None:
    source = "\n".join(path.read_text() for path in Path(ecdn_proxy.__path__[0]).rglob("*.py"))
    raised = set(re.findall(r'(?:_raise|raise_condition|RaiseCondition)\(\s*"([a-z-]+)"', source))
    assert raised == set(REGISTER)
