"""The cheap seal keeps the contract of the real one."""

import msgspec
import pytest

from ecdn_proxy.sim.seal import QuickSeal
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import Voucher


def test_it_knows_its_own_and_refuses_anything_else() -> None:
    one, two = QuickSeal("one"), QuickSeal("two")
    blank = Voucher("one", "ab" * 32, "g", 0, bytes(32), None, None, bytes(64), one.certificate())
    good = msgspec.structs.replace(blank, signature=one.sign(blank.signed_bytes(one.tenant)))
    two.check(good)
    for wrong in (blank, msgspec.structs.replace(good, first=1), msgspec.structs.replace(good, signer="two")):
        with pytest.raises(PeerMisbehaved):
            two.check(wrong)
