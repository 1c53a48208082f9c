"""Answers the agents that ask this one about a key: as the home of its ledger, or as one who happens to have it.

Home.asked(device, ask, now)     exactly one answer goes back: Granted, Follow, Redirect or GoAlone
"""

from collections.abc import Callable

from ecdn_proxy.core.download.download import Acquisition
from ecdn_proxy.core.download.lease_request import HOPS_MAX, tell_shadow
from ecdn_proxy.core.swarm.context import Site
from ecdn_proxy.core.swarm.ledger import Alone, Following, Grant
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Ask, Follow, GoAlone, Granted, Redirect


class Home:
    """The ledger's desk."""

    def __init__(
        self,
        site: Site,
        holds: Callable[[str], bool],
        acquiring: Callable[[str], Acquisition | None],
    ) -> None:
        self._site = site
        self._holds = holds
        self._acquiring = acquiring

    def asked(self, device: str, ask: Ask, now: Instant) -> None:
        """Answer one question."""
        if self._offers_itself(device, ask):
            me = self._site.me
            why = f"{me.device[:8]} has it or is receiving it"
            self._site.send(device, Follow(ask.request, ask.key, (me,), why))
        elif ask.reason == "elder":
            self._asked_as_elder(device, ask, now)
        elif not self._redirected(device, ask, now):
            self._decide(device, ask, now)

    def _asked_as_elder(self, device: str, ask: Ask, now: Instant) -> None:
        """A newer home wants to know what this older one knows; if that is nothing, this one notes who fetches."""
        site = self._site
        known = site.ledger.elder(ask.key, device, now)
        if known is not None and not self._yields(device, ask.key, known):
            self._follow(device, ask, known)
            return
        site.ledger.shadow(ask.key, ask.stream, device, 0, now)
        site.send(device, Granted(ask.request, ask.key, 0, hedge=False))

    def _yields(self, device: str, key: str, known: Following) -> bool:
        """Both want to fetch and ask each other: the better rank does."""
        acquisition = self._acquiring(key)
        inquiry = None if acquisition is None else acquisition.inquiry()
        me = self._site.me.device
        if inquiry is None or not inquiry.asks_elder(device) or known.choice.parents[0] != me:
            return False
        return rendezvous(device, key) > rendezvous(me, key)

    def _decide(self, device: str, ask: Ask, now: Instant) -> None:
        site = self._site
        answer = site.ledger.ask(
            ask.key, ask.stream, device, ask.reason, ask.avoid, ask.have, now, isolated=ask.isolated
        )
        match answer:
            case Grant(lease, hedge):
                site.send(device, Granted(ask.request, ask.key, lease, hedge))
                if (fetcher := site.view.contact(device)) is not None:
                    tell_shadow(site, ask.key, ask.stream, fetcher, lease, now)
            case Following() as following:
                self._follow(device, ask, following)
            case Alone(why, for_s, status):
                site.send(device, GoAlone(ask.request, ask.key, sentence(why), int(for_s * 1000), status))

    def _redirected(self, device: str, ask: Ask, now: Instant) -> bool:
        """Send the asker to a better home that it does not know or did not think of."""
        if ask.reason == "home lost" or ask.hops >= HOPS_MAX:
            return False
        site = self._site
        better = self._better(device, ask, now)
        if better is None or better in (site.me.device, *ask.avoid):
            return False
        home = site.view.contact(better)
        if home is not None:
            site.send(device, Redirect(ask.request, ask.key, home))
        return home is not None

    def _better(self, device: str, ask: Ask, now: Instant) -> str | None:
        """Who should be asked: the best in rank, or of an isolated machine the best whom all reach, even the asker."""
        homes, isolation = self._site.view.homes(ask.stream, ask.key, now), self._site.view.isolation
        if isolation.holds(now) and not ask.isolated:
            me, isolated = self._site.me.device, self._site.ledger.is_isolated
            for home in homes:
                if home != me and not isolation.is_beside(home) and not isolated(home):
                    return home
        return None if homes[0] == device else homes[0]

    def _follow(self, device: str, ask: Ask, following: Following) -> None:
        choice = following.choice
        contacts = self._site.contacts(choice.parents)
        self._site.send(device, Follow(ask.request, ask.key, contacts, sentence(choice.why)))

    def _offers_itself(self, device: str, ask: Ask) -> bool:
        """The ledger here says nothing of the key, but this machine has it: that is an answer too."""
        site = self._site
        if site.me.device in ask.avoid or not site.view.serves or site.ledger.knows(ask.key):
            return False
        if self._holds(ask.key):
            return True
        acquisition = self._acquiring(ask.key)
        if acquisition is None:
            return False
        follows = ask.reason in ("first", "home lost") and acquisition.parent not in (None, device)
        return acquisition.fetching or follows
