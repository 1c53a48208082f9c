"""The one status structure: `/api/status`, the page and `ecdn-proxy status` read the same.

Field names are relied on by others; add, never rename.
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
    """The coordinator as seen from here."""

    connected: bool
    url: str
    why: str
    site: str
    p2p: str


class PeerStatus(msgspec.Struct, frozen=True):
    """One agent that this one has a link to."""

    id: str
    address: str
    kind: Literal["lan", "webrtc"]
    rtt_ms: float
    bytes_in: int
    bytes_out: int
    why: str
    version: str = ""
    """Its release."""
    passed_over: int = 0
    """Messages of it that only a later release than ours knows."""


class StreamStatus(msgspec.Struct, frozen=True):
    """One stream watched here."""

    id: str
    renditions: tuple[str, ...]
    viewers: int


class ConditionStatus(msgspec.Struct, frozen=True):
    """Something wrong, with its cure."""

    code: str
    title: str
    text: str
    remedy: str


class RecentStatus(msgspec.Struct, frozen=True):
    """One segment served, and why from there."""

    key: str
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
    segments: BySource
    stalls_prevented: int
    conditions: tuple[ConditionStatus, ...]
    recent: tuple[RecentStatus, ...]
    settings: tuple[SettingStatus, ...]
