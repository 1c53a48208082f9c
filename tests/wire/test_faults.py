"""Whose fault it is stands in the type, and why in words."""

import pytest

from ecdn_proxy.wire.faults import Fault, PeerMisbehaved, Unavailable


@pytest.mark.parametrize("kind", [PeerMisbehaved, Unavailable])
def test_a_fault_says_why(kind: type[PeerMisbehaved | Unavailable]) -> None:
    fault = kind("it went away")
    assert isinstance(fault, Fault)
    assert (fault.why, str(fault)) == ("it went away", "it went away")
