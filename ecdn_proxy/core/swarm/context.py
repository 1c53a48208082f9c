"""What the rooms of the node share: who is near, which links stand, and what is to be done.

membership, ledger, links    who is near; the ledger of this machine; the links that stand
out                          the effects of the event in hand, in their order
send()                       a message on a link that stands
reach()                      the same, and a link is opened if need be; a bounded number of messages waits for it
request()                    the same for what shall be answered: not to a device that an access point keeps apart
tell_shadow()                the next home in rank learns of a lease
is_isolated(), is_beside(), missed()         client isolation, for those who ask and fetch
answer_wait_s(), home_answered_in()          how long a home may take to answer, and how long it took
"""

from dataclasses import dataclass
from typing import Literal

from ecdn_proxy.core.events import Dial, Effect, HangUp, Send
from ecdn_proxy.core.http.cross_origin import CrossOriginProofs
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.seal import Seal
from ecdn_proxy.core.swarm.ledger import Ledger
from ecdn_proxy.core.swarm.membership import Membership
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Contact, PeerMessage, Shadow

WAITING_MAX = 64
"""Messages kept for a link that is being opened."""


@dataclass(slots=True)
class Link:
    """A link that stands."""

    kind: Literal["lan", "webrtc"]
    rtt_ms: float
    """Round trip, measured when the link was opened."""
    full: bool = False
    """Its buffer is full: no more pieces are handed to it for now."""


class NodeContext:
    """The surroundings of one node."""

    def __init__(self, me: Contact, seal: Seal, limits: Limits) -> None:
        self.me = me
        self.seal = seal
        self.limits = limits
        self.out: list[Effect] = []
        self.membership = Membership(me, limits)
        self.ledger = Ledger(self.membership, limits, self.apart)
        self.links: dict[str, Link] = {}
        self.proofs = CrossOriginProofs()
        """What the origins have shown to the pages of this machine."""
        self.sharing = True
        """Whether policy lets this machine share at all."""
        self._answer_s = limits.home_answer_s / 4
        self._answer_varies_s = limits.home_answer_s / 2
        self._dialling: dict[str, list[PeerMessage]] = {}
        """Device to which a link is being opened → messages that wait for it."""
        self._number = 0
        self._utc_minus_now = 0.0

    def apart(self, one: str, other: str) -> bool:
        """Whether only WebRTC is likely between two devices: TLS reaches one of them from here, and not the other."""
        return self.by_webrtc(one) != self.by_webrtc(other)

    def by_webrtc(self, device: str) -> bool:
        """Whether the link to a device is a WebRTC one."""
        link = self.links.get(device)
        return link is not None and link.kind == "webrtc"

    def is_isolated(self, now: Instant) -> bool:
        """Whether an access point seems to keep this machine from the machines beside it."""
        return self.membership.isolation.holds(now)

    def is_beside(self, device: str) -> bool:
        """Whether a device hangs on the same network as this one, by the same kind of link."""
        return self.membership.isolation.is_beside(device)

    def missed(self, device: str) -> None:
        """A device could not be reached, or said nothing; if it is beside this one, this one may be isolated."""
        self.membership.isolation.missed(device)

    def number(self) -> int:
        """A number for a request or a fetch, which no other has (until 2³² of them were made)."""
        self._number = (self._number + 1) % 2**32
        return self._number

    def set_utc(self, utc: float, now: Instant) -> None:
        """An event said what time it is outside, in seconds since the epoch."""
        self._utc_minus_now = utc - now

    def utc(self, now: Instant) -> float:
        """The time outside, in seconds since the epoch."""
        return now + self._utc_minus_now

    def answer_wait_s(self) -> float:
        """How long a home may take before the next in rank is asked too (as RFC 6298 reckons a retransmission)."""
        usual = self._answer_s + 4 * self._answer_varies_s
        return min(max(usual, self.limits.home_answer_s), self.limits.home_answer_max_s)

    def home_answered_in(self, seconds: float) -> None:
        """A home answered after so many seconds, or let so many pass; where machines are under load, waits grow."""
        surprise = min(seconds, self.limits.home_answer_max_s) - self._answer_s
        self._answer_s += surprise / 8
        self._answer_varies_s += (abs(surprise) - self._answer_varies_s) / 4

    def send(self, device: str, message: PeerMessage) -> None:
        """Send on the link to a device; nothing happens without one."""
        if device in self.links:
            self.out.append(Send(device, message))

    def dial(self, device: str, now: Instant) -> bool:
        """Open a link unless one stands or is being opened; False when the device cannot be reached."""
        if device in self.links:
            return True
        if device in self._dialling:
            return not self._stalls(device, now)
        contact = self.membership.contact(device)
        if contact is None or device == self.me.device or not self.membership.reachable(device, now):
            return False
        self._dialling[device] = []
        self.membership.dialled(device, now)
        self.out.append(Dial(contact))
        return True

    def _stalls(self, device: str, now: Instant) -> bool:
        if stalls := self.membership.stalls(device, now):
            self.missed(device)
        return stalls

    def request(self, device: str, message: PeerMessage, now: Instant) -> bool:
        """Like `reach`, for a message whose answer is waited for.

        A device that an access point seems to keep apart is dialled, in case that is over, and is sent nothing.
        """
        if self.membership.isolation.keeps_apart(device, now):
            self.dial(device, now)
            return False
        return self.reach(device, message, now)

    def reach(self, device: str, message: PeerMessage, now: Instant) -> bool:
        """Send now, or as soon as a link stands; False when the device cannot be reached."""
        if device in self.links:
            self.out.append(Send(device, message))
            return True
        if not self.dial(device, now):
            return False
        waiting = self._dialling[device]
        if len(waiting) < WAITING_MAX:
            waiting.append(message)
        return True

    def link_opened(self, contact: Contact, kind: Literal["lan", "webrtc"], rtt_ms: float) -> None:
        """A link to a device stands: what waited for it goes out."""
        self.links[contact.device] = Link(kind, rtt_ms)
        for message in self._dialling.pop(contact.device, ()):
            self.out.append(Send(contact.device, message))

    def link_closed(self, device: str) -> bool:
        """The link to a device ended or could not be opened; says whether it had stood."""
        self._dialling.pop(device, None)
        return self.links.pop(device, None) is not None

    def hang_up(self, device: str, why: str) -> None:
        """Close the link to a device from here; nothing happens without one."""
        if device in self.links:
            self.out.append(HangUp(device, sentence(why)))

    def tell_shadow(self, key: str, stream: str, fetcher: Contact, lease: int, now: Instant) -> None:
        """Tell the next in rank of a lease that was granted here, in case this home dies or seems dead to somebody."""
        homes = self.membership.homes(stream, key, now)
        told, enough = 0, 1 if homes[0] == self.me.device else 2
        for home in homes:
            if home not in (self.me.device, fetcher.device) and told < enough:
                told += self.reach(home, Shadow(key, stream, fetcher, lease), now)
