"""Asks a segment's home who fetches it; asks the next in rank when the home is silent, and decides here at last.

    HOME_RULES                  what becomes of each home in its turn: the first rule that holds wins
    begin(), wake()             the question is put to the next home in its turn
    home_answered(), link_closed()
    each  -> LeaseDecision, or None while the question is open

The *home* of a segment is the agent whose ledger decides for it; the next in rank are the homes that would decide if it
were gone. At most `home_ranks` homes are asked. A late grant from a home that was given up is handed back by the node.

An *elder* is an agent that may have been the segment's home by an older list of the committee. While the committee has
only just changed, a new home notes its own lease and asks its elders whether others have begun without it; if so, it
reads from those. Of two homes that ask each other, the one of the better rank fetches.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from typing import Literal, NamedTuple

from ecdn_proxy.core.download.home_turn import NOBODY, HomeTurn
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, LeaseGranted, StaleCopy, ViewersGoAlone
from ecdn_proxy.sansio.machine import Instant, impossible
from ecdn_proxy.wire.peer import MS_MAX, Ask, Follow, GoAlone, Granted, Redirect

HOPS_MAX = 2
"""A question is sent on from one home to a better one at most this often."""
HomesAnswer = Granted | Follow | Redirect | GoAlone
"""What a home that was asked may say."""
Reason = Literal["first", "parent slow", "parent lost", "hedge", "home lost", "elder"]
"""Why a home is asked, as in the wire's `Ask`."""


class HomeStep(Enum):
    """What is done about a home in its turn."""

    FETCH = "fetch without a lease"
    DECIDE_ALONE = "decide here, and forget the decision should a neighbour become known"
    ASK_ELDERS = "decide here, but ask the elders before the decision counts"
    SKIP = "pass it over"
    DECIDE_HERE = "decide here, by the ledger of this machine"
    DIAL_ONLY = "dial it, to see whether that is over, and pass it over"
    ASK = "ask it; if it cannot be reached, pass it over"
    GIVE_UP = "decide here, and believe no longer what a neighbour said of who keeps the ledgers"


class HomeRule(NamedTuple):
    """What is done about a home in its turn when a condition holds, and why."""

    holds: Callable[[HomeTurn], bool]
    step: HomeStep
    why: str


HOME_RULES = (
    HomeRule(HomeTurn.sharing_is_off, HomeStep.FETCH, "sharing is off"),
    HomeRule(HomeTurn.has_no_neighbours, HomeStep.DECIDE_ALONE, "no neighbour watches this stream"),
    HomeRule(HomeTurn.is_new_here, HomeStep.ASK_ELDERS, "this machine keeps the list"),
    HomeRule(HomeTurn.enough_were_asked, HomeStep.SKIP, "viewers have waited for enough homes"),
    HomeRule(
        HomeTurn.is_left_to_others, HomeStep.SKIP, "others cannot ask here: one that all of them reach knows more"
    ),
    HomeRule(HomeTurn.is_here, HomeStep.DECIDE_HERE, "this machine keeps the list"),
    HomeRule(HomeTurn.was_tried, HomeStep.SKIP, "asking it again would lead to nothing else"),
    HomeRule(HomeTurn.is_kept_apart, HomeStep.DIAL_ONLY, "an answer from it is not likely"),
    HomeRule(HomeTurn.is_in_turn, HomeStep.ASK, "it is the best in rank of those that were not tried"),
    HomeRule(HomeTurn.nobody_answered, HomeStep.GIVE_UP, "no ledger answered in time"),
    HomeRule(HomeTurn.nobody_was_reached, HomeStep.GIVE_UP, "no ledger can be reached"),
)
"""The rules by which a segment's homes have their turns, in their order. docs/lease.md says of each when it holds."""


def step_for(turn: HomeTurn) -> HomeRule:
    """The first rule that holds for the home in its turn."""
    for rule in HOME_RULES:
        if rule.holds(turn):
            return rule
    return impossible("the last rule holds for every home")


def _ms(seconds: float) -> int:
    """Milliseconds as the wire tells them."""
    return round(min(max(0.0, seconds * 1000), MS_MAX))


