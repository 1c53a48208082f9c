"""How long the sources of one segment are waited for: silence, the viewers' deadlines, and when all waiting ends.

    source_spoke() body_began() bytes_arrived()     what came
    origin_reached() source_awaits()                nothing came, but it is the origin that takes its time
    parent_chosen() parent_kept() fetch_begun()     a source was chosen: its clocks start anew
    parent_silent_at() origin_silent_at()           when a source has said nothing for too long
    awaits_origin() say_so_at() say_so()            whether the own fetch waits rightly, and when others are told so
    deadline_at() deadline_passed()                 the soft and the hard deadline of the viewers, each once
    is_late()                                       whether the rest will come after it is needed, at the rate so far
    give_up_at()                                    without a new byte until then, this machine fetches by itself

Times in seconds on the machine's clock; nothing here knows a peer, a ledger or an origin.
"""

from collections.abc import Callable
from typing import Literal

from ecdn_proxy.core.download.slack import finishes_at
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import LINK_WAIT_S
from ecdn_proxy.sansio.machine import Instant

ORIGIN_SILENCE_S = 1.0
"""An origin that says nothing for this long is left: a neighbour may have the rest; else it is asked for on a new
connection. The wait doubles each time, so that an origin that is merely slow is not asked over and over."""
ORIGIN_SILENCE_WHOLE_S = 5.0
"""The same where the rest cannot be asked for alone: a new fetch is another copy, and another machine may have one."""
ORIGIN_REACH_S = 4.0
"""An origin that was not reached for this long, as no connection came about or the request got lost on one that is no
good, is asked on a new connection. This wait doubles too."""
ORIGIN_THINKS_S = 300.0
"""An origin that has the request is waited for as long as Chromium waits: it may think for minutes, a new request would
be at the end of its queue, and its answer is the same for everybody."""
SAY_SO_S = 0.2
"""How often a machine that rightly waits for the origin says so: less than `silence_s`, its children's patience."""
SAY_SO_IN_BODY_S = 0.1
"""When it says so first in the middle of a body: the last bytes may have been told of 0.1 s (`progress_s`) before."""
SAY_SO_FIRST_S = 0.25
"""When it says so first: before a lease or a child's patience can end (`first_byte_grace_s`). Most begin to come by
then, and cost no word."""
LOOK_AGAIN_S = 1.0
"""How often it looks for a neighbour that has the segment after all."""
ORIGIN_WAIT_TIMES_MAX = 8.0
"""An origin whose wait would be doubled beyond this many times the first one counts as a try that failed."""
PARENT_WAIT_TIMES_MAX = 4.0
"""The wait for parents doubles with each that was silent, up to this many times the first one."""
PARENT_WAIT_MAX_S = 1.0
"""After so long without a word the ledger is asked again, however slow the origin is: somebody may have it by now."""
PARENT_TRIAL_S = 0.4
"""A parent that has only just been chosen is not judged before: a link may have to be opened first."""
GIVE_UP_S = 4.0
"""After so long without a new byte and without an own fetch the origin is asked, whatever the ledgers say: a viewer's
wait must end even if every neighbour's answer is lost."""

Deadline = Callable[[float], Instant | None]
"""When the first viewer has waited a share of its slack; None without viewers."""


