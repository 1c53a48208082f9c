"""Every rule about a home in its turn holds in some case, in its place of the order."""

from collections.abc import Callable

import pytest

from ecdn_proxy.core.download import lease_request
from ecdn_proxy.core.download.home_turn import NOBODY, HomeTurn
from ecdn_proxy.core.download.lease_request import HOME_RULES, HomeRule, HomeStep, LeaseRequest, step_for
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire.peer import Contact
from tests.core.makers import KEY, context, linked
from tests.core.world import STREAM

LIMITS = Limits()
BESIDE = ("ann", "bob", "cat")
ELSEWHERE = "eve"


class Turns:
    """An office of three machines beside this one, "me", and one elsewhere; the question can be anywhere on its way."""

    def __init__(self) -> None:
        self.context: NodeContext = context("me", LIMITS)
        linked(self.context, *BESIDE)
        self.context.membership.linked(Contact(ELSEWHERE, ("10.9.0.1",), 7688), (STREAM,), serves=True)

    def of(
        self,
        home: str,
        *committee: str,
        asked: tuple[str, ...] = (),
        lost: tuple[str, ...] = (),
        avoid: tuple[str, ...] = (),
        unsettled: bool = False,
        isolated: bool = False,
    ) -> HomeTurn:
        ranks = list(committee or ("ann", "bob", "cat", ELSEWHERE, "me"))
        return HomeTurn(self.context, KEY, home, ranks, ranks, asked, lost, avoid, unsettled, isolated)


def sharing_off(turns: Turns) -> HomeTurn:
    turns.context.sharing = False
    return turns.of("ann")


CASES: dict[str, list[Callable[[Turns], HomeTurn]]] = {
    "sharing_is_off": [sharing_off],
    "has_no_neighbours": [lambda turns: turns.of("me", "me")],
    "is_new_here": [lambda turns: turns.of("me", "me", "ann", unsettled=True)],
    "enough_were_asked": [
        lambda turns: turns.of("cat", asked=("ann", "bob", ELSEWHERE)),
        lambda turns: turns.of("me", asked=("ann", "bob", ELSEWHERE)),
    ],
    "is_left_to_others": [
        lambda turns: turns.of("me", asked=BESIDE),
        lambda turns: turns.of("me", lost=("ann",), isolated=True),
        lambda turns: turns.of("me", avoid=("ann",), isolated=True),
        lambda turns: turns.of("me", "me", ELSEWHERE, isolated=True),
        lambda turns: turns.of("me", "me", ELSEWHERE, unsettled=True, isolated=True),
    ],
    "is_here": [
        lambda turns: turns.of("me", "me", "ann"),
        lambda turns: turns.of("me", "me", "ann", isolated=True),
        lambda turns: turns.of("me", asked=("ann",), lost=("ann",)),
        lambda turns: turns.of("me", "me", "ann", asked=("ann",), unsettled=True),
    ],
    "was_tried": [lambda turns: turns.of("ann", asked=("ann",)), lambda turns: turns.of("ann", lost=("ann",))],
    "is_kept_apart": [lambda turns: turns.of("ann", isolated=True), lambda turns: turns.of("dan", asked=BESIDE)],
    "is_in_turn": [
        lambda turns: turns.of("ann"),
        lambda turns: turns.of(ELSEWHERE, isolated=True),
        lambda turns: turns.of(ELSEWHERE, asked=BESIDE),
    ],
    "nobody_answered": [lambda turns: turns.of(NOBODY, asked=("ann", "bob", ELSEWHERE))],
    "nobody_was_reached": [lambda turns: turns.of(NOBODY, lost=BESIDE)],
}
"""Condition → turns in which its rule is the first that holds."""


def test_no_rule_is_without_its_case() -> None:
    assert list(CASES) == [rule.holds.__name__ for rule in HOME_RULES]


@pytest.mark.parametrize("name", CASES)
def test_each_rule_is_the_first_that_holds_in_its_cases(name: str) -> None:
    for case in CASES[name]:
        turns = Turns()
        linked(turns.context, "dan")
        assert step_for(case(turns)).holds.__name__ == name


def test_a_home_that_knows_the_segment_asks_no_elders() -> None:
    turns = Turns()
    turns.context.ledger.segment_held(KEY, STREAM, "ann")
    assert step_for(turns.of("me", "me", "ann", unsettled=True)).step is HomeStep.DECIDE_HERE


def test_an_isolated_home_decides_when_all_elsewhere_are_isolated_too() -> None:
    turns = Turns()
    turns.context.ledger.decide_lease(KEY, STREAM, ELSEWHERE, "first", (), 0, 0.0, isolated=True)
    assert step_for(turns.of("me", "me", ELSEWHERE, isolated=True)).step is HomeStep.DECIDE_HERE


@pytest.mark.parametrize("rules", [(), (HomeRule(HomeTurn.nobody_was_reached, HomeStep.SKIP, "so"),)])
def test_a_table_without_an_end_is_a_fault_of_ours(
    rules: tuple[HomeRule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_request, "HOME_RULES", rules)
    request = LeaseRequest(Turns().context, KEY, STREAM, reason="first", avoid=(), have=0, unsettled=False)
    with pytest.raises(Impossible):
        request.begin(0.0)
