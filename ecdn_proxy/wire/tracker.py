"""What an agent and the coordinator say over their one WebSocket (`/v1/agent`, mutual TLS, MessagePack messages).

    agent        Here Watch Beat Alive
    coordinator  Welcome Settings Neighbours Denied Turned Alive
    both         Call Offer Answer Bye, for another agent (wire/signalling); Undeliverable from the coordinator

The socket may end at any time; both sides begin again from `Here`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids, signalling
from ecdn_proxy.wire.codec import decoder
from ecdn_proxy.wire.peer import Contact, LinkKind

NEIGHBOURS_MAX = 30
COMMITTEE_MAX = 7
"""Seven ledgers are enough for 200 viewers and survive deaths (simulation)."""


class TrackerMessage(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages between an agent and the coordinator."""


class Network(msgspec.Struct, frozen=True, array_like=True):
    """One interface that the agent may share on."""

    address: ids.Address
    prefix: Annotated[int, Meta(ge=0, le=128)]
    link: LinkKind
    vpn: bool = False


class Here(TrackerMessage, frozen=True, tag=1):
    """First message of an agent."""

    protocol: int
    version: Annotated[str, Meta(max_length=40)]
    networks: Annotated[tuple[Network, ...], Meta(max_length=16)]
    peer_port: ids.Port
    serves: bool


class Watch(TrackerMessage, frozen=True, tag=2):
    """The streams watched now, all of them; renewed every minute and on change."""

    streams: Annotated[tuple[ids.Stream, ...], Meta(max_length=64)]
    serves: bool
    isolated: bool = False
    """An access point seems to keep the agent from its like, so that others had better keep the ledgers."""


class Beat(TrackerMessage, frozen=True, tag=3):
    """Usage since the last beat: bytes by source, segments; and conditions and links as they are now.

    It holds no URL, title, user or host name; and no stalls, which happen in the player and are not seen by an agent.
    """

    sequence: Annotated[int, Meta(ge=0)]
    """Numbers the beats of a device. A beat that was not answered is sent again, with its number and its counters."""
    bytes_cache: Annotated[int, Meta(ge=0)]
    """From the agent's own memory or disk."""
    bytes_lan: Annotated[int, Meta(ge=0)]
    """From other agents, by TLS and by WebRTC together."""
    bytes_origin: Annotated[int, Meta(ge=0)]
    """From the origin, fetched by the agent; what passed it untouched is not counted."""
    bytes_up: Annotated[int, Meta(ge=0)]
    """Given to other agents, by TLS and by WebRTC together."""
    segments: Annotated[int, Meta(ge=0)]
    """Segments that viewers on this machine got."""
    conditions: Annotated[tuple[Annotated[str, Meta(max_length=60)], ...], Meta(max_length=32)]
    links_tls: Annotated[int, Meta(ge=0)] = 0
    """Links that stand now."""
    links_webrtc: Annotated[int, Meta(ge=0)] = 0
    bytes_webrtc: Annotated[int, Meta(ge=0)] = 0
    """Of `bytes_lan`, what came by WebRTC."""
    bytes_up_webrtc: Annotated[int, Meta(ge=0)] = 0
    """Of `bytes_up`, what went by WebRTC."""


class Alive(TrackerMessage, frozen=True, tag=4):
    """Nothing new; both ways.

    The coordinator answers each Alive with one of its own, after it has taken all that the agent sent before. So an
    agent that sends an Alive behind a Beat learns from the answer that the Beat has been counted.
    """


class Welcome(TrackerMessage, frozen=True, tag=20):
    """Answer to Here: which site this is and why."""

    site: Annotated[str, Meta(max_length=120)]
    label: Annotated[str, Meta(max_length=120)]
    p2p: Literal["on", "off", "leech"]
    why: ids.Sentence
    settings: dict[str, Any]
    networks: Annotated[tuple[Annotated[str, Meta(max_length=50)], ...], Meta(max_length=256)] = ()
    """The site's subnets by the map (CIDR): its agents may dial each other across them."""


class Settings(TrackerMessage, frozen=True, tag=21):
    """Settings have changed; by name as in agent.toml."""

    settings: dict[str, Any]


class Near(msgspec.Struct, frozen=True, array_like=True):
    """A device worth knowing, and why."""

    contact: Contact
    why: ids.Sentence


class Neighbours(TrackerMessage, frozen=True, tag=22):
    """Who of this site watches `stream`; replaces the last such message for the stream."""

    stream: ids.Stream
    committee: Annotated[tuple[ids.Device, ...], Meta(max_length=COMMITTEE_MAX)]
    """Devices that keep the ledgers, the most senior first, each also among `near` or the receiver itself."""
    near: Annotated[tuple[Near, ...], Meta(max_length=NEIGHBOURS_MAX)]


class Denied(TrackerMessage, frozen=True, tag=23):
    """Devices that may no longer be spoken to; the whole set."""

    devices: Annotated[tuple[ids.Device, ...], Meta(max_length=1_600)]


class Turned(TrackerMessage, frozen=True, tag=24):
    """The coordinator will close this socket; `retry_s` is the least wait before the next try."""

    code: Annotated[str, Meta(max_length=60)]
    why: ids.Sentence
    retry_s: Annotated[float, Meta(ge=0, le=3_600)]


FromAgent = Here | Watch | Beat | Alive | signalling.Call | signalling.Offer | signalling.Answer | signalling.Bye
FromCoordinator = (
    Welcome | Settings | Neighbours | Denied | Turned | Alive
    | signalling.Call | signalling.Offer | signalling.Answer | signalling.Bye | signalling.Undeliverable
)  # fmt: skip

read_from_agent: Callable[[bytes | memoryview], FromAgent] = decoder(FromAgent)  # type: ignore[arg-type]  # a union is a type form
read_from_coordinator: Callable[[bytes | memoryview], FromCoordinator] = decoder(FromCoordinator)  # type: ignore[arg-type]  # a union is a type form
