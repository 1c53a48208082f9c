"""One question about one segment, as the ledger sees it, and the rules that may answer it.

Each public method is a rule: it answers with a decision, or with None, and then the next rule is tried. Their order
stands in `ledger.RULES`, each with its reason. A rule is given that reason as `why`; where it chooses a parent, the
sentence with the parent's name and figures (`parent_choice`) takes its place.

    it knows a stale copy           grant_confirmation
    the asker fetches already       send_fetcher_to_neighbour, let_silent_fetch_go_on, repeat_grant
    it finds its parent slow        stay_until_origin_begins, stay_while_first_bytes_travel, stay_below_mended_gap,
                                    grant_past_slow_sources
    it reads from a neighbour       follow_best_parent, follow_avoided_parent, wait_for_silent_fetch
    it fetches                      grant_free_lease
    nobody shares                   let_viewers_go_alone, let_viewers_go_alone_at_last
"""

import math
from dataclasses import dataclass

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.candidates import Candidates
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseGranted, StaleCopy, ViewersGoAlone
from ecdn_proxy.core.swarm.key_record import KeyRecord, LeaseState
from ecdn_proxy.core.swarm.leases import LEASES_MAX, Leases
from ecdn_proxy.core.swarm.membership import Membership
from ecdn_proxy.core.swarm.parent_choice import ParentChoice
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES

MENDING_S = 0.5
"""After one device was given another parent, those that read through it are told to stay for this long."""
REPORT_S = 1.0
"""What two machines say of one moment may differ by the time that messages take, and by little more."""
KEEPS_UP_BYTES = 12 * PIECE_BYTES
"""A follower this close behind the fetcher (a batch and a half) is not held back by its parent."""


