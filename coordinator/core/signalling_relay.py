"""Relays offers, answers and byes between two agents that may meet; keeps nothing of them.

    SignallingRelay(find).relay(device, message, now)  ->  Send to the other | Send Undeliverable back, and Audit

It routes by device id (`find`), so that another replica's agents can be reached by another `find` later. Two agents
may meet when both are connected, placed in one site that shares, and watch a stream in common: what the tracker would
tell one of the other anyway, so nobody learns an address here that it could not learn there.
"""

from collections.abc import Callable

import msgspec

from coordinator.core.neighbours import Present
from coordinator.core.rate_limit import RateLimit
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.signalling import CODES, Code, Relayed, Undeliverable

SIGNALS_PER_MINUTE = 240
"""An agent that joins thirty neighbours says Call, Offer or Answer, and Bye to each; twice that, and a reserve."""
PAIR_PER_MINUTE = 12
"""Calls, offers, answers and byes from one agent to one other: three attempts. Agents themselves wait far longer."""


class Forward(msgspec.Struct, frozen=True):
    """Give `message` to the agent behind `session`."""

    session: int
    message: Relayed | Undeliverable


class Audit(msgspec.Struct, frozen=True):
    """Write down that a message was refused; never what it said."""

    device: str
    to: str
    code: Code
    why: str


class Counts(msgspec.Struct):
    """For /metrics."""

    relayed: int = 0
    refused: int = 0


class SignallingRelay:
    """See the head of this file."""

    def __init__(self, find: Callable[[str], Present | None]) -> None:
        self._find = find
        self._by_sender = RateLimit(SIGNALS_PER_MINUTE)
        self._by_pair = RateLimit(PAIR_PER_MINUTE)
        self.counts = Counts()

    def relay(self, device: str, message: Relayed, now: Instant) -> list[Forward | Audit]:
        """Pass on what `device` sent, or say why not."""
        sender, other = self._find(device), self._find(message.to)
        if sender is None:
            return []
        code = self._no(sender, other, message, now)
        if code is None:
            assert other is not None
            self.counts.relayed += 1
            return [Forward(other.session, message)]
        self.counts.refused += 1
        back = Undeliverable(message.to, message.attempt, code, sentence(CODES[code]))
        return [Forward(sender.session, back), Audit(device, message.to, code, CODES[code])]

    def _no(self, sender: Present, other: Present | None, message: Relayed, now: Instant) -> Code | None:
        """Why the message is not relayed; None when it is."""
        if message.sender != sender.device:
            return "not-you"
        pair = f"{sender.device} {message.to}"
        if self._by_sender.wait_s(sender.device, now) > 0 or self._by_pair.wait_s(pair, now) > 0:
            return "too-many"
        if other is None or other is sender:
            return "unknown-device"
        if sender.placement.p2p == "off" or other.placement.p2p == "off":
            return "sharing-off"
        if sender.placement.site != other.placement.site:
            return "other-site"
        if not sender.streams & other.streams:
            return "no-common-stream"
        return None
