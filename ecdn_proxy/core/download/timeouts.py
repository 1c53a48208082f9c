"""How long one segment's sources are waited for: silence, the viewers' deadlines, and when all waiting ends.

    heard() began() moved()                what came
    following() fetching()                 a parent was chosen, an own fetch begun: their clocks start anew
    silent_at() origin_silent_at()         when a source has said nothing for too long
    due_at() due()                         the soft and the hard deadline of the viewers, each once
    late()                                 whether the rest will come after it is needed, at the rate so far
    give_up_at()                           without a new byte until then, this machine fetches by itself

Times in seconds on the machine's clock; nothing here knows a peer, a ledger or an origin.
"""

from collections.abc import Callable

from ecdn_proxy.core.download.slack import finishes_at
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import LINK_WAIT_S
from ecdn_proxy.sansio.machine import Instant

ORIGIN_SILENCE_S = 1.0
"""An origin that says nothing for this long is left: a neighbour may have the rest; else it is asked for on a new
connection. The wait doubles each time, so that an origin that is merely slow is not asked over and over."""
ORIGIN_FIRST_BYTE_S = 4.0
"""The same for the first byte: an origin under load may think for seconds, and asking again makes it worse."""
ORIGIN_PATIENCE_MAX = 8.0
PATIENCE_MAX = 4.0
PARENT_WAIT_MAX_S = 1.0
"""After so long without a word the ledger is asked again, however slow the origin is: somebody may have it by now."""
PARENT_TRIAL_S = 0.4
"""A parent that has only just been chosen is not judged before: a link may have to be opened first."""
GIVE_UP_S = 4.0
"""So long without a new byte and without an own fetch, and the origin is asked whatever the ledgers say: a viewer's
wait must end even if every neighbour's answer is lost."""

Deadline = Callable[[float], Instant | None]
"""When the first viewer has waited a share of its slack; None without viewers."""


class Timeouts:
    """The clocks of one acquisition."""

    def __init__(self, limits: Limits, spread: float, now: Instant) -> None:
        """Start waiting.

        Args:
            limits: shares of the slack, silence, grace.
            spread: 0 to 1, by a device's rank for the key: a crowd does not give up together.
            now: the time.
        """
        self._limits = limits
        self.give_up_s = GIVE_UP_S * (1.0 + spread)
        self._heard_at = self._chosen_at = self._moved_at = now
        self._began_at: Instant | None = None
        self._begun_with = 0
        self._moved_bytes = 0
        self._parent = 1.0
        self._origin = 1.0
        self._looked_at: Instant = 0.0
        self._soft_done = False
        self._hard_done = False

    # ---- what happened

    def heard(self, now: Instant) -> None:
        """The source in hand said something."""
        self._heard_at = now

    def began(self, now: Instant) -> None:
        """It sent bytes of the body."""
        self._heard_at = now
        if self._began_at is None:
            self._began_at = now

    def moved(self, available_bytes: int, now: Instant) -> None:
        """So many bytes can be given to viewers now."""
        if available_bytes > self._moved_bytes:
            self._moved_bytes, self._moved_at = available_bytes, now

    def steadied(self) -> None:
        """A parent's piece was good: it has its full patience again."""
        self._parent = 1.0

    def following(self, available_bytes: int, now: Instant) -> None:
        """A parent was chosen."""
        self._heard_at = self._chosen_at = now
        self._began_at, self._begun_with = None, available_bytes

    def staying(self, available_bytes: int, usual_first_byte_s: float, now: Instant) -> None:
        """The same parent was named once more: it is not waited for as long as a new one.

        What it waits for itself, a lease or a gap above it, is decided sooner than that.
        """
        heard_at, wait_s = self._heard_at, self._parent_wait_s(usual_first_byte_s)
        self.following(available_bytes, now)
        self._heard_at = max(heard_at, now - wait_s / 2)

    def fetching(self, now: Instant) -> None:
        """An own fetch was begun."""
        self._heard_at, self._began_at = now, None

    def looked(self, now: Instant) -> None:
        """Neighbours were asked for while the own fetch said nothing."""
        self._looked_at = now

    def restarted(self, now: Instant) -> None:
        """All waiting begins anew."""
        self._moved_at = now

    def parent_was_silent(self) -> None:
        """The next parent is waited for twice as long."""
        self._parent = min(2 * self._parent, PATIENCE_MAX)

    def origin_was_silent(self) -> bool:
        """The next own fetch is waited for twice as long; False when it has been waited for long enough."""
        self._origin *= 2
        return self._origin <= ORIGIN_PATIENCE_MAX

    # ---- what follows

    def silent_at(self, usual_first_byte_s: float) -> Instant:
        """When the parent has been silent for too long."""
        return self._heard_at + self._parent_wait_s(usual_first_byte_s)

    def _parent_wait_s(self, usual_first_byte_s: float) -> float:
        limits = self._limits
        wait = usual_first_byte_s + limits.first_byte_grace_s if self._began_at is None else limits.silence_s
        return min(wait * self._parent, PARENT_WAIT_MAX_S)

    def link_due_at(self) -> Instant:
        """When a link to the parent must have opened."""
        return self._chosen_at + LINK_WAIT_S

    def quiet_from(self, usual_first_byte_s: float, soft: Instant | None) -> Instant:
        """When the own fetch has been silent for so long that a neighbour may have the segment sooner.

        That is when its lease has run out, so that another may have been granted one, or the viewers' soft deadline.
        """
        limits = self._limits
        if self._began_at is not None:
            at = self._heard_at + limits.silence_s + limits.progress_s
        else:
            at = self._heard_at + usual_first_byte_s + limits.first_byte_grace_s
            if soft is not None:
                at = min(at, max(soft, self._heard_at + limits.first_byte_grace_s))
        return at

    def look_again_at(self, quiet_from: Instant) -> Instant:
        """When neighbours are asked for, the first time or again."""
        return max(quiet_from, self._looked_at + self._limits.first_byte_grace_s)

    def origin_silent_at(self) -> Instant:
        """When the own fetch has been silent for too long."""
        return self._heard_at + (ORIGIN_FIRST_BYTE_S if self._began_at is None else ORIGIN_SILENCE_S) * self._origin

    def give_up_at(self) -> Instant:
        """When this machine fetches by itself."""
        return self._moved_at + self.give_up_s

    def due_at(self, deadline: Deadline) -> Instant | None:
        """When the next of the viewers' deadlines asks for a decision."""
        if self._hard_done:
            return None
        return self._at(deadline, self._limits.hard_share if self._soft_done else self._limits.soft_share)

    def due(self, deadline: Deadline, now: Instant) -> str | None:
        """The deadline that has passed, "hard" or "soft"; each is told once."""
        hard = self._at(deadline, self._limits.hard_share)
        if not self._hard_done and hard is not None and hard <= now:
            self._hard_done = self._soft_done = True
            return "hard"
        soft = self._at(deadline, self._limits.soft_share)
        if not self._soft_done and soft is not None and soft <= now:
            self._soft_done = True
            return "soft"
        return None

    def _at(self, deadline: Deadline, share: float) -> Instant | None:
        at = deadline(share)
        return None if at is None else max(at, self._chosen_at + PARENT_TRIAL_S)

    def late(self, deadline: Deadline, available_bytes: int, total_bytes: int | None, now: Instant) -> bool:
        """Whether the rest comes after it is needed, as far as can be said."""
        need = deadline(1.0)
        total = None if total_bytes is None else total_bytes - self._begun_with
        finish = finishes_at(available_bytes - self._begun_with, total, self._began_at, now)
        return need is not None and (finish is None or finish > need)
