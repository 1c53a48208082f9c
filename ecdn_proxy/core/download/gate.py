"""The gate before a copy that was kept here or that a neighbour gives: nobody has a byte before it may be used.

    hold()                  a copy that was kept on this machine comes to stand behind the gate
    judge()                 what is to be done about the copy that is here: GateStep, and why
    is_other_version()      a neighbour gives another version than the copy behind the gate
    asks_to_confirm()       whether a fetch that begins now is a question about the copy (a conditional request)
    open(), close()

Whether a copy may be used is decided in `core/http/freshness`. If it may not, the home is asked for the lease to have
the origin confirm it, so that a site asks once. The origin's own answer needs no gate.
"""

from enum import Enum

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.cache import age_of
from ecdn_proxy.core.download.viewers import Viewers
from ecdn_proxy.core.http.cross_origin import CrossOriginProofs, is_proven
from ecdn_proxy.core.http.freshness import may_be_confirmed
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import Voucher

HOME_ASKS_MAX = 2
"""A ledger that names a stale copy as often as this does not know what this machine knows: the origin is asked."""


class GateStep(Enum):
    """What is to be done about the copy that is here."""

    USE = "it may be used"
    ASK_HOME = "the home says who has the origin confirm it"
    ASK_ORIGIN = "this machine has the origin confirm it, without a lease"
    DROP = "it cannot be confirmed"


class Gate:
    """Stands before one download's copy."""

    def __init__(self, proofs: CrossOriginProofs, stream: str) -> None:
        self._proofs = proofs
        self._stream = stream
        self.is_open = False
        """What is here may be given to viewers and children."""
        self.holds_kept_copy = False
        """What is here was kept in this machine's memory or on its disk."""
        self.home_asks = 0
        """How often a copy that was met may not be used as it was."""
        self._stale: tuple[str, Instant] | None = None

    @property
    def stale(self) -> tuple[str, Instant] | None:
        """The generation of the newest copy that was met and may not be used as it is; None: there is none such.

        Beside it stands when the origin last spoke of that copy.
        """
        return None if self.is_open else self._stale

    def open(self) -> None:
        """The origin has answered, or has confirmed the copy."""
        self.is_open = True

    def close(self) -> None:
        """A viewer has come, who cannot judge a copy's age as agents do."""
        self.is_open = False

    def hold(self, stored: StoredSegment, assembly: Assembly) -> None:
        """A kept copy may not be used as it is; the assembly begins with it, if the origin can be asked about it."""
        age = age_of(stored)
        self._stale = stored.vouchers[0].generation if stored.vouchers else "", age.heard_at
        if may_be_confirmed(stored.head):
            assembly.hold(stored, age)
            self.holds_kept_copy = True

    def judge(self, assembly: Assembly, viewers: Viewers, rendition: str, now: Instant) -> tuple[GateStep, str]:
        """What is to be done about the copy of which a neighbour has just said how old it is, and why."""
        assert assembly.head is not None, "a copy is judged by its head"
        viewer = viewers.longest_waiting()
        if viewer is not None:
            page = viewer.demand.page
            assembly.head = self._proofs.apply(assembly.head, self._stream, rendition, page, now)
        found = viewers.objection(assembly.head, assembly.age, now)
        if found is None:
            self.open()
            return GateStep.USE, ""
        unhappy, why = found
        self._stale = assembly.generation, assembly.age.heard_at
        self.home_asks += 1
        if not may_be_confirmed(assembly.head):
            return GateStep.DROP, why
        # whoever is at the origin already asks there for another page, or a ledger does not know of it
        if self.home_asks > HOME_ASKS_MAX or not is_proven(assembly.head, unhappy.demand.page):
            return GateStep.ASK_ORIGIN, why
        return GateStep.ASK_HOME, why

    def is_other_version(self, voucher: Voucher, assembly: Assembly) -> bool:
        """Whether a neighbour gives another version than the one that stands behind the gate."""
        begins = not voucher.first and voucher.count > 0
        return not self.is_open and begins and bool(assembly.pieces) and voucher.generation != assembly.generation

    def asks_to_confirm(self, assembly: Assembly) -> bool:
        """Whether the origin is asked about the copy that is here, and not for the segment."""
        return not self.is_open and assembly.head is not None and may_be_confirmed(assembly.head)
