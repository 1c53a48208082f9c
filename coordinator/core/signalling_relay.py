"""Relays calls, offers, answers and byes between two agents that arrange a WebRTC link; keeps nothing of them.

    SignallingRelay(find).relay(device, message, now)
        ->  ForwardSignal to the other agent
        ->  ForwardSignal of an Undeliverable back to the sender, and Audit, when the message is refused

Messages are routed by device id (`find`), so that later another `find` can reach the agents of another replica. Two
agents may meet when both are connected, are placed in one site that shares, and watch a stream in common. The tracker
would tell these two of each other anyway, so nobody learns an address here that it could not learn there.
"""

from collections.abc import Callable

import msgspec

from coordinator.core.neighbours import ConnectedAgent
from coordinator.core.rate_limit import RateLimit
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.signalling import CODES, Code, Relayed, Undeliverable

SIGNALS_PER_MINUTE = 240
"""From one agent. With thirty neighbours it says Call, Offer or Answer, and Bye to each; twice that, and a reserve."""
PAIR_PER_MINUTE = 12
"""From one agent to one other: enough for three attempts. Agents themselves wait far longer between attempts."""


class ForwardSignal(msgspec.Struct, frozen=True):
    """Send `message` to the agent whose socket has the number `session`."""

    session: int
    message: Relayed | Undeliverable


class Audit(msgspec.Struct, frozen=True):
    """Write to the audit log that a message was refused, and why; never what it said."""

    device: str
    to: str
    code: Code
    why: str


class SignalCounts(msgspec.Struct):
    """How many messages were relayed and refused, for /metrics."""

    relayed: int = 0
    refused: int = 0


class SignallingRelay:
    """Decides for each message whether it is relayed; `find` gives the connected agent of a device id, or None."""

    def __init__(self, find: Callable[[str], ConnectedAgent | None]) -> None:
        self._find = find
        self._by_sender = RateLimit(SIGNALS_PER_MINUTE)
        self._by_pair = RateLimit(PAIR_PER_MINUTE)
        self.counts = SignalCounts()

    def relay(self, device: str, message: Relayed, now: Instant) -> list[ForwardSignal | Audit]:
        """Forward the message that `device` sent, or tell the sender why it cannot be delivered."""
        sender, other = self._find(device), self._find(message.to)
        if sender is None:
            return []
        code = self._why_refused(sender, other, message, now)
        if code is None:
            assert other is not None
            self.counts.relayed += 1
            return [ForwardSignal(other.session, message)]
        self.counts.refused += 1
        back = Undeliverable(message.to, message.attempt, code, sentence(CODES[code]))
        return [ForwardSignal(sender.session, back), Audit(device, message.to, code, CODES[code])]

    def _why_refused(
        self, sender: ConnectedAgent, other: ConnectedAgent | None, message: Relayed, now: Instant
    ) -> Code | None:
        """The code of the reason why the message is not relayed; None when it is."""
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
