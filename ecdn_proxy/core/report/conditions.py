"""Trouble that somebody can cure: a closed set of conditions, each with its code, its title and its remedy.

REGISTER                                     every condition there is, by its code
Conditions.raised / cleared / holding(now)   those that hold on this machine, each with what exactly is wrong

The status page and its JSON show them, metrics and beats carry their codes.
"""

from collections import OrderedDict
from dataclasses import dataclass

from ecdn_proxy.sansio.machine import Instant, impossible


@dataclass(frozen=True, slots=True)
class RegisteredCondition:
    """What is always the same about one condition."""

    title: str
    remedy: str
    clears_after_s: float | None = None
    """The condition is forgotten this long after it was last raised; None: it holds until it is cleared."""


REGISTER: dict[str, RegisteredCondition] = {
    "not-enrolled": RegisteredCondition(
        "This machine is not enrolled",
        "Run 'ecdn-proxy enrol' with the coordinator's address, root fingerprint and a token; until then every "
        "segment comes from the origin or this machine's own cache.",
    ),
    "coordinator-away": RegisteredCondition(
        "The coordinator cannot be reached",
        "Sharing goes on with the neighbours that are known or found by mDNS. Check that this machine reaches the "
        "coordinator's address and port (HTTPS and WebSocket, no interception in between).",
    ),
    "certificate-ended": RegisteredCondition(
        "This machine's certificate has ended",
        "The coordinator was away for too long. Sharing goes on once it is renewed; if it cannot be, enrol again.",
    ),
    "sharing-off": RegisteredCondition(
        "Sharing is switched off",
        "A setting or the site map says so; see the settings below for who set it.",
    ),
    "no-streaming-domains": RegisteredCondition(
        "No streaming domain is configured",
        "Set intercept_domains in agent.toml or by policy; until then nothing is intercepted.",
    ),
    "peers-cannot-connect": RegisteredCondition(
        "Other agents cannot be met",
        "The port of peer_listen cannot be opened; see the text. Sharing is off until the agent is started again.",
    ),
    "peers-out-of-reach": RegisteredCondition(
        "Another agent of this site cannot be reached",
        "Neither TCP to its peer port (7688) nor WebRTC over UDP finds a way; both go on being tried, ever more "
        "rarely. Allow TCP 7688 between the office's subnets; behind NAT name a STUN server (stun_servers). With "
        "symmetric NAT on both sides there is no way, and those agents use the origin.",
        clears_after_s=900.0,
    ),
    "client-isolation": RegisteredCondition(
        "This machine reaches none of its neighbours on its own network",
        "Their access point or switch seems to keep its clients apart. It shares with machines that it does reach, "
        "by cable or in other subnets; where all are kept apart, each takes its own copy. Switch client isolation "
        "(peer-to-peer blocking) off for this network, or let TCP 7688 pass.",
        clears_after_s=900.0,
    ),
    "offer-refused": RegisteredCondition(
        "An offer of a WebRTC link was not what its device had signed",
        "Nothing was connected. Either a clock is wrong by more than a minute, or somebody between the agents and the "
        "coordinator changes or repeats messages: check both machines' clocks, then the coordinator.",
        clears_after_s=3_600.0,
    ),
    "mdns-unavailable": RegisteredCondition(
        "Discovery on the local link does not work",
        "The coordinator still names neighbours. Check that multicast to 224.0.0.251, UDP 5353, is allowed here.",
    ),
    "disk-cache-unavailable": RegisteredCondition(
        "The disk cache cannot be used",
        "Segments are kept in memory only. Check the free space and the rights of the state directory.",
    ),
    "peer-misbehaved": RegisteredCondition(
        "Another agent sent what it must not",
        "It is not spoken to for ten minutes, and nothing of it was played. If it happens often, look at that machine.",
        clears_after_s=3_600.0,
    ),
    "uplink-slow": RegisteredCondition(
        "This machine sends less than the video needs",
        "It takes from the others and gives nothing for a while; no picture suffers. On Wi-Fi look at its signal, "
        "by cable at the speed of its port.",
        clears_after_s=900.0,
    ),
    "host-bypassed": RegisteredCondition(
        "A streaming host is no longer intercepted",
        "A program on this machine refused this machine's certificate for it (pinning, or the root is not trusted). "
        "Trust authority/ca.pem, or add the host to bypass_domains.",
        clears_after_s=3_600.0,
    ),
    "manifest-refused": RegisteredCondition(
        "A manifest could not be used",
        "Its stream plays straight from the origin. The text says what is wrong with it, and where.",
        clears_after_s=600.0,
    ),
    "sharing-rule-refused": RegisteredCondition(
        "A sharing rule cannot be used",
        "The text says which rule, where it stands and what to write. All other rules are in force. Until it is "
        "corrected, what it was to permit goes by the origin's own word.",
    ),
    "manifest-partly-used": RegisteredCondition(
        "Parts of a manifest could not be used",
        "They come straight from the origin, the rest of the stream is shared. The text says which parts, and why; "
        "whoever runs the packager can mend them.",
        clears_after_s=600.0,
    ),
    "restarted-within": RegisteredCondition(
        "A fault of ours was mended by starting anew",
        "Viewers were sent to the origin meanwhile. Please report it with the diagnostics.",
        clears_after_s=86_400.0,
    ),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition that holds now; `text` says what exactly is wrong."""

    code: str
    title: str
    text: str
    remedy: str


class Conditions:
    """The conditions that hold on this machine, in the order in which they began."""

    def __init__(self) -> None:
        self._holding: OrderedDict[str, tuple[str, Instant]] = OrderedDict()

    def raised(self, code: str, text: str, now: Instant) -> bool:
        """The condition `code` holds, and `text` says what exactly is wrong; True when it did not hold before.

        Raises:
            Impossible: no such code is registered.
        """
        if code not in REGISTER:
            impossible(f"condition {code} is not registered")
        new = code not in self._holding
        self._holding[code] = (text, now)
        return new

    def cleared(self, code: str) -> bool:
        """The condition `code` holds no longer; True when it did until now."""
        return self._holding.pop(code, None) is not None

    def holding(self, now: Instant) -> list[Condition]:
        """The conditions that hold at this moment."""
        for code, (_, at) in list(self._holding.items()):
            after = REGISTER[code].clears_after_s
            if after is not None and at + after <= now:
                del self._holding[code]
        return [
            Condition(code, REGISTER[code].title, text, REGISTER[code].remedy)
            for code, (text, _) in self._holding.items()
        ]
