"""What ICE may offer and try: host candidates of chosen addresses, remote candidates of allowed networks.

    only_from(addresses)        within it, aioice gathers on these addresses and on no other interface
    read_sdp(sdp)               fingerprint and ufrag of a description (what a device signs), or PeerMisbehaved
    narrowed(sdp, may)          the description without the candidates that must not be tried
    remote_address(peer)        where the other end of a connection is
    unacknowledged(peer)        whether anything that was sent may still be lost by closing

aioice asks every interface for candidates, VPN and container bridges included, and has no option for it. The function
that lists them is replaced once, here; a version without that function stops the import, so it cannot fail open.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address

import aioice.ice
from aiortc import RTCPeerConnection

from ecdn_proxy.wire.faults import PeerMisbehaved

_chosen: ContextVar[tuple[str, ...]] = ContextVar("addresses that ICE may use", default=())

_FINGERPRINT = re.compile(r"^a=fingerprint:(\S+) ([0-9A-Fa-f:]+)\s*$", re.MULTILINE)
_UFRAG = re.compile(r"^a=ice-ufrag:(\S+)\s*$", re.MULTILINE)
_MEDIA = re.compile(r"^m=(\S+)", re.MULTILINE)
_HASH = "sha-256"


def _addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Stands in for `aioice.ice.get_host_addresses`."""
    return [address for address in _chosen.get() if (use_ipv6 if ":" in address else use_ipv4)]


if not hasattr(aioice.ice, "get_host_addresses"):  # pragma: no cover - another version of aioice
    raise ImportError("this version of aioice does not let its host candidates be chosen")
aioice.ice.get_host_addresses = _addresses


@contextlib.contextmanager
def only_from(addresses: tuple[str, ...]) -> Iterator[None]:
    """Gather on these addresses only; tasks begun within inherit it."""
    token = _chosen.set(addresses)
    try:
        yield
    finally:
        _chosen.reset(token)


@dataclass(frozen=True, slots=True)
class Read:
    """What identifies the other end of a description."""

    fingerprint: str
    """SHA-256 of its DTLS certificate, upper-case hex with colons (RFC 8122)."""
    ufrag: str


def read_sdp(sdp: str) -> Read:
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
    return Read(prints.pop(), ufrags.pop())


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address that ICE may try (RFC 8839 section 5.1)."""

    address: str
    kind: str
    """`host`, `srflx` or `relay`."""


def candidates(sdp: str) -> list[Candidate]:
    """All UDP candidates of a description that are literal addresses."""
    return [found for line in sdp.splitlines() if (found := _candidate(line)) is not None]


def narrowed(sdp: str, may: Callable[[Candidate], bool]) -> str:
    """The description without candidates that must not be tried; TCP ones and host names never are."""
    lines = []
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            found = _candidate(line)
            if found is None or not may(found):
                continue
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def _candidate(line: str) -> Candidate | None:
    words = line.strip().split()
    if not line.startswith("a=candidate:") or len(words) < 8 or words[2].lower() != "udp" or words[6] != "typ":
        return None
    try:
        ip_address(words[4])
    except ValueError:
        return None  # a host name (mDNS, in browsers): resolving it would tell others whom this agent talks to
    return Candidate(words[4], words[7])


def remote_address(peer: RTCPeerConnection) -> str:
    """The other end's address of the pair that ICE has chosen; "" when this aiortc does not show it."""
    sctp = peer.sctp
    nominated = getattr(getattr(sctp and sctp.transport.transport, "_connection", None), "_nominated", {})
    pair = next(iter(nominated.values()), None)
    return str(pair.remote_addr[0]) if pair is not None else ""


def unacknowledged(peer: RTCPeerConnection) -> bool:
    """Whether SCTP still holds what the other end has not acknowledged; False when this aiortc does not show it."""
    sctp = peer.sctp
    return bool(getattr(sctp, "_outbound_queue", None) or getattr(sctp, "_sent_queue", None))