@dataclass(slots=True)
class LeaseCase:
    """A device wants a segment; what the ledger knows of the segment, of the device and of its neighbours."""

    membership: Membership
    limits: Limits
    leases: Leases
    candidates: Candidates
    record: KeyRecord
    device: str
    """The asker."""
    lease: LeaseState | None
    """The asker's own lease for this segment, if it fetches already."""
    reason: str
    """Why it asks, as in the wire's `Ask`."""
    avoid: tuple[str, ...]
    """Devices that it does not want to read from."""
    have: int
    """Pieces that it has already, from the first on."""
    now: Instant
    stale_copy: StaleCopy | None = None
    """A copy that the asker knows and may not use before the origin confirms it; None: it knows none."""

    # ---- nobody shares

    def let_viewers_go_alone(self, _why: str) -> ViewersGoAlone | None:
        """The origin's answer was not for sharing, or fetch after fetch failed; that is remembered for a while."""
        record = self.record
        if record.alone_until <= self.now:
            return None
        return ViewersGoAlone(record.alone_why, record.alone_until - self.now, record.alone_status)

    def let_viewers_go_alone_at_last(self, why: str) -> ViewersGoAlone:
        """Two are at the origin for it, and no device that has or receives the segment may give it to the asker."""
        return ViewersGoAlone(why, 0.0, 0)

    # ---- the asker fetches already

    def send_fetcher_to_neighbour(self, _why: str) -> FollowParents | None:
        """The asker's own fetch is silent, and a neighbour has the segment or is receiving it.

        The fetch goes on for now, late: it counts as one of the two that there may be, and nobody is sent to it.
        """
        lease, record = self.lease, self.record
        if lease is None or not self._finds_slow() or (choice := self._choose(self.avoid)) is None:
            return None
        if lease in record.leases:
            record.leases.remove(lease)
            record.late.append(lease)
        lease.heard_at = self.now
        return self._follow(choice)

    def let_silent_fetch_go_on(self, why: str) -> LeaseGranted | None:
        """The asker's own fetch is silent, and no neighbour can give it the segment.

        A lease does not live the longer for this question.
        """
        lease = self.lease
        if lease is None or not self._finds_slow():
            return None
        if lease in self.record.late:
            lease.heard_at = self.now  # its holder is still at the origin, and counts as one of two
        return self._granted(lease, why)

    def repeat_grant(self, why: str) -> LeaseGranted | None:
        """The asker holds the lease and asks as if it did not: it was restarted, or messages crossed."""
        lease = self.lease
        if lease is None:
            return None
        lease.granted_at = lease.heard_at = self.now
        self.record.revive(lease)
        return self._granted(lease, why)

    # ---- the asker knows a copy that it may not use as it is

    def grant_confirmation(self, why: str) -> LeaseGranted | None:
        """The asker knows a copy that is stale, no other is known, and nobody is at the origin for the segment.

        Whoever has that copy is named to nobody from now on: what the origin says of it, or sends in its place, is at
        the holder of this lease. A copy of which the origin spoke since the asker's viewer asked is not asked about
        again.
        """
        record, copy, now = self.record, self.stale_copy, self.now
        if copy is None or self._finds_slow() or any(self.leases.is_live(record, it, now) for it in record.leases):
            return None
        if record.holders and (record.generation not in (None, copy.generation) or self._heard_of_since(copy)):
            return None
        if (granted := self._grant(why)) is not None:
            record.holders.clear()
        return granted

    def _heard_of_since(self, copy: StaleCopy) -> bool:
        """Whether the origin has spoken of the segment since the asker's viewer asked, or later than of its copy."""
        heard_at = self.record.heard_at
        return heard_at is not None and heard_at > self.now - max(copy.idle_s - REPORT_S, copy.waited_s)

    # ---- the asker finds its parent slow
    # Everybody below a gap notices it at the same moment. Were all of them moved, nobody would read from anybody who
    # has anything. So an asker had better stay where it is when the fault is further up, and known.

    def stay_until_origin_begins(self, why: str) -> FollowParents | None:
        """The asker finds its parent slow, but the fetcher itself still waits for the origin's first byte."""
        way = self._way_to_source()
        if way is None or not self.leases.waits_for_first_byte(self.record, self.now):
            return None
        return self._named((way[0],), why)

    def stay_while_first_bytes_travel(self, why: str) -> FollowParents | None:
        """The asker finds its parent slow, but the first bytes came to the fetcher less than `silence_s` ago."""
        way, began_at = self._way_to_source(), self.record.began_at
        if way is None or began_at is None or self.now - began_at > self.limits.silence_s:
            return None
        return self._named((way[0],), why)

    def stay_below_mended_gap(self, why: str) -> FollowParents | None:
        """The asker finds its parent slow, but its parent, or a relay above that, was just given another parent."""
        if (way := self._way_to_source()) is None:
            return None
        parent, source = way
        relay: str | None = parent
        while relay is not None:
            if self.now - self.record.moved_at.get(relay, -math.inf) <= MENDING_S:
                return self._named((parent,), why.format(relay=relay[:8]))
            relay = self.record.parents.get(relay) if relay != source else None
        return None

    def grant_past_slow_sources(self, why: str) -> LeaseGranted | None:
        """Everybody who has the segment or fetches it, if anybody, was found slow by two or more children.

        The asker's own word on its parent is noted first, whether this rule answers or not.
        """
        if not self._finds_slow() or self._keeps_up():
            return None
        self._blame_parent()
        return self._grant(why) if self.candidates.are_sources_slow(self.record, self.now) else None

    # ---- the asker reads from a neighbour, or fetches

    def follow_best_parent(self, _why: str) -> FollowParents | None:
        """A neighbour that the asker does not avoid has the segment or is receiving it.

        An asker that wants the hedge is not sent to one that only relays while no fetch receives anything.
        """
        if (choice := self._choose(self.avoid)) is None or (self.reason == "hedge" and not self._flows()):
            return None
        return self._follow(choice)

    def follow_avoided_parent(self, _why: str) -> FollowParents | None:
        """The asker finds its parent slow, but a fetcher receives and is not far ahead: the origin is what is slow."""
        if not self._finds_slow() or not self._keeps_up() or (choice := self._choose(())) is None:
            return None
        return self._follow(choice)

    def grant_free_lease(self, why: str) -> LeaseGranted | None:
        """No neighbour can give it to the asker in time, and fewer than two are at the origin for it."""
        return self._grant(why)

    def wait_for_silent_fetch(self, _why: str) -> FollowParents | None:
        """Two are at the origin for it and say nothing: the asker waits for one of them, even one that it avoids."""
        choice = self._choose((), silent=True)
        return None if choice is None else self._follow(choice)

    # ---- for an elder, which grants nothing

    def known_parents(self) -> FollowParents | None:
        """Whom the asker could read from, by what this ledger knows; nothing is noted."""
        choice = self._choose(())
        return None if choice is None else self._named(choice.parents, choice.why)

    # ---- what the rules are made of

    def _finds_slow(self) -> bool:
        """Whether the asker says that its parent, or its own fetch, is too slow."""
        return self.reason in ("parent slow", "hedge")

    def _choose(self, avoid: tuple[str, ...], *, silent: bool = False) -> ParentChoice | None:
        """The best parents for the asker; with `silent`, fetches that say nothing may be waited for as well."""
        record, leases, now = self.record, self.leases, self.now
        fetching = {it.device for it in record.at_origin() if silent or leases.is_live(record, it, now)}
        return self.candidates.choose(record, self.device, avoid, fetching, now, last=silent)

    def _follow(self, choice: ParentChoice) -> FollowParents:
        self.record.follow(self.device, choice.parents[0], self.now)
        self.candidates.note_given(choice.parents[0], self.now)
        return self._named(choice.parents, choice.why)

    def _named(self, parents: tuple[str, ...], why: str) -> FollowParents:
        return FollowParents(self.membership.contacts(parents), why, self.membership.me.device)

    def _grant(self, why: str) -> LeaseGranted | None:
        """A new lease for the asker; None when two are at the origin already."""
        if len(self.record.at_origin()) >= LEASES_MAX:
            return None
        return self._granted(self.leases.grant(self.record, self.device, self.now), why)

    def _granted(self, lease: LeaseState, why: str) -> LeaseGranted:
        return LeaseGranted(None, lease.number, hedge=len(self.record.at_origin()) > 1, why=why)

    def _way_to_source(self) -> tuple[str, str] | None:
        """The parent that the asker finds slow and the source above that; None when it cannot stay there."""
        parent = self.record.parents.get(self.device) if self._finds_slow() else None
        if parent is None or not self.candidates.may_serve(parent, self.now):
            return None
        chain = self.record.chain(parent, self.record.sources(), {self.device: None})
        return None if chain is None else (parent, chain[1])

    def _flows(self) -> bool:
        """Whether somebody has the segment, or fetches it and has not been silent for too long."""
        record, now = self.record, self.now
        return bool(record.holders) or any(self.leases.is_live(record, it, now) for it in record.leases)

    def _keeps_up(self) -> bool:
        """Whether an avoided parent may be named again, as the fault is not its own.

        A fetcher that is receiving and not far ahead of the asker relays what it gets: the origin is what is slow, and
        a second copy through a tight link would make everybody late. One that has only just been granted the lease was
        slow for a reason that is over.
        """
        most = self.have * PIECE_BYTES + KEEPS_UP_BYTES
        return any(
            it.received_bytes <= most and self.leases.is_live_here(self.record, it, self.now)
            for it in self.record.leases
        )

    def _blame_parent(self) -> None:
        """Only a source is blamed: a parent that relays may wait as much as its child does."""
        parent = self.record.parents.get(self.device)
        if parent in self.avoid and parent in self.record.sources():
            self.candidates.note_slow(parent, self.now)
