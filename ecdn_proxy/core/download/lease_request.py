"""Asks a key's home who fetches it; tries the next in rank when the home is silent, and decides alone at last.

    begin(), heard(), link_closed(), wake()  -> LeaseDecision | None

At most `home_ranks` homes are asked. A late grant from a home that was given up is handed back by the acquisition.
While the committee has only just changed, a home notes its own lease and asks the homes of older lists (its elders)
whether others have begun without it; if so it follows them. Two that ask each other: the better rank fetches.
"""

from dataclasses import replace
from typing import Literal

from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, LeaseGranted, ViewersGoAlone
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Ask, Contact, Follow, GoAlone, Granted, Redirect, Shadow

HOPS_MAX = 2
Reason = Literal["first", "parent slow", "parent lost", "hedge", "home lost", "elder"]


class LeaseRequest:
    """One question about one key, put to as many homes as it takes."""

    def __init__(
        self,
        context: NodeContext,
        key: str,
        stream: str,
        *,
        reason: Reason,
        avoid: tuple[str, ...],
        have: int,
        unsettled: bool,
    ) -> None:
        self._context = context
        self._key = key
        self._stream = stream
        self._reason: Reason = reason
        self._avoid = avoid
        self._have = have
        self._unsettled = unsettled
        self._asked: dict[str, tuple[int, Instant]] = {}
        self._lost: list[str] = []
        self._hops = 0
        self._own: LeaseGranted | None = None
        """This home's own lease, while it asks its elders."""
        self._elders: set[str] = set()
        self.due_at: Instant | None = None

    def owns(self, device: str, request: int) -> bool:
        """Whether an answer belongs to this question."""
        return device in self._asked and self._asked[device][0] == request

    def begin(self, now: Instant, at: str | None = None) -> LeaseDecision | None:
        """Put the question, to this home first if there is one that is known to know."""
        if at == self._context.me.device:
            return self._decide_here(now, self._first("this machine keeps the list"))
        if at is not None and self._context.membership.reachable(at, now) and self._put(at, now):
            return None
        return self._next(now)

    def wake(self, now: Instant) -> LeaseDecision | None:
        """Nobody answered in time: ask the next as well."""
        if self.due_at is None or now < self.due_at:
            return None
        if self._own is not None:
            return self._own
        silent = [device for device in self._asked if device not in self._lost]
        for device in silent:
            self._context.answered_in(now - self._asked[device][1])
            self._context.membership.suspected(device, now)
        self._lost = silent + self._lost
        return self._next(now)

    def link_closed(self, device: str, now: Instant) -> LeaseDecision | None:
        """A home went away, or could not be reached."""
        if device not in self._asked or device in self._lost:
            return None
        if self._own is not None:
            return self._elder_silent(device)
        self._lost.append(device)
        return self._next(now)

    def heard(self, device: str, message: Granted | Follow | Redirect | GoAlone, now: Instant) -> LeaseDecision | None:
        """A home answered."""
        self._context.answered_in(now - self._asked[device][1])
        if self._own is not None:
            return self._elder_said(device, message, now)
        match message:
            case Granted():
                return LeaseGranted(device, message.lease, message.hedge, self._first(f"{device[:8]} keeps the list"))
            case Follow():
                return FollowParents(message.parents, message.why, device)
            case GoAlone():
                return ViewersGoAlone(message.why, message.for_ms / 1000, message.status)
            case Redirect():
                home = message.home.device
                self._hops += 1
                if home == self._context.me.device:
                    return self._decide_here(now, f"{device[:8]} says that the ledger is kept here")
                if self._hops > HOPS_MAX or home in self._asked:
                    return self._next(now)
                self._context.membership.met(message.home, f"named by {device[:8]}")
                return None if self._put(home, now) else self._next(now)

    @staticmethod
    def _first(who_keeps: str) -> str:
        return f"first of the office to ask for it, so it fetched for all ({who_keeps})"

    def _next(self, now: Instant) -> LeaseDecision | None:
        context = self._context
        me = context.me.device
        if not context.sharing:
            return LeaseGranted(None, 0, hedge=False, why="sharing is off")
        homes = context.membership.homes(self._stream, self._key, now)
        if homes == [me]:
            return self._alone(now)
        isolation = context.membership.isolation
        isolated = isolation.holds(now)
        if homes[0] == me and self._unsettled and not (isolated or self._asked or context.ledger.knows_key(self._key)):
            return self._ask_elders(now)
        if isolated:
            homes += context.membership.substitutes(self._stream, self._key, now)
        for home in homes:
            enough = len(self._asked) >= context.limits.home_ranks
            if enough and not all(isolation.is_beside(it) for it in self._asked):
                break
            if home == me and (enough or (isolated and self._leaves_it(homes))):
                continue  # others like this one cannot ask here: whoever is reached by all knows more
            if home == me:
                return self._decide_here(now, self._first("this machine keeps the list"))
            if home in self._asked or home in self._lost:
                continue
            # three beside this machine are silent: one elsewhere may be within its reach
            likely = not isolation.is_beside(home) or not (enough or isolated)
            if likely and context.membership.reachable(home, now) and self._put(home, now):
                return None
            if not likely:
                context.dial(home, now)  # whether that is over
            self._lost.append(home)
        context.membership.keepers_silent(self._stream)
        return self._decide_here(now, "no ledger answered in time" if self._asked else "no ledger can be reached")

    def _leaves_it(self, homes: list[str]) -> bool:
        """Whether an isolated home had better not decide: a better one is out of reach, or one elsewhere is free."""
        context = self._context
        if self._lost or self._avoid:
            return True
        elsewhere = (it for it in homes if it != context.me.device and not context.membership.isolation.is_beside(it))
        return any(not context.ledger.said_isolated(it) for it in elsewhere)

    def _alone(self, now: Instant) -> LeaseDecision:
        found = self._decide_here(now, "no neighbour watches this stream")
        return replace(found, lone=True) if isinstance(found, LeaseGranted) else found

    def asks_elder(self, device: str) -> bool:
        """Whether this home waits for that one's word."""
        return device in self._elders

    def _ask_elders(self, now: Instant) -> LeaseDecision | None:
        found = self._decide_here(now, self._first("this machine keeps the list"), tell=False)
        if not isinstance(found, LeaseGranted):
            return found
        elders = self._context.membership.elders(self._stream, self._key, now)
        self._elders = {elder for elder in elders if self._put(elder, now, "elder")}
        self._own = found
        return None if self._elders else found

    def _elder_silent(self, device: str) -> LeaseDecision | None:
        self._elders.discard(device)
        return None if self._elders else self._own

    def _elder_said(
        self, device: str, message: Granted | Follow | Redirect | GoAlone, now: Instant
    ) -> LeaseDecision | None:
        assert self._own is not None
        if not isinstance(message, Follow):
            return self._elder_silent(device)
        me = self._context.me.device
        self._context.ledger.lease_ended(self._key, self._own.lease, me, "cancelled", 0, "an elder knew better", now)
        self._context.ledger.elder_named_source(self._key, self._stream, me, message.parents[0].device, now)
        return FollowParents(message.parents, message.why, device)

    def _put(self, home: str, now: Instant, reason: Reason | None = None) -> bool:
        context = self._context
        request = context.number()
        linked = home in context.links
        lost = tuple(self._lost)
        ask = Ask(
            request=request,
            key=self._key,
            stream=self._stream,
            reason=reason or ("home lost" if lost and self._reason == "first" else self._reason),
            avoid=tuple(dict.fromkeys(self._avoid + lost))[:8],
            have=self._have,
            hops=self._hops,
            isolated=context.membership.isolation.holds(now),
        )
        if not context.reach(home, ask, now):
            return False
        self._asked[home] = (request, now)
        self.due_at = now + (context.answer_wait_s() if linked else context.limits.home_answer_max_s)
        return True

    def _decide_here(self, now: Instant, why: str, *, tell: bool = True) -> LeaseDecision:
        self.due_at = None
        context, me = self._context, self._context.me
        known = me.device in context.ledger.fetchers(self._key)
        isolated = context.membership.isolation.holds(now)
        decision = context.ledger.decide_lease(
            self._key, self._stream, me.device, self._reason, self._avoid, self._have, now, isolated=isolated
        )
        if not isinstance(decision, LeaseGranted):
            return decision
        if tell and not known:
            tell_shadow(context, self._key, self._stream, me, decision.lease, now)
        return replace(decision, why=why)


def tell_shadow(context: NodeContext, key: str, stream: str, fetcher: Contact, lease: int, now: Instant) -> None:
    """Let the next in rank know of a lease, should this home die or seem dead to somebody."""
    homes = context.membership.homes(stream, key, now)
    told, enough = 0, 1 if homes[0] == context.me.device else 2
    for home in homes:
        if home not in (context.me.device, fetcher.device) and told < enough:
            told += context.reach(home, Shadow(key, stream, fetcher, lease), now)
