"""A ledger, and the office that asks it: what the tests of the ledger and of its rules stand on."""

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, LeaseGranted, StaleCopy, ViewersGoAlone
from ecdn_proxy.core.swarm.ledger import Ledger
from ecdn_proxy.core.swarm.membership import Membership
from tests.core.makers import KEY, contact
from tests.core.world import STREAM

LIMITS = Limits()
FIRST_BYTE_ENDS = LIMITS.first_byte_unknown_s + LIMITS.first_byte_grace_s
"""When a first lease that nothing was heard of ends."""
DEVICES = tuple(f"dev{number}" for number in range(6))


class Book:
    """A ledger, and the office that asks it."""

    def __init__(self, *, me: str = "me", limits: Limits = LIMITS) -> None:
        self.membership = Membership(contact(me), limits)
        self.ledger = Ledger(self.membership, limits)
        for device in DEVICES:
            self.membership.linked(contact(device), (STREAM,), serves=True)

    def decide(
        self,
        device: str,
        now: float,
        reason: str = "first",
        *,
        avoid: tuple[str, ...] = (),
        have: int = 0,
        isolated: bool = False,
        stale: StaleCopy | None = None,
    ) -> LeaseDecision:
        return self.ledger.decide_lease(
            KEY, STREAM, device, reason, avoid, have, now, isolated=isolated, stale_copy=stale
        )

    def ask(
        self,
        device: str,
        now: float,
        reason: str = "first",
        *,
        avoid: tuple[str, ...] = (),
        have: int = 0,
        isolated: bool = False,
        stale: StaleCopy | None = None,
    ) -> str:
        """The answer in a word: "fetch", "hedge", "alone", or whom to follow."""
        match self.decide(device, now, reason, avoid=avoid, have=have, isolated=isolated, stale=stale):
            case LeaseGranted(hedge=hedge):
                return "hedge" if hedge else "fetch"
            case FollowParents(parents):
                return parents[0].device
            case ViewersGoAlone():
                return "alone"

    def progress(self, device: str, received: int, now: float, lease: int = 1) -> None:
        self.ledger.lease_progressed(KEY, lease, device, received, now)

    def finished(
        self, device: str, outcome: str, now: float, *, lease: int = 1, status: int = 200, why: str = "so"
    ) -> None:
        self.ledger.lease_ended(KEY, lease, device, outcome, status, why, now)
