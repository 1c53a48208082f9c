"""Which parent, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.parent_choice import ParentCandidate, choose, fan_out, predicted_s
from ecdn_proxy.wire.peer import LinkKind

LIMITS = Limits()


def one(
    device: str, *, depth: int = 1, children: int = 0, given: float = 0.0, link: LinkKind = "wired", holds: bool = False
) -> ParentCandidate:
    return ParentCandidate(device, depth, children, given, link, holds)


def best(*candidates: ParentCandidate) -> str:
    choice = choose(list(candidates), LIMITS)
    assert choice is not None
    return choice.parents[0]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (one("b", depth=0), one("a", depth=1)),
        (one("b", children=0), one("a", children=1)),
        (one("b", given=0.0), one("a", given=1.0)),
        (one("b", link="wired"), one("a", link="wifi")),
        (one("b", depth=9, children=2), one("a", depth=0, children=3)),
        (one("b", link="wifi", children=1), one("a", link="wifi", children=2)),
        (one("a"), one("b")),
    ],
    ids=["nearer to the origin", "fewer children", "gave less", "cable", "fan-out", "fan-out on radio", "same for all"],
)
def test_least_predicted_finish(better: ParentCandidate, worse: ParentCandidate) -> None:
    assert best(better, worse) == best(worse, better) == better.device


def test_a_deep_chain_is_worse_than_one_more_child() -> None:
    """Not fairness alone: that built chains 40 relays deep."""
    assert best(one("near", depth=0, children=1), one("far", depth=20)) == "near"


def test_metered_links_serve_nobody() -> None:
    assert choose([], LIMITS) is None
    assert choose([one("a", link="metered")], LIMITS) is None
    assert best(one("a", link="metered", depth=0), one("b", depth=5)) == "b"
    assert [fan_out(link, LIMITS) for link in ("wired", "wifi", "metered")] == [3, 2, 0]


def test_who_is_full_is_an_alternate_still() -> None:
    choice = choose([one(f"dev{number}", children=number) for number in range(6)], LIMITS)
    assert choice is not None
    assert choice.parents == ("dev0", "dev1", "dev2", "dev3")


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (one("a", depth=0), "a fetches it from the origin, and gives it to nobody else so far: the only one"),
        (
            one("a", depth=2, children=1),
            "a is receiving it, 2 relays from the origin, and gives it to 1 of at most 3 others so far",
        ),
        (one("a", depth=0, holds=True, link="wifi"), "a has it, and gives it to nobody else so far"),
    ],
)
def test_the_reason_is_a_sentence(candidate: ParentCandidate, said: str) -> None:
    choice = choose([candidate], LIMITS)
    assert choice is not None
    assert choice.why.startswith(said)
    assert "ms predicted" in choice.why


@given(st.integers(0, 40), st.integers(0, 20), st.floats(0, 50))
def test_more_of_anything_is_never_sooner(depth: int, children: int, given_lately: float) -> None:
    now = predicted_s(one("a", depth=depth, children=children, given=given_lately), LIMITS)
    assert now > 0
    assert predicted_s(one("a", depth=depth + 1, children=children, given=given_lately), LIMITS) > now
    assert predicted_s(one("a", depth=depth, children=children + 1, given=given_lately), LIMITS) > now
    assert predicted_s(one("a", depth=depth, children=children, given=given_lately + 1), LIMITS) > now
