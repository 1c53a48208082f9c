"""Whether this machine's uplink carries a video at all, by the word of children that left because it was too slow.

    plays()         what the machine itself plays is the measure: who cannot send that much is no help to anybody
    complained()    a child left; says whether this machine had better not serve for a while
    slow_until      this machine does not serve before; a second time in a row lasts twice as long
    fair_share()    what would have arrived through an uplink of a given rate

The socket of a link takes more than the line carries, so this machine does not see what arrives. A child that leaves
says what it had, and that is compared with what an uplink that carries one video would have brought until then, if all
that was sent had shared it fairly. A machine that was only asked for too much is not slow. One child alone may have a
bad way to here, and an uplink that serves others well is not slow either: two children must complain, or one of them
three times.
"""

from collections.abc import Sequence

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES

WINDOW_S = 16.0
"""Complaints older than this do not count: it is eight segments of two seconds."""
BELIEVED_AGENTS = 2
"""Complaints are believed when they come from so many different agents."""
BELIEVED_TIMES = 3
"""Or when there are so many of them: one agent may be the only child that there is."""
DOUBT_PIECES = 1.0
"""A child that had so much less than its fair share proves nothing: the last piece may be on its way."""
PROOF_PIECES = 1.0
"""So much must be missing beyond that, in all complaints together."""
HOLD_FIRST_S = 30.0
"""A machine whose uplink is slow gives nothing to others for this long. Then its uplink is tried again, at the cost of
a second for two children."""
HOLD_MOST_S = 600.0
"""That time doubles with each try that fails, up to this."""
FORGETS = 0.9
"""Of several tracks the one with most bytes is the measure; it fades by this factor with every segment played."""

Sent = Sequence[tuple[Instant, int]]
"""One transfer: at each of these times, how many of its pieces had been sent in all."""


def fair_share(transfers: Sequence[Sent], which: int, pieces_per_s: float, until: Instant) -> float:
    """Pieces of one transfer that an uplink would have brought, shared evenly by all that had something to send.

    Args:
        transfers: what was sent, each in order of time.
        which: index of the transfer in question.
        pieces_per_s: what the uplink carries.
        until: the time in question.
    """
    steps: list[tuple[Instant, int, int]] = []
    for at, sent in enumerate(transfers):
        before = 0
        for when, pieces in sent:
            if when < until:
                steps.append((when, at, pieces - before))
                before = pieces
    steps.sort()
    waiting = dict.fromkeys(range(len(transfers)), 0.0)
    arrived = 0.0
    for (when, at, pieces), end in zip(steps, [when for when, _, _ in steps[1:]] + [until], strict=False):
        waiting[at] += pieces
        carries = (end - when) * pieces_per_s
        while carries > 0 and (busy := [it for it, left in waiting.items() if left > 0]):
            each = min(carries / len(busy), *(waiting[it] for it in busy))
            for it in busy:
                waiting[it] -= each
            arrived += each if which in busy else 0.0
            carries -= each * len(busy) if each > 0 else carries
    return arrived


class Uplink:
    """What the uplink must carry, who complained of it, and until when this machine does not serve."""

    def __init__(self) -> None:
        self._needs_bytes_per_s = 0.0
        self._complaints: list[tuple[Instant, str, float]] = []
        self._hold_s = HOLD_FIRST_S
        self.slow_until: Instant = 0.0

    @property
    def needs_pieces_per_s(self) -> float:
        """What the uplink must carry to be of help: what is played here; 0 while that is not known."""
        return self._needs_bytes_per_s / PIECE_BYTES

    def plays(self, size_bytes: int, duration_s: float) -> None:
        """The machine's own viewers had a segment."""
        self._needs_bytes_per_s = max(FORGETS * self._needs_bytes_per_s, size_bytes / max(duration_s, 0.1))

    def is_slow(self, now: Instant) -> bool:
        """Whether this machine had better not serve now."""
        return now < self.slow_until

    def complained(self, device: str, missing_pieces: float, went_well: int, now: Instant) -> bool:
        """A child left because it was served too slowly; True when the uplink counts as slow from now on.

        Args:
            device: who left.
            missing_pieces: its fair share of an uplink that carries one video, less what it had.
            went_well: how many transfers of the last seconds nobody complained of.
            now: the time.
        """
        proof = missing_pieces - DOUBT_PIECES
        if self.is_slow(now) or proof <= 0:
            return False
        self._complaints = [it for it in self._complaints if now - it[0] <= WINDOW_S]
        self._complaints.append((now, device, proof))
        times, agents = len(self._complaints), len({who for _, who, _ in self._complaints})
        if agents < BELIEVED_AGENTS and times < BELIEVED_TIMES:
            return False
        if times <= went_well or sum(it for _, _, it in self._complaints) < PROOF_PIECES:
            return False
        if now - self.slow_until > self._hold_s:
            self._hold_s = HOLD_FIRST_S
        self.slow_until = now + self._hold_s
        self._hold_s = min(2 * self._hold_s, HOLD_MOST_S)
        self._complaints.clear()
        return True