class Timeouts:
    """The clocks of one download."""

    def __init__(self, limits: Limits, spread: float, now: Instant) -> None:
        """Start waiting.

        Args:
            limits: shares of the slack, silence, grace.
            spread: 0 to 1, by a device's rank for the key: a crowd does not give up together.
            now: the time.
        """
        self._limits = limits
        self.give_up_s = GIVE_UP_S * (1.0 + spread)
        self._heard_at = self._chosen_at = self._arrived_at = self._bytes_at = now
        self._body_began_at: Instant | None = None
        self._reached = False
        """The origin has the request of the own fetch."""
        self.grows = False
        """The body is made while it is sent: nobody says how long it is."""
        self.resumes = True
        """The origin can be asked for the rest alone."""
        self.gap_s = ORIGIN_SILENCE_S
        """How long such a body may pause, by the cadence of its rendition (`gaps`)."""
        self.longest_gap_s = 0.0
        """How long it paused."""
        self._fetch_began_at = now
        self._said_so_at: Instant = -SAY_SO_S
        self.has_word = False
        """Those who read from here are to be told that the origin takes its time."""
        self._had_bytes = 0
        """Bytes that were here when the parent was chosen."""
        self._arrived_bytes = 0
        self._parent_wait_times = 1.0
        self._origin_wait_times = 1.0
        self._looked_around_at: Instant = 0.0
        self._soft_passed = False
        self._hard_passed = False

    # ---- what happened

    def source_spoke(self, now: Instant) -> None:
        """The source in hand said something."""
        self._heard_at = now

    def body_began(self, now: Instant) -> None:
        """The source in hand sent bytes of the body."""
        if self._body_began_at is None:
            self._body_began_at = now
        else:
            self.longest_gap_s = max(self.longest_gap_s, now - self._bytes_at)
        self._heard_at = self._bytes_at = now

    def origin_reached(self) -> None:
        """The origin has the request of the own fetch."""
        self._reached = True

    def source_awaits(self, now: Instant) -> None:
        """The parent waits for the origin, and rightly so: that is passed on, unless something was a moment ago."""
        self._heard_at = self._arrived_at = now
        if now - self._said_so_at >= SAY_SO_S / 2:
            self.say_so(now)

    def say_so(self, now: Instant) -> None:
        """Those who wait for this machine are to be told that it waits for the origin, and rightly so."""
        self._said_so_at, self.has_word = now, True

    def take_word(self) -> None:
        """They are told."""
        self.has_word = False

    def bytes_arrived(self, available_bytes: int, now: Instant) -> None:
        """So many bytes can be given to viewers now."""
        if available_bytes > self._arrived_bytes:
            self._arrived_bytes, self._arrived_at = available_bytes, now

    def parent_was_good(self) -> None:
        """A parent's piece was good: from now on parents are waited for as long as the first one."""
        self._parent_wait_times = 1.0

    def parent_chosen(self, available_bytes: int, now: Instant) -> None:
        """A parent was chosen when so many bytes were here."""
        self._heard_at = self._chosen_at = now
        self._body_began_at, self._had_bytes = None, available_bytes

    def parent_kept(self, available_bytes: int, usual_first_byte_s: float, now: Instant) -> None:
        """The same parent was named once more: it is not waited for as long as a new one.

        What this parent waits for itself, a lease or a gap above it, is decided sooner than that.
        """
        heard_at, wait_s = self._heard_at, self._parent_wait_s(usual_first_byte_s)
        self.parent_chosen(available_bytes, now)
        self._heard_at = max(heard_at, now - wait_s / 2)

    def fetch_begun(self, now: Instant) -> None:
        """An own fetch was begun."""
        self._heard_at = self._fetch_began_at = now
        self._body_began_at, self._reached = None, False

    def looked_around(self, now: Instant) -> None:
        """Neighbours were asked for while the own fetch said nothing."""
        self._looked_around_at = now

    def gave_up(self, now: Instant) -> None:
        """This machine fetches by itself: all waiting begins anew."""
        self._arrived_at = now

    def parent_was_silent(self) -> None:
        """The next parent is waited for twice as long."""
        self._parent_wait_times = min(2 * self._parent_wait_times, PARENT_WAIT_TIMES_MAX)

    def origin_was_silent(self) -> bool:
        """The next own fetch is waited for twice as long; False when the origin has been waited for long enough."""
        self._origin_wait_times *= 2
        return self._origin_wait_times <= ORIGIN_WAIT_TIMES_MAX

    # ---- what follows

    def parent_silent_at(self, usual_first_byte_s: float) -> Instant:
        """When the parent has been silent for too long."""
        return self._heard_at + self._parent_wait_s(usual_first_byte_s)

    def _parent_wait_s(self, usual_first_byte_s: float) -> float:
        limits = self._limits
        if self._body_began_at is None:
            wait = usual_first_byte_s + limits.first_byte_grace_s
        else:
            wait = limits.silence_s * (2 if self.grows else 1)
        return min(wait * self._parent_wait_times, PARENT_WAIT_MAX_S)

    def link_due_at(self) -> Instant:
        """When a link to the parent must have opened."""
        return self._chosen_at + LINK_WAIT_S

    def fetch_quiet_from(self, usual_first_byte_s: float, soft: Instant | None) -> Instant:
        """When the own fetch has been silent for so long that a neighbour may have the segment sooner.

        That is when its lease has run out, so that another may have been granted one, or the viewers' soft deadline.
        """
        limits = self._limits
        if self._body_began_at is not None:
            at = self._heard_at + (self.gap_s if self.grows else limits.silence_s + limits.progress_s)
        else:
            at = self._heard_at + usual_first_byte_s + limits.first_byte_grace_s
            if soft is not None:
                at = min(at, max(soft, self._heard_at + limits.first_byte_grace_s))
        return at

    def look_around_at(self, quiet_from: Instant) -> Instant:
        """When neighbours are asked for, the first time or again."""
        again_s = LOOK_AGAIN_S if self.awaits_origin() else self._limits.first_byte_grace_s
        return max(quiet_from, self._looked_around_at + again_s)

    def awaits_origin(self) -> bool:
        """Whether the own fetch has a good connection and waits: for the first byte, or the next of a growing body."""
        return self._reached and (self._body_began_at is None or self.grows)

    def say_so_at(self) -> Instant | None:
        """When those who wait for this machine are told that it waits for the origin; None when it does not."""
        if not self.awaits_origin():
            return None
        if self._body_began_at is None:
            return max(self._fetch_began_at + SAY_SO_FIRST_S, self._said_so_at + SAY_SO_S)
        at = max(self._heard_at + SAY_SO_IN_BODY_S, self._said_so_at + SAY_SO_S)
        return at if at <= self._heard_at + self.gap_s else None

    def origin_silent_at(self) -> Instant:
        """When the own fetch has been silent for too long."""
        if self._body_began_at is None:
            if self._reached:
                return self._heard_at + ORIGIN_THINKS_S
            silence_s = ORIGIN_REACH_S
        else:
            silence_s = ORIGIN_SILENCE_S if self.resumes else ORIGIN_SILENCE_WHOLE_S
            if self.grows:
                silence_s = self.gap_s + ORIGIN_SILENCE_S
        return self._heard_at + silence_s * self._origin_wait_times

    def thought_for_minutes(self) -> bool:
        """Whether the origin, which has been silent for too long, had the request all the time."""
        return self._reached and self._body_began_at is None

    def give_up_at(self) -> Instant:
        """When this machine fetches by itself."""
        return self._arrived_at + self.give_up_s

    def deadline_at(self, deadline: Deadline) -> Instant | None:
        """When the next of the viewers' deadlines asks for a decision."""
        if self._hard_passed:
            return None
        return self._at(deadline, self._limits.hard_share if self._soft_passed else self._limits.soft_share)

    def deadline_passed(self, deadline: Deadline, now: Instant) -> Literal["hard", "soft"] | None:
        """The deadline that has passed; each is told once."""
        hard = self._at(deadline, self._limits.hard_share)
        if not self._hard_passed and hard is not None and hard <= now:
            self._hard_passed = self._soft_passed = True
            return "hard"
        soft = self._at(deadline, self._limits.soft_share)
        if not self._soft_passed and soft is not None and soft <= now:
            self._soft_passed = True
            return "soft"
        return None

    def _at(self, deadline: Deadline, share: float) -> Instant | None:
        at = deadline(share)
        return None if at is None else max(at, self._chosen_at + PARENT_TRIAL_S)

    def is_late(self, deadline: Deadline, available_bytes: int, total_bytes: int | None, now: Instant) -> bool:
        """Whether the rest comes after it is needed, as far as can be said: nothing can of a body that grows."""
        if self.grows and self._body_began_at is not None:
            return False
        need = deadline(1.0)
        total = None if total_bytes is None else total_bytes - self._had_bytes
        finish = finishes_at(available_bytes - self._had_bytes, total, self._body_began_at, now)
        return need is not None and (finish is None or finish > need)
