"""One home of a segment in its turn to be asked, and what the rules want to know of it.

Each public method is the condition of one rule. Their order stands in `lease_request.HOME_RULES`, each with the step
that follows and its reason. The homes have their turns by rank, and after the last of them comes a turn of nobody.

    before anybody is asked       sharing_is_off, has_no_neighbours, is_new_here
    a home in its turn            enough_were_asked, is_left_to_others, is_here, was_tried, is_kept_apart, is_in_turn
    after the last home           nobody_answered, nobody_was_reached
"""

from collections.abc import Collection
from dataclasses import dataclass

from ecdn_proxy.core.swarm.context import NodeContext

NOBODY = ""
"""Whose turn it is after the last home."""


@dataclass(slots=True)
class HomeTurn:
    """Whose turn it is, and what has happened to the question so far."""

    context: NodeContext
    key: str
    home: str
    """The device whose turn it is, or `NOBODY`."""
    committee: list[str]
    """The homes of the segment, best first."""
    candidates: list[str]
    """The same, and where this machine is isolated whoever may answer in their place."""
    asked: Collection[str]
    lost: Collection[str]
    """Homes that did not answer in time, or could not be reached."""
    avoid: tuple[str, ...]
    """Devices that this machine does not want to read from."""
    unsettled: bool
    """The committee changed a moment ago, so that others may still ask by an older list."""
    isolated: bool
    """An access point seems to keep this machine from the machines beside it."""

    def sharing_is_off(self) -> bool:
        """Sharing is switched off for this machine."""
        return not self.context.sharing

    def has_no_neighbours(self) -> bool:
        """This machine is the whole committee."""
        return self.committee == [self.context.me.device]

    def is_new_here(self) -> bool:
        """This machine is the home, but only since the committee changed a moment ago, and its ledger knows nothing.

        Homes of older lists, its elders, may have granted a lease already. An isolated machine does not ask them.
        """
        if self.committee[0] != self.context.me.device or not self.unsettled:
            return False
        return not (self.isolated or self.asked or self.context.ledger.knows_key(self.key))

    def enough_were_asked(self) -> bool:
        """`home_ranks` homes were asked, and not all of them are beside this machine.

        Where all of them are, and silent, an access point may keep them from it: a home elsewhere is asked too.
        """
        if self.home == NOBODY or not self._were_enough():
            return False
        return not all(self.context.is_beside(device) for device in self.asked)

    def is_left_to_others(self) -> bool:
        """This machine is the home in its turn, but others are silent or it is isolated, and had better not decide.

        An isolated home decides only if it has not lost or avoided anybody, and no machine elsewhere is free to decide.
        """
        if self.home != self.context.me.device:
            return False
        return self._were_enough() or (self.isolated and self._had_better_not_decide())

    def is_here(self) -> bool:
        """This machine is the home in its turn."""
        return self.home == self.context.me.device

    def was_tried(self) -> bool:
        """The home in its turn was asked already, or was found out of reach."""
        return self.home in self.asked or self.home in self.lost

    def is_kept_apart(self) -> bool:
        """The home in its turn is beside this machine, and access points seem to keep the two apart."""
        return self.context.is_beside(self.home) and (self.isolated or self._were_enough())

    def is_in_turn(self) -> bool:
        """None of that is so of the home in its turn."""
        return self.home != NOBODY

    def nobody_answered(self) -> bool:
        """All homes have had their turn, and those that were asked are silent."""
        return bool(self.asked)

    def nobody_was_reached(self) -> bool:
        """All homes have had their turn, and none of them could be asked."""
        return True

    def _were_enough(self) -> bool:
        return len(self.asked) >= self.context.limits.home_ranks

    def _had_better_not_decide(self) -> bool:
        """Whether a better home than this isolated one is out of reach, or one elsewhere is free."""
        if self.lost or self.avoid:
            return True
        context = self.context
        elsewhere = (it for it in self.candidates if it != context.me.device and not context.is_beside(it))
        return any(not context.ledger.said_isolated(it) for it in elsewhere)
