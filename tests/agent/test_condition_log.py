"""Conditions are kept for whoever shows them, and logged once each time they begin and end."""

import pytest
from structlog.testing import capture_logs

from ecdn_proxy.agent.condition_log import ConditionLog
from ecdn_proxy.sansio.machine import Impossible


def test_a_condition_is_logged_when_it_begins_and_when_it_is_over() -> None:
    conditions = ConditionLog()
    with capture_logs() as lines:
        conditions.clear_condition("coordinator-away")
        conditions.raise_condition("coordinator-away", "no route")
        conditions.raise_condition("coordinator-away", "refused")
        conditions.raise_condition("not-enrolled", "no identity")
        assert conditions.codes() == ("coordinator-away", "not-enrolled")
        conditions.clear_condition("coordinator-away")
        assert conditions.codes() == ("not-enrolled",)
    assert lines == [
        {"event": "condition", "code": "coordinator-away", "why": "no route", "log_level": "warning"},
        {"event": "condition", "code": "not-enrolled", "why": "no identity", "log_level": "warning"},
        {"event": "condition over", "code": "coordinator-away", "log_level": "info"},
    ]


def test_the_latest_text_is_shown() -> None:
    conditions = ConditionLog()
    conditions.raise_condition("coordinator-away", "no route")
    conditions.raise_condition("coordinator-away", "refused")
    assert [it.text for it in conditions.conditions.holding(0.0)] == ["refused"]


def test_a_code_that_is_not_registered_is_a_fault_of_ours() -> None:
    with pytest.raises(Impossible):
        ConditionLog().raise_condition("made-up", "")
