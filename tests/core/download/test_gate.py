"""Nobody has a byte of a copy before it may be used: what is done about each kind of copy."""

import msgspec
import pytest

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.gate import HOME_ASKS_MAX, Gate, GateStep
from ecdn_proxy.core.download.viewers import Viewers
from ecdn_proxy.core.http.cross_origin import CrossOriginProofs
from ecdn_proxy.core.http.freshness import CopyAge
from tests.core.makers import KEY, fetched, seal, wanted, whole
from tests.core.world import STREAM

BODY = bytes(range(256)) * 300
NOW = 1_000.0
PAGE = (("origin", "https://portal.test"),)


class Copy:
    """A neighbour's copy before the gate of one download."""

    def __init__(self, *, age_s: float = 0.0, etag: str | None = '"v1"', fresh_s: float = 10.0) -> None:
        self.viewers = Viewers([], KEY, STREAM)
        self.gate = Gate(CrossOriginProofs(), STREAM)
        self.assembly = fetched(seal("ann"), BODY, etag=etag)
        assert self.assembly.head is not None
        self.assembly.head = msgspec.structs.replace(self.assembly.head, fresh_s=fresh_s)
        self.assembly.age = CopyAge(NOW - age_s, NOW - age_s)

    def judged(self) -> GateStep:
        step, why = self.gate.judge(self.assembly, self.viewers, "v1", NOW)
        assert bool(why) is (step is not GateStep.USE)
        assert self.gate.is_open is (step is GateStep.USE)
        return step


def test_a_fresh_copy_is_used() -> None:
    copy = Copy()
    copy.viewers.join(wanted(1), 4.0, NOW)
    assert copy.judged() is GateStep.USE
    assert copy.gate.stale is None


def test_a_stale_copy_is_asked_about_at_the_home_and_at_last_at_the_origin() -> None:
    copy = Copy(age_s=60.0)
    copy.viewers.join(wanted(1), 4.0, NOW)
    for _ in range(HOME_ASKS_MAX):
        assert copy.judged() is GateStep.ASK_HOME
    assert copy.judged() is GateStep.ASK_ORIGIN
    gate = copy.gate
    assert (gate.stale, gate.asks_to_confirm(copy.assembly)) == ((copy.assembly.generation, NOW - 60.0), True)
    gate.open()
    assert (gate.stale, gate.asks_to_confirm(copy.assembly)) == (None, False)


def test_a_stale_copy_that_cannot_be_confirmed_is_dropped() -> None:
    copy = Copy(age_s=60.0, etag=None)
    copy.viewers.join(wanted(1), 4.0, NOW)
    assert copy.judged() is GateStep.DROP
    assert not copy.gate.asks_to_confirm(copy.assembly)
    assert not copy.gate.asks_to_confirm(Assembly(KEY, seal("me")))


def test_another_pages_copy_is_asked_about_at_the_origin_at_once() -> None:
    copy = Copy()
    copy.viewers.join(wanted(1, headers=PAGE), 4.0, NOW)
    assert copy.judged() is GateStep.ASK_ORIGIN


def test_agents_judge_for_themselves_what_is_read_for_them() -> None:
    copy = Copy(age_s=60.0)
    assert copy.judged() is GateStep.USE
    copy.viewers.join(wanted(1), 4.0, NOW)
    copy.gate.close()
    assert copy.judged() is GateStep.ASK_HOME


@pytest.mark.parametrize(("etag", "other"), [('"v1"', False), ('"v2"', True), (None, True)])
def test_another_version_than_the_kept_one_is_told_by_its_generation(etag: str | None, other: bool) -> None:
    gate, assembly = Gate(CrossOriginProofs(), STREAM), Assembly(KEY, seal("me"))
    gate.hold(whole(seal("me"), BODY), assembly)
    assert gate.holds_kept_copy
    assert assembly.complete
    assert assembly.body() == BODY
    voucher = fetched(seal("ann"), BODY, etag=etag).vouchers[0]
    assert gate.is_other_version(voucher, assembly) is other
    gate.open()
    assert not gate.is_other_version(voucher, assembly)


def test_a_kept_copy_without_a_validator_is_of_no_use_but_is_told() -> None:
    gate, assembly = Gate(CrossOriginProofs(), STREAM), Assembly(KEY, seal("me"))
    gate.hold(whole(seal("me"), BODY, etag=None), assembly)
    assert not gate.holds_kept_copy
    assert assembly.head is None
    assert gate.stale is not None
