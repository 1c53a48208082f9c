"""Who is near, who watches what, and which device keeps the ledger of a key.

    members(stream)          the devices of this site that watch a stream, this one included
    committee(stream)        those of them, seven at most, that keep the stream's ledgers
    homes(stream, key)       the committee by rank for a key: the first is the key's home
    elders(), substitutes()  who is asked besides the home while lists change, and where an access point isolates
    isolation                whether an access point seems to keep this device from the devices beside it
    rendezvous(device, key)  a device's rank for a key

The *committee* of a stream is the list of devices that keep its ledgers. The coordinator names it; where it does not,
the committee is the seven members by cable (without any, of all) with the highest rendezvous weight for the stream. The
*home* of a key is the member of the committee with the highest weight for the key: its ledger decides who fetches.
*Keepers* are the committee as agents name it to each other while the coordinator is away. An *elder* of a key is a
device that would be its home by an older list of the committee. A device that is denied or banned is in no answer.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.isolation import Isolation, is_beside
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Contact

STREAM_TAG_DIGITS = 8
"""mDNS carries this many leading hex digits of a stream id (32 bits: 8 streams among 256 devices do not collide)."""

ELDERS_MAX = 3
"""A new home asks at most so many elders."""
LINK_WAIT_S = 0.4
"""A link on a LAN opens in some 10 ms, on a busy machine in 100; whoever waits for one longer goes elsewhere."""
COMMITTEES_MAX = 64
"""As many as streams are watched at once."""


@lru_cache(maxsize=4_096)
def rendezvous(device: str, key: str) -> int:
    """A device's weight for a key; the device of the highest weight is the key's home.

    Highest random weight (Thaler and Ravishankar, 1998): when a device leaves, no other device's keys move.
    """
    return int.from_bytes(sha256(f"{device}|{key}".encode()).digest()[:8], "big")


@dataclass(slots=True)
class Neighbour:
    """What is known of one device."""

    contact: Contact
    streams: set[str] = field(default_factory=set)
    """What it watches, by its own word over a link."""
    tags: frozenset[str] = frozenset()
    """What it watches, by mDNS: the leading digits of each stream."""
    linked: bool = False
    """A link to it stands."""
    serves: bool = True
    """It gives segments to others."""
    on_lan: bool = False
    """mDNS shows it."""
    away_until: Instant = 0.0
    """It could not be reached, and is not dialled again before then."""
    link_due_at: Instant = math.inf
    """When the link that is being opened should stand."""
    suspect_until: Instant = 0.0
    """It let a question go unanswered, and is not asked again before then, unless it speaks."""
    why: str = ""
    """How this device came to be known, for the status page."""


def _stalls(known: Neighbour, now: Instant) -> bool:
    return now >= known.link_due_at


class Membership:
    """The neighbourhood, as far as this device knows it."""

    def __init__(self, me: Contact, limits: Limits) -> None:
        self.me = me
        self._limits = limits
        self._known: dict[str, Neighbour] = {}
        self._keepers: dict[str, tuple[str, ...]] = {}
        """Stream → its committee by the coordinator's last word, the most senior device first."""
        self._named: dict[str, dict[str, str]] = {}
        """Stream → device → why the coordinator named it as a neighbour."""
        self._hearsay: set[str] = set()
        """Streams of whose committee this device knows by a neighbour's word only."""
        self._denied: frozenset[str] = frozenset()
        self._committees: dict[str, tuple[Instant, list[str]]] = {}
        """What `committee` found, and until when that holds unless something is learnt before."""
        self.bans: dict[str, Instant] = {}
        """Device → until when it is banned. Only devices that proved who they are: nobody can push one out of this
        bounded table by inventing others."""
        self.isolation = Isolation()
        self.serves = True
        """Whether this device serves others now."""

    def known(self, device: str) -> Neighbour | None:
        """A neighbour by its id."""
        return self._known.get(device)

    def contact(self, device: str) -> Contact | None:
        """Where a device listens; this one included."""
        if device == self.me.device:
            return self.me
        known = self._known.get(device)
        return None if known is None else known.contact

    def contacts(self, devices: tuple[str, ...]) -> tuple[Contact, ...]:
        """Where devices listen; those of whom that is not known are left out."""
        return tuple(contact for it in devices if (contact := self.contact(it)) is not None)

    def reachable(self, device: str, now: Instant) -> bool:
        """Whether it is worth trying to speak to a device now; of a device that was never heard of that is so too."""
        known = self._known.get(device)
        if known is None or self.is_barred(device, now):
            return known is None and device not in self._denied
        return known.suspect_until <= now and (known.linked or (known.away_until <= now and not _stalls(known, now)))

    def stalls(self, device: str, now: Instant) -> bool:
        """Whether a link to a device is being opened and should have opened by now."""
        known = self._known.get(device)
        return known is not None and _stalls(known, now)

    # ---- what is learnt

    def met(self, contact: Contact, why: str) -> Neighbour:
        """A device is heard of: it is known from now on, and its contact is brought up to date unless a link stands.

        Args:
            contact: where it listens.
            why: how this device came to know it, for the status page; the first such sentence stays.
        """
        known = self._known.get(contact.device)
        if known is None:
            self._make_room()
            self._committees.clear()
            known = self._known[contact.device] = Neighbour(contact, why=why)
            self._place(contact)
        elif not known.linked and known.contact != contact:
            self._committees.clear()
            known.contact = contact
            self._place(contact)
        known.why = known.why or why
        return known

    def _place(self, contact: Contact) -> None:
        """Note whether a device is beside this one (see `isolation.is_beside`) or elsewhere."""
        if is_beside(self.me, contact):
            self.isolation.met(contact.device)
        else:
            self.isolation.forgotten(contact.device)

    def _forget(self, device: str) -> None:
        del self._known[device]
        self.isolation.forgotten(device)

    def _make_room(self) -> None:
        """Forget one device when there are too many: a neighbour can name devices that do not exist."""
        if len(self._known) < self._limits.neighbours_max:
            return
        named = {device for devices in self._named.values() for device in devices}
        for device, known in list(self._known.items()):
            if not (known.linked or known.on_lan or device in named):
                self._forget(device)
                return
        self._forget(next(iter(self._known)))

    def lan_seen(self, contact: Contact, tags: tuple[str, ...], *, serves: bool) -> None:
        """A device is shown by mDNS.

        Args:
            contact: where it listens.
            tags: what it watches, the leading digits of each stream.
            serves: whether it gives segments to others; a linked device's own word counts more.
        """
        known = self.met(contact, "found by mDNS on this link")
        if known.tags != (seen := frozenset(tags)):
            self._committees.clear()
        known.on_lan, known.tags = True, seen
        known.away_until = 0.0
        if not known.linked:
            known.serves = serves

    def lan_lost(self, device: str) -> None:
        """A device is shown by mDNS no longer."""
        if (known := self._known.get(device)) is not None:
            known.on_lan, known.tags = False, frozenset()
            self._committees.clear()
            self._forget_if_unknown(device)

    def linked(self, contact: Contact, streams: tuple[str, ...], *, serves: bool) -> None:
        """A link to a device stands, and the device has said what it watches and whether it serves others."""
        known = self.met(contact, "it connected to this machine")
        known.contact, known.linked, known.away_until = contact, True, 0.0
        known.link_due_at = math.inf
        self._place(contact)
        self.isolation.heard(contact.device)
        self._committees.clear()
        self.watching(contact.device, streams, serves=serves)

    def watching(self, device: str, streams: tuple[str, ...], *, serves: bool) -> None:
        """A linked device says what it watches now, and whether it serves others."""
        if (known := self._known.get(device)) is not None:
            known.streams, known.serves = set(streams), serves
            self._committees.clear()

    def moved(self, me: Contact) -> None:
        """This machine has other addresses: whoever was out of reach may be within it."""
        self.me = me
        self._committees.clear()
        self.isolation.moved()
        for known in self._known.values():
            known.away_until = 0.0
            self._place(known.contact)

    def banned(self, device: str, until: Instant) -> None:
        """A device broke the protocol; it is not spoken to before `until`, whoever dials."""
        self.bans.pop(device, None)
        self.bans[device] = until
        self._committees.clear()
        if len(self.bans) > self._limits.neighbours_max:
            self.bans.pop(next(iter(self.bans)))

    def suspected(self, device: str, now: Instant) -> None:
        """A device did not answer: asleep, unplugged, or very busy."""
        if (known := self._known.get(device)) is not None:
            known.suspect_until = now + self._limits.suspect_s
            self.isolation.unanswered(device, now)

    def heard_from(self, device: str) -> None:
        """A device said something over its link, so it is there."""
        if (known := self._known.get(device)) is not None and known.suspect_until:
            known.suspect_until = 0.0
        self.isolation.heard(device)

    def dialled(self, device: str, now: Instant) -> None:
        """A link to a device is being opened."""
        if (known := self._known.get(device)) is not None:
            known.link_due_at = now + LINK_WAIT_S

    def unlinked(self, device: str, now: Instant) -> None:
        """The link to a device ended or could not be made."""
        if (known := self._known.get(device)) is not None:
            if not known.linked:
                self.isolation.missed(device)
            known.linked, known.away_until, known.link_due_at = False, now + self._limits.dial_retry_s, math.inf
            known.streams.clear()
            self._committees.clear()
            self._forget_if_unknown(device)

    def tracker_said(self, stream: str, committee: tuple[str, ...], contacts: tuple[tuple[Contact, str], ...]) -> None:
        """The coordinator names the committee and the neighbours of a stream, in place of what it said before.

        Args:
            stream: the stream.
            committee: its committee, the most senior device first.
            contacts: neighbours, each with the reason why it was named.
        """
        before = self._named.get(stream, {})
        self._named[stream] = {contact.device: why for contact, why in contacts}
        self._keepers[stream] = committee
        self._hearsay.discard(stream)
        self._committees.clear()
        for contact, why in contacts:
            known = self.met(contact, why)
            known.why = why
            known.away_until = min(known.away_until, 0.0) if contact.device not in before else known.away_until
        for device in before.keys() - self._named[stream].keys():
            self._forget_if_unknown(device)

    def keepers(self, stream: str) -> tuple[Contact, ...]:
        """Who keeps a stream's ledgers by the coordinator's last word, as far as their contacts are known here."""
        return self.contacts(self._keepers.get(stream, ()))

    def keepers_told(self, stream: str, members: tuple[Contact, ...]) -> bool:
        """A neighbour tells who keeps a stream's ledgers; False when this device has a word of that already."""
        if stream in self._keepers:
            return False
        for contact in members:
            if contact.device != self.me.device:
                self.met(contact, "keeps the ledger, by the word of a neighbour")
        self._keepers[stream] = tuple(contact.device for contact in members)
        self._hearsay.add(stream)
        self._committees.clear()
        return True

    def keepers_silent(self, stream: str) -> None:
        """No keeper of a stream's ledgers could be asked: a neighbour's word of who they are is believed no longer."""
        if stream in self._hearsay:
            self._hearsay.discard(stream)
            del self._keepers[stream]
            self._committees.clear()

    def forget_stream(self, stream: str) -> None:
        """This device watches a stream no longer."""
        self._keepers.pop(stream, None)
        self._hearsay.discard(stream)
        self._committees.clear()
        for device in self._named.pop(stream, {}):
            self._forget_if_unknown(device)

    def denied(self, devices: frozenset[str]) -> None:
        """The coordinator says which devices may not be spoken to, in place of what it said before."""
        self._denied = devices
        self._committees.clear()

    def _forget_if_unknown(self, device: str) -> None:
        known = self._known.get(device)
        named = any(device in devices for devices in self._named.values())
        if known is not None and not (known.linked or known.on_lan or named or known.away_until):
            self._forget(device)
            self._committees.clear()

    def is_barred(self, device: str, now: Instant) -> bool:
        """Whether the coordinator denied this device, or it broke the protocol lately."""
        return device in self._denied or self.bans.get(device, now) > now

    # ---- what follows from it

    def members(self, stream: str, now: Instant) -> list[str]:
        """Devices that watch a stream, this one included; sorted, so that equal knowledge gives equal answers."""
        named = self._named.get(stream, {})
        tag = stream[:STREAM_TAG_DIGITS]
        found = [self.me.device]
        for device, known in self._known.items():
            watches = stream in known.streams or device in named or tag in known.tags
            if watches and not self.is_barred(device, now):
                found.append(device)
        return sorted(found)

    def committee(self, stream: str, now: Instant) -> list[str]:
        """Devices that keep a stream's ledgers, the most senior first as far as that is known; at least one device.

        Whether this machine can reach them now does not count, as everybody must name the same homes.
        """
        until, found = self._committees.get(stream, (-math.inf, []))
        if until <= now:
            until = min((ban for ban in self.bans.values() if ban > now), default=math.inf)
            found = self._find_committee(stream, now)
            if len(self._committees) >= COMMITTEES_MAX:
                self._committees.clear()
            self._committees[stream] = until, found
        return found

    def _find_committee(self, stream: str, now: Instant) -> list[str]:
        listed = self._keepers.get(stream, ())
        named = [it for it in listed if it == self.me.device or (it in self._known and not self.is_barred(it, now))]
        if not named:
            members = self.members(stream, now)
            eligible = [device for device in members if self._wired(device)] or members
            return sorted(eligible, key=lambda it: rendezvous(it, stream), reverse=True)[: self._limits.committee_max]
        if len(listed) >= self._limits.committee_max:
            return named
        # a linked device that says it watches has joined since the coordinator's list was made
        joined = sorted(it for it in self._known if it not in listed and self._linked_watcher(it, stream, now))
        return (named + joined)[: self._limits.committee_max]

    def homes(self, stream: str, key: str, now: Instant) -> list[str]:
        """The committee by rank for a key: the first is its home, the second would be if the first were gone."""
        return sorted(self.committee(stream, now), key=lambda it: rendezvous(it, key), reverse=True)

    def substitutes(self, stream: str, key: str, now: Instant) -> list[str]:
        """Members that an isolated device may ask when it reaches nobody of the committee, by rank.

        They are neither in the committee nor beside this device. A substitute decides in the committee's place.
        """
        besides = {self.me.device, *self.committee(stream, now)}
        others = [it for it in self.members(stream, now) if it not in besides and not self.isolation.is_beside(it)]
        return sorted(others, key=lambda it: rendezvous(it, key), reverse=True)

    def elders(self, stream: str, key: str, now: Instant) -> list[str]:
        """Who may have been the key's home by older lists of the committee, which were shorter; at most three devices.

        A committee is ordered by seniority, so an older list is some first part of it. The second in rank comes last.
        """
        committee = self.committee(stream, now)
        found: dict[str, None] = {}
        for length in range(len(committee), 0, -1):
            home = max(committee[:length], key=lambda it: rendezvous(it, key))
            if home != self.me.device:
                found[home] = None
        for device in self.homes(stream, key, now)[1:2]:
            found.setdefault(device)
        return [it for it in found if it != self.me.device and self.reachable(it, now)][:ELDERS_MAX]

    def _linked_watcher(self, device: str, stream: str, now: Instant) -> bool:
        known = self._known[device]
        return known.linked and stream in known.streams and self._wired(device) and not self.is_barred(device, now)

    def _wired(self, device: str) -> bool:
        contact = self.contact(device)
        return contact is not None and contact.link == "wired"

    def why(self, device: str) -> str:
        """How this device came to know another, for the status page; "" of a stranger."""
        known = self._known.get(device)
        return "" if known is None else known.why
