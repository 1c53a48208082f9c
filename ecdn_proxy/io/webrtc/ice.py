"""What stands in a session description (SDP, RFC 8866): who speaks, and which addresses ICE may try.

read_sdp(sdp)         fingerprint and ufrag of a description: what a device signs
candidates(sdp)       the addresses that it offers
narrowed(sdp, may)    the description without the candidates that must not be offered or tried
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from ecdn_proxy.wire.faults import PeerMisbehaved

_FINGERPRINT = re.compile(r"^a=fingerprint:(\S+) ([0-9A-Fa-f:]+)\s*$", re.MULTILINE)
_UFRAG = re.compile(r"^a=ice-ufrag:(\S+)\s*$", re.MULTILINE)
_MEDIA = re.compile(r"^m=(\S+)", re.MULTILINE)
_HASH = "sha-256"


@dataclass(frozen=True, slots=True)
class SdpIdentity:
    """By what DTLS and ICE know the side that wrote a description."""

    fingerprint: str
    """SHA-256 of its DTLS certificate, upper-case hex with colons (RFC 8122)."""
    ufrag: str


def read_sdp(sdp: str) -> SdpIdentity:
    """What a device signs of its description.

    Raises:
        PeerMisbehaved: not exactly one data channel section with one SHA-256 fingerprint and one ufrag.
    """
    prints = {value.upper() for kind, value in _FINGERPRINT.findall(sdp) if kind.lower() == _HASH}
    ufrags = set(_UFRAG.findall(sdp))
    if _MEDIA.findall(sdp) != ["application"]:
        raise PeerMisbehaved("a session description of something else than one data channel")
    if len(prints) != 1 or len(ufrags) != 1:
        raise PeerMisbehaved(f"a session description with {len(prints)} fingerprints and {len(ufrags)} ufrags")
    return SdpIdentity(prints.pop(), ufrags.pop())


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """One address that ICE may try (RFC 8839 section 5.1)."""

    address: str
    kind: str
    """`host`, `srflx` or `relay`."""
    base: str = ""
    """The address of the socket behind one that is not `host`; "" when it is not said."""


def candidates(sdp: str) -> list[IceCandidate]:
    """All UDP candidates of a description that are literal addresses."""
    return [found for line in sdp.splitlines() if (found := _candidate(line)) is not None]


def narrowed(sdp: str, may: Callable[[IceCandidate], bool]) -> str:
    """The description without candidates that must not be tried; TCP ones and host names never are."""
    lines = []
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            found = _candidate(line)
            if found is None or not may(found):
                continue
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def _candidate(line: str) -> IceCandidate | None:
    words = line.strip().split()
    if not line.startswith("a=candidate:") or len(words) < 8 or words[2].lower() != "udp" or words[6] != "typ":
        return None
    try:
        ip_address(words[4])
    except ValueError:
        return None  # a host name (mDNS, in browsers): resolving it would tell others whom this agent talks to
    said = dict(zip(words[8::2], words[9::2], strict=False))
    return IceCandidate(words[4], words[7], said.get("raddr", ""))
