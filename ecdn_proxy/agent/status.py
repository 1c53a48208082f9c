"""The one status structure: `/api/status`, the page and `ecdn-proxy status` read the same.

Field names are relied on by others: fields are added, never renamed. `bytes`, `segments` and `stalls_prevented` are the
fields of `core.report.usage.Usage`, under the same names.
"""

from typing import Literal

import msgspec

from ecdn_proxy.core.report.usage import BySource, ByteCounts


class ProxyStatus(msgspec.Struct, frozen=True):
    """The local proxy."""

    listening: bool
    address: str
    intercept_domains: tuple[str, ...]


class CoordinatorStatus(msgspec.Struct, frozen=True):
    """The coordinator as this agent sees it."""

    connected: bool
    url: str
    why: str
    """Why it is connected, or is not."""
    site: str
    p2p: str
    """What the coordinator lets this machine do: `on`, `off`, or `leech` (take and not give)."""


class PeerStatus(msgspec.Struct, frozen=True):
    """Another agent that this one has a link to."""

    id: str
    address: str
    kind: Literal["lan", "webrtc"]
    """What the link is made of: `lan` is TLS over TCP."""
    rtt_ms: float
    bytes_in: int
    bytes_out: int
    why: str
    """How this agent learnt of the other, and why the link is of its kind."""
    version: str = ""
    """The other agent's release."""
    passed_over: int = 0
    """Messages from the other agent that only a later release than ours knows."""


class StreamStatus(msgspec.Struct, frozen=True):
    """One stream watched on this machine."""

    id: str
    renditions: tuple[str, ...]
    viewers: int
    """1 while somebody watches it here, 0 afterwards."""


class ConditionStatus(msgspec.Struct, frozen=True):
    """Something wrong, with its cure."""

    code: str
    title: str
    text: str
    remedy: str


class RecentStatus(msgspec.Struct, frozen=True):
    """One segment that a viewer got, and why it came from there."""

    key: str
    """Of the segment: the same on all machines of the tenant."""
    stream: str
    rendition: str
    number: int
    source: str
    why: str
    ms: float
    bytes: int


class SettingStatus(msgspec.Struct, frozen=True):
    """One setting in force and who set it."""

    name: str
    value: str
    source: str


class RuleStatus(msgspec.Struct, frozen=True):
    """One sharing rule in force: what is shared although the origin does not say so."""

    name: str
    hosts: tuple[str, ...]
    path: str
    permits: tuple[str, ...]
    """Each permission as it is written, such as `ignore_no_store` or `fresh_s = 60`; or `share = false`."""
    risk: str
    """What may go wrong if the rule's author is mistaken."""
    source: str
    """Who set it: `agent.toml`, `profile …`, `the coordinator`, `built-in profile …`."""


class Status(msgspec.Struct, frozen=True):
    """Everything about this agent, now."""

    version: str
    device: str
    enrolled: bool
    state: Literal["working", "limited", "passing"]
    sentence: str
    """For a helpdesk: 'Working: 94 % of what was watched here came from your office.'"""
    uptime_s: float
    coordinator: CoordinatorStatus
    proxy: ProxyStatus
    peers: tuple[PeerStatus, ...]
    streams: tuple[StreamStatus, ...]
    bytes: ByteCounts
    """Since the agent was started, like the two below."""
    segments: BySource
    stalls_prevented: int
    conditions: tuple[ConditionStatus, ...]
    recent: tuple[RecentStatus, ...]
    """The last segments, the newest first."""
    settings: tuple[SettingStatus, ...]
    sharing_rules: tuple[RuleStatus, ...] = ()
    """In the order in which they are asked; for each request the first one that covers it counts."""
