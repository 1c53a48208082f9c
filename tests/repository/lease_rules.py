"""The two tables by which it is decided who fetches a segment, as the core has them: for docs/lease.md.

ledger_rules()    what a home answers: `core/swarm/ledger.py: RULES`
home_rules()      which home is asked: `core/download/lease_request.py: HOME_RULES`
"""

import inspect
from collections.abc import Callable
from types import NoneType
from typing import get_args, get_type_hints

from ecdn_proxy.core.download.lease_request import HOME_RULES
from ecdn_proxy.core.swarm.ledger import RULES


def ledger_rules() -> list[tuple[str, ...]]:
    """Rows of number, rule, when it answers, answer, reason."""
    return [
        (str(number), _name(rule.answer), _when(rule.answer), _answer(rule.answer), rule.why)
        for number, rule in enumerate(RULES, 1)
    ]


def home_rules() -> list[tuple[str, ...]]:
    """Rows of number, rule, when it holds, what is done, reason."""
    return [
        (str(number), _name(rule.holds), _when(rule.holds), rule.step.value, rule.why)
        for number, rule in enumerate(HOME_RULES, 1)
    ]


def _name(method: Callable[..., object]) -> str:
    return f"`{method.__name__}`"


def _when(method: Callable[..., object]) -> str:
    return inspect.cleandoc(method.__doc__ or "").replace("\n", " ")


def _answer(method: Callable[..., object]) -> str:
    answer = get_type_hints(method)["return"]
    return " or ".join(f"`{kind.__name__}`" for kind in get_args(answer) or (answer,) if kind is not NoneType)