class LeaseRequest:
    """One question about one segment, put to as many homes as it takes."""

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
        stale: tuple[str, Instant] | None = None,
        asked_at: Instant = 0.0,
    ) -> None:
        """Nothing is asked before `begin`.

        Args:
            context: the node's surroundings.
            key: the segment.
            stream: the stream that the segment is of.
            reason: why the question is put.
            avoid: devices that this machine does not want to read from.
            have: how many pieces are here already, from the first on.
            unsettled: the committee changed a moment ago, so that others may still ask by an older list.
            stale: the generation of the newest copy that this machine knows and may not use before the origin has
                confirmed it, and when the origin last spoke of that copy; None if it knows none.
            asked_at: when the first viewer asked.
        """
        self._context = context
        self._key = key
        self._stream = stream
        self._reason: Reason = reason
        self._avoid = avoid
        self._have = have
        self._unsettled = unsettled
        self._stale = stale
        self._asked_at = asked_at
        self._asked: dict[str, tuple[int, Instant]] = {}
        """Home → the number of the question that it was sent, and when."""
        self._lost: list[str] = []
        """Homes that did not answer in time, or could not be reached."""
        self._hops = 0
        self._own: LeaseGranted | None = None
        """This home's own lease, while it asks its elders."""
        self._elders: set[str] = set()
        """Elders that have not answered yet."""
        self.due_at: Instant | None = None
        """When `wake` asks the next home; None when nothing is waited for."""

    def owns(self, device: str, request: int) -> bool:
        """Whether an answer belongs to this question."""
        return device in self._asked and self._asked[device][0] == request

    def asks_elder(self, device: str) -> bool:
        """Whether this home waits for the word of a device that may have been the home before."""
        return device in self._elders

    # ---- the question is put

    def begin(self, now: Instant, at: str | None = None) -> LeaseDecision | None:
        """Put the question to the homes in their order, or to `at` first, a home that is known to know the segment."""
        if at == self._context.me.device:
            return self._decide_here(now, self._first("this machine keeps the list"))
        if at is not None and self._context.membership.reachable(at, now) and self._ask(at, now):
            return None
        return self._next(now)

    def wake(self, now: Instant) -> LeaseDecision | None:
        """Nobody answered in time: ask the next home as well."""
        if self.due_at is None or now < self.due_at:
            return None
        if self._own is not None:
            return self._own
        silent = [device for device in self._asked if device not in self._lost]
        for device in silent:
            self._context.home_answered_in(now - self._asked[device][1])
            self._context.membership.suspected(device, now)
        self._lost = silent + self._lost
        return self._next(now)

    def link_closed(self, device: str, now: Instant) -> LeaseDecision | None:
        """The link to a device ended or could not be opened; if it is a home that was asked, the next is asked."""
        if device not in self._asked or device in self._lost:
            return None
        if self._own is not None:
            return self._elder_silent(device)
        self._lost.append(device)
        return self._next(now)

    def home_answered(self, device: str, message: HomesAnswer, now: Instant) -> LeaseDecision | None:
        """A home that was asked has answered."""
        self._context.home_answered_in(now - self._asked[device][1])
        if self._own is not None:
            return self._elder_answered(device, message, now)
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
                return None if self._ask(home, now) else self._next(now)

    @staticmethod
    def _first(who_keeps: str) -> str:
        return f"first of the office to ask for it, so it fetched for all ({who_keeps})"

    # ---- whose turn it is

    def _next(self, now: Instant) -> LeaseDecision | None:
        """Do what the rules say of each home in its turn, until one is asked or something is decided here."""
        for turn in self._turns(now):
            rule = step_for(turn)
            match rule.step:
                case HomeStep.FETCH:
                    return LeaseGranted(None, 0, hedge=False, why=rule.why)
                case HomeStep.DECIDE_ALONE:
                    return self._decide_alone(now, rule.why)
                case HomeStep.ASK_ELDERS:
                    return self._ask_elders(now, self._first(rule.why))
                case HomeStep.DECIDE_HERE:
                    return self._decide_here(now, self._first(rule.why))
                case HomeStep.GIVE_UP:
                    self._context.membership.keepers_silent(self._stream)
                    return self._decide_here(now, rule.why)
                case HomeStep.ASK:
                    if self._context.membership.reachable(turn.home, now) and self._ask(turn.home, now):
                        return None
                    self._lost.append(turn.home)
                case HomeStep.DIAL_ONLY:
                    self._context.dial(turn.home, now)
                    self._lost.append(turn.home)
                case HomeStep.SKIP:
                    pass
        return impossible("the turn of nobody ends with a decision")

    def _turns(self, now: Instant) -> Iterator[HomeTurn]:
        """Each home by rank, then nobody; what is asked and lost meanwhile shows in the turns that follow."""
        membership, isolated = self._context.membership, self._context.is_isolated(now)
        committee = membership.homes(self._stream, self._key, now)
        candidates = committee + membership.substitutes(self._stream, self._key, now) if isolated else committee
        for home in (*candidates, NOBODY):
            yield HomeTurn(
                self._context,
                self._key,
                home,
                committee,
                candidates,
                self._asked,
                self._lost,
                self._avoid,
                self._unsettled,
                isolated,
            )

    def _ask(self, home: str, now: Instant, reason: Reason | None = None) -> bool:
        """Send the question to a home; False when it cannot be reached."""
        context = self._context
        request = context.number()
        linked = home in context.links
        lost, copy = tuple(self._lost), self._stale_copy(now)
        ask = Ask(
            request=request,
            key=self._key,
            stream=self._stream,
            reason=reason or ("home lost" if lost and self._reason == "first" else self._reason),
            avoid=tuple(dict.fromkeys(self._avoid + lost))[:8],
            have=self._have,
            hops=self._hops,
            isolated=context.is_isolated(now),
            stale=None if copy is None else copy.generation,
            idle_ms=0 if copy is None else _ms(copy.idle_s),
            waited_ms=0 if copy is None else _ms(copy.waited_s),
        )
        if not context.reach(home, ask, now):
            return False
        self._asked[home] = (request, now)
        self.due_at = now + (context.answer_wait_s() if linked else context.limits.home_answer_max_s)
        return True

    def _stale_copy(self, now: Instant) -> StaleCopy | None:
        if self._stale is None:
            return None
        generation, heard_at = self._stale
        return StaleCopy(generation, now - heard_at, now - self._asked_at)

    def _decide_here(self, now: Instant, why: str, *, tell: bool = True) -> LeaseDecision:
        """Let the ledger of this machine decide; with `tell`, the next in rank learns of a new lease."""
        self.due_at = None
        context, me = self._context, self._context.me
        known = me.device in context.ledger.fetchers(self._key)
        decision = context.ledger.decide_lease(
            self._key,
            self._stream,
            me.device,
            self._reason,
            self._avoid,
            self._have,
            now,
            isolated=context.is_isolated(now),
            stale_copy=self._stale_copy(now),
        )
        if not isinstance(decision, LeaseGranted):
            return decision
        if tell and not known:
            context.tell_shadow(self._key, self._stream, me, decision.lease, now)
        return replace(decision, why=why)

    def _decide_alone(self, now: Instant, why: str) -> LeaseDecision:
        """Let the ledger of this machine decide, as no neighbour is known."""
        decision = self._decide_here(now, why)
        return replace(decision, lone=True) if isinstance(decision, LeaseGranted) else decision

    # ---- elders

    def _ask_elders(self, now: Instant, why: str) -> LeaseDecision | None:
        """Take the lease here, and ask the elders before anybody hears of it."""
        decision = self._decide_here(now, why, tell=False)
        assert isinstance(decision, LeaseGranted), "a ledger that knows nothing of a segment grants its first lease"
        elders = self._context.membership.elders(self._stream, self._key, now)
        self._elders = {elder for elder in elders if self._ask(elder, now, "elder")}
        self._own = decision
        return None if self._elders else decision

    def _elder_silent(self, device: str) -> LeaseDecision | None:
        """An elder knows nothing, or is gone; the own lease counts when all of them are through."""
        self._elders.discard(device)
        return None if self._elders else self._own

    def _elder_answered(self, device: str, message: HomesAnswer, now: Instant) -> LeaseDecision | None:
        assert self._own is not None
        if not isinstance(message, Follow):
            return self._elder_silent(device)
        me, ledger = self._context.me.device, self._context.ledger
        ledger.lease_ended(self._key, self._own.lease, me, "cancelled", 0, "an elder knew better", now)
        ledger.elder_named_source(self._key, self._stream, me, message.parents[0].device, now)
        return FollowParents(message.parents, message.why, device)
