"""Answers the agents that ask this one who fetches a segment: as the segment's home, or as one that has the segment.

LeaseServer.asked()              exactly one answer goes back; in this order of preference:
    Follow                       this machine has or receives the segment, and its ledger says nothing of it
    Follow, Granted              to a new home that asks its elders: whom to read from, or that nothing is known
    Redirect                     there is a better home, which shall be asked
    Granted, Follow, GoAlone     what the ledger of this machine decides
"""

from collections.abc import Callable

from ecdn_proxy.core.download.download import Download
from ecdn_proxy.core.download.lease_request import HOPS_MAX
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseGranted, StaleCopy, ViewersGoAlone
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Ask, Follow, GoAlone, Granted, Redirect


class LeaseServer:
    """Puts the questions of other agents to the ledger of this machine."""

    def __init__(
        self,
        context: NodeContext,
        holds: Callable[[str, Instant], bool],
        downloading: Callable[[str], Download | None],
    ) -> None:
        """`holds` tells whether a fresh copy is in memory here, `downloading` how a segment is on its way here."""
        self._context = context
        self._holds = holds
        self._downloading = downloading

    def asked(self, device: str, ask: Ask, now: Instant) -> None:
        """Answer one question of a device."""
        if self._offers_itself(device, ask, now):
            me = self._context.me
            why = f"{me.device[:8]} has it or is receiving it"
            self._context.send(device, Follow(ask.request, ask.key, (me,), why))
        elif ask.reason == "elder":
            self._asked_as_elder(device, ask, now)
        elif not self._redirected(device, ask, now):
            self._decide(device, ask, now)

    def _asked_as_elder(self, device: str, ask: Ask, now: Instant) -> None:
        """A new home asks this machine, which may have been the home before, what it knows of the segment.

        If it knows nothing, it notes that the new home fetches.
        """
        context = self._context
        known = context.ledger.known_parents(ask.key, device, now)
        if known is not None and not self._yields(device, ask.key, known):
            self._follow(device, ask, known)
            return
        context.ledger.lease_shadowed(ask.key, ask.stream, device, 0, now)
        context.send(device, Granted(ask.request, ask.key, 0, hedge=False))

    def _yields(self, device: str, key: str, known: FollowParents) -> bool:
        """Whether this machine leaves the fetch to a home that asks it, while it asks that one.

        Both hold a lease of their own and know only of that; the one of the better rank fetches.
        """
        download = self._downloading(key)
        lease_request = None if download is None else download.questions.lease_request
        me = self._context.me.device
        if lease_request is None or not lease_request.asks_elder(device) or known.parents[0].device != me:
            return False
        return rendezvous(device, key) > rendezvous(me, key)

    def _decide(self, device: str, ask: Ask, now: Instant) -> None:
        context = self._context
        answer = context.ledger.decide_lease(
            ask.key,
            ask.stream,
            device,
            ask.reason,
            ask.avoid,
            ask.have,
            now,
            isolated=ask.isolated,
            stale_copy=None if ask.stale is None else StaleCopy(ask.stale, ask.idle_ms / 1000, ask.waited_ms / 1000),
        )
        match answer:
            case LeaseGranted(lease=lease, hedge=hedge):
                context.send(device, Granted(ask.request, ask.key, lease, hedge))
                if (fetcher := context.membership.contact(device)) is not None:
                    context.tell_shadow(ask.key, ask.stream, fetcher, lease, now)
            case FollowParents() as following:
                self._follow(device, ask, following)
            case ViewersGoAlone(why, for_s, status):
                context.send(device, GoAlone(ask.request, ask.key, sentence(why), int(for_s * 1000), status))

    def _redirected(self, device: str, ask: Ask, now: Instant) -> bool:
        """Send the asker to a better home that it does not know or did not think of; False when there is none."""
        if ask.reason == "home lost" or ask.hops >= HOPS_MAX:
            return False
        context = self._context
        better = self._better(device, ask, now)
        if better is None or better in (context.me.device, *ask.avoid):
            return False
        home = context.membership.contact(better)
        if home is not None:
            context.send(device, Redirect(ask.request, ask.key, home))
        return home is not None

    def _better(self, device: str, ask: Ask, now: Instant) -> str | None:
        """Which device should be asked instead of this one; None when the asker itself is the home.

        That is the best in rank. Where this machine is isolated and the asker is not, it is the best in rank that
        everybody reaches, even if that is the asker.
        """
        context = self._context
        homes = context.membership.homes(ask.stream, ask.key, now)
        if context.is_isolated(now) and not ask.isolated:
            for home in homes:
                elsewhere = home != context.me.device and not context.is_beside(home)
                if elsewhere and not context.ledger.said_isolated(home):
                    return home
        return None if homes[0] == device else homes[0]

    def _follow(self, device: str, ask: Ask, following: FollowParents) -> None:
        self._context.send(device, Follow(ask.request, ask.key, following.parents, sentence(following.why)))

    def _offers_itself(self, device: str, ask: Ask, now: Instant) -> bool:
        """Whether this machine names itself as parent: its ledger says nothing of the key, but the segment is here.

        One that only relays offers itself to newcomers, as whoever found its parent slow wants better than a relay.
        """
        context = self._context
        if context.me.device in ask.avoid or not context.membership.serves or context.ledger.knows_key(ask.key):
            return False
        if ask.stale is None and self._holds(ask.key, now):
            return True
        download = self._downloading(ask.key)
        if download is None:
            return False
        follows = ask.reason in ("first", "home lost") and download.parent not in (None, device)
        return download.fetching or follows
