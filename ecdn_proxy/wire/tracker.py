"""The messages between an agent and the coordinator on their one WebSocket (`/v1/agent`, mutual TLS, MessagePack).

    agent        Here Watch Beat Alive
    coordinator  Welcome Settings Neighbours Denied Turned Alive
    both         Call Offer Answer Bye, for another agent (wire/signalling); Undeliverable from the coordinator

The socket may end at any time. On the next one both sides begin again from `Here`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids, signalling
from ecdn_proxy.wire.codec import decoder
from ecdn_proxy.wire.peer import Contact, LinkKind

NEIGHBOURS_MAX = 30
"""The most neighbours that one message names."""
COMMITTEE_MAX = 7
"""The most devices that keep one stream's ledgers. Seven are enough for 200 viewers, and some may die (simulation)."""


class TrackerMessage(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages between an agent and the coordinator."""


class Network(msgspec.Struct, frozen=True, array_like=True):
    """The network of one interface on which the agent may share."""

    address: ids.Address
    prefix: Annotated[int, Meta(ge=0, le=128)]
    link: LinkKind
    vpn: bool = False


class Here(TrackerMessage, frozen=True, tag=1):
    """The first message of an agent: which release it is, and where it is in the network."""

    protocol: int
    version: Annotated[str, Meta(max_length=40)]
    networks: Annotated[tuple[Network, ...], Meta(max_length=16)]
    peer_port: ids.Port
    serves: bool


class Watch(TrackerMessage, frozen=True, tag=2):
    """All streams that the agent watches now; sent on every change and again every minute."""

    streams: Annotated[tuple[ids.Stream, ...], Meta(max_length=64)]
    serves: bool
    isolated: bool = False
    """True if an access point seems to keep the agent from others on its Wi-Fi: others shall keep the ledgers."""


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
    """Links by TLS that are open now."""
    links_webrtc: Annotated[int, Meta(ge=0)] = 0
    """Links by WebRTC that are open now."""
    bytes_webrtc: Annotated[int, Meta(ge=0)] = 0
    """The part of `bytes_lan` that came by WebRTC."""
    bytes_up_webrtc: Annotated[int, Meta(ge=0)] = 0
    """The part of `bytes_up` that was sent by WebRTC."""


class Alive(TrackerMessage, frozen=True, tag=4):
    """Nothing new; both ways.

    The coordinator answers each Alive with one of its own, after it has taken all that the agent sent before. So an
    agent that sends an Alive behind a Beat learns from the answer that the Beat has been counted.
    """


class Welcome(TrackerMessage, frozen=True, tag=20):
    """Answers Here: in which site the agent is, why, and what it may do there."""

    site: Annotated[str, Meta(max_length=120)]
    label: Annotated[str, Meta(max_length=120)]
    p2p: Literal["on", "off", "leech"]
    why: ids.Sentence
    settings: dict[str, Any]
    networks: Annotated[tuple[Annotated[str, Meta(max_length=50)], ...], Meta(max_length=256)] = ()
    """The subnets of the site by the site map (CIDR): its agents may dial each other across them."""


class Settings(TrackerMessage, frozen=True, tag=21):
    """Settings that have changed, by their names in agent.toml."""

    settings: dict[str, Any]


class Near(msgspec.Struct, frozen=True, array_like=True):
    """A neighbour, and why the coordinator names it."""

    contact: Contact
    why: ids.Sentence


class Neighbours(TrackerMessage, frozen=True, tag=22):
    """Who of this site watches `stream`. It replaces the last such message for the stream."""

    stream: ids.Stream
    committee: Annotated[tuple[ids.Device, ...], Meta(max_length=COMMITTEE_MAX)]
    """The devices that keep the ledgers, the most senior first. Each is the receiver itself or stands in `near` too."""
    near: Annotated[tuple[Near, ...], Meta(max_length=NEIGHBOURS_MAX)]


class Denied(TrackerMessage, frozen=True, tag=23):
    """All devices that may not be spoken to; it replaces the last such message."""

    devices: Annotated[tuple[ids.Device, ...], Meta(max_length=1_600)]


class Turned(TrackerMessage, frozen=True, tag=24):
    """The coordinator closes this socket. The agent waits at least `retry_s` seconds before it opens another one."""

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
