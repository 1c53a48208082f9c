"""What is decided when an agent wants a segment: it fetches, it reads from a neighbour, or its viewers go alone.

    LeaseGranted       the asker fetches the segment from the origin, for the whole site       wire: Granted
    FollowParents      the asker reads it from a neighbour that has it or is receiving it      wire: Follow
    ViewersGoAlone     nobody may share it: each viewer's own request goes to the origin       wire: GoAlone

    StaleCopy          what an asker says of a copy that the origin must confirm               wire: Ask

A ledger decides, a `LeaseRequest` ends in the decision, and between agents the decision travels as the wire's message
of the same word. Each decision carries its `why`, the sentence that people read on the status page. The wire's
`Granted` has no room for a sentence: there the asker says which ledger granted the lease.
"""

from dataclasses import dataclass

from ecdn_proxy.wire.peer import Contact


@dataclass(frozen=True, slots=True)
class StaleCopy:
    """What an asker says of the newest copy that it knows and may not use before the origin has confirmed it."""

    generation: str
    """Which version of the segment the copy is."""
    idle_s: float
    """For so many seconds the origin has said nothing of the copy."""
    waited_s: float
    """For so many seconds the asker's viewer has waited: what the origin said meanwhile counts for that viewer."""


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """The asker fetches the segment from the origin."""

    home: str | None
    """The device whose ledger granted the lease and is told how the fetch goes; None: the ledger of this machine."""
    lease: int
    """The lease's number in that ledger; 0: no ledger granted it."""
    hedge: bool
    """Somebody else is at the origin for this segment already, but late."""
    why: str
    lone: bool = False
    """Nobody was asked, as no neighbour was known."""


@dataclass(frozen=True, slots=True)
class FollowParents:
    """The asker reads the segment from the first of these neighbours that serves it."""

    parents: tuple[Contact, ...]
    """At most four, best first."""
    why: str
    """How the first of them was chosen."""
    home: str
    """The device whose ledger named them."""


@dataclass(frozen=True, slots=True)
class ViewersGoAlone:
    """Nobody may share the segment now: each viewer's own request goes to the origin."""

    why: str
    for_s: float
    """For how many seconds this holds; 0: for this question only."""
    status: int
    """404, 410 or 5xx: the viewer is told this instead of asking the origin once more; 0: the viewer asks."""


LeaseDecision = LeaseGranted | FollowParents | ViewersGoAlone
