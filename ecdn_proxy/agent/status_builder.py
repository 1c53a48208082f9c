"""The status structure out of the running parts: read-only, made anew at each look."""

from dataclasses import dataclass
from typing import Literal

from ecdn_proxy.agent.coordinator_session import CoordinatorSession
from ecdn_proxy.agent.links import Links
from ecdn_proxy.agent.settings import EffectiveSettings
from ecdn_proxy.agent.status import (
    ConditionStatus,
    CoordinatorStatus,
    PeerStatus,
    ProxyStatus,
    RecentStatus,
    SettingStatus,
    Status,
    StreamStatus,
)
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.report.conditions import Conditions
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.core.report.usage import Usage
from ecdn_proxy.core.settings import describe
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.settings_loader import as_text
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.tracker import Welcome

WATCHED_S = 30.0
"""A stream whose last segment is longer ago is not playing now."""
NOT_SHARING = ("not-enrolled", "sharing-off", "peers-cannot-connect", "certificate-ended")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures come from."""

    version: str
    identity: Identity | None
    effective: EffectiveSettings
    uptime_s: float
    node: Node
    hub: Links | None
    reporter: CoordinatorSession | None
    site: Welcome
    usage: Usage
    meter: Meter
    conditions: Conditions
    now: Instant


def status(of: Sources) -> Status:
    """Everything about this agent, now."""
    settings = of.effective.settings
    holding = of.conditions.now(of.now)
    state = _state({it.code for it in holding}, settings.intercept_domains)
    return Status(
        version=of.version,
        device="" if of.identity is None else of.identity.device,
        enrolled=of.identity is not None,
        state=state,
        sentence=_sentence(state, of.meter, [it.title for it in holding if it.code in NOT_SHARING]),
        uptime_s=round(of.uptime_s, 1),
        coordinator=_coordinator(of),
        proxy=ProxyStatus(True, settings.listen, settings.intercept_domains),
        peers=_peers(of),
        streams=tuple(
            StreamStatus(stream, tuple(watched.renditions), 1 if of.now - watched.last < WATCHED_S else 0)
            for stream, watched in of.meter.streams.items()
        ),
        bytes=of.usage.bytes,
        segments=of.usage.segments,
        stalls_prevented=of.usage.stalls_prevented,
        conditions=tuple(ConditionStatus(it.code, it.title, it.text, it.remedy) for it in holding),
        recent=tuple(
            RecentStatus(
                key=it.key,
                stream=it.stream,
                rendition=it.rendition,
                number=it.number,
                source=it.source,
                why=it.why,
                ms=round(it.ms, 1),
                bytes=sum(amount for _, amount in it.bytes_by_source),
            )
            for it in of.meter.recent
        ),
        settings=tuple(
            SettingStatus(name, as_text(getattr(settings, name)), of.effective.sources.get(name, "default"))
            for name, _, _ in describe()
        ),
    )


def _state(codes: set[str], domains: tuple[str, ...]) -> Literal["working", "limited", "passing"]:
    if not domains:
        return "passing"
    return "limited" if codes.intersection(NOT_SHARING) else "working"


def _sentence(state: str, meter: Meter, titles: list[str]) -> str:
    match state:
        case "passing":
            return "Passing everything through: no streaming domain is configured."
        case "limited":
            return f"Limited: {titles[0][0].lower()}{titles[0][1:]}. Video plays, from the internet."
        case _:
            return meter.sentence()


def _coordinator(of: Sources) -> CoordinatorStatus:
    url = "" if of.identity is None else of.identity.coordinator
    if of.reporter is None:
        return CoordinatorStatus(False, url, "this machine is not enrolled", "", "off")
    return CoordinatorStatus(of.reporter.link.connected, url, of.reporter.why, of.site.site, of.site.p2p)


def _peers(of: Sources) -> tuple[PeerStatus, ...]:
    if of.hub is None:
        return ()
    return tuple(
        PeerStatus(
            id=device,
            address=link.address,
            kind=link.kind,
            rtt_ms=round(link.rtt_ms, 2),
            bytes_in=link.bytes_in,
            bytes_out=link.bytes_out,
            why="; ".join(it for it in (of.node.context.membership.why(device), link.why) if it),
            version=link.version,
            passed_over=link.passed_over,
        )
        for device, link in of.hub.stats().items()
    )
