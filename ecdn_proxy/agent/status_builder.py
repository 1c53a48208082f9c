"""Makes the status structure of the running agent: `build_status(StatusParts)`, anew at each look; changes nothing."""

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
    RuleStatus,
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
from ecdn_proxy.wire.sharing_rules import RISKS, SharingRule
from ecdn_proxy.wire.tracker import Welcome

WATCHED_S = 30.0
"""A stream counts as playing now until this long after its last segment."""
NOT_SHARING = ("not-enrolled", "sharing-off", "peers-cannot-connect", "certificate-ended")
"""Conditions under which nothing is shared: the state is "limited"."""


@dataclass(frozen=True, slots=True)
class StatusParts:
    """The parts of the agent that the status is read from; `links` and `session` are None while there are none."""

    version: str
    identity: Identity | None
    effective: EffectiveSettings
    uptime_s: float
    node: Node
    links: Links | None
    session: CoordinatorSession | None
    rules: tuple[SharingRule, ...]
    """The sharing rules in force, the strongest first."""
    site: Welcome
    """What the coordinator said last about this machine's place."""
    usage: Usage
    meter: Meter
    conditions: Conditions
    now: Instant


def build_status(parts: StatusParts) -> Status:
    """Everything about this agent, now."""
    settings = parts.effective.settings
    holding = parts.conditions.holding(parts.now)
    state = _state({it.code for it in holding}, settings.intercept_domains)
    return Status(
        version=parts.version,
        device="" if parts.identity is None else parts.identity.device,
        enrolled=parts.identity is not None,
        state=state,
        sentence=_sentence(state, parts.meter, [it.title for it in holding if it.code in NOT_SHARING]),
        uptime_s=round(parts.uptime_s, 1),
        coordinator=_coordinator(parts),
        proxy=ProxyStatus(True, settings.listen, settings.intercept_domains),
        peers=_peers(parts),
        streams=tuple(
            StreamStatus(stream, tuple(watched.renditions), 1 if parts.now - watched.last < WATCHED_S else 0)
            for stream, watched in parts.meter.streams.items()
        ),
        bytes=parts.usage.bytes,
        segments=parts.usage.segments,
        stalls_prevented=parts.usage.stalls_prevented,
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
            for it in parts.meter.recent
        ),
        settings=tuple(
            SettingStatus(name, as_text(getattr(settings, name)), parts.effective.sources.get(name, "default"))
            for name, _, _ in describe()
        ),
        sharing_rules=tuple(map(_rule, parts.rules)),
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


def _rule(rule: SharingRule) -> RuleStatus:
    permits = tuple(f"fresh_s = {rule.fresh_s:g}" if word == "fresh_s" else word for word in rule.permits)
    return RuleStatus(
        name=rule.name,
        hosts=rule.hosts,
        path=rule.path,
        permits=permits if rule.share else ("share = false",),
        risk=" ".join(RISKS[word] for word in rule.permits),
        source=rule.source,
    )


def _coordinator(parts: StatusParts) -> CoordinatorStatus:
    url = "" if parts.identity is None else parts.identity.coordinator
    if parts.session is None:
        return CoordinatorStatus(False, url, "this machine is not enrolled", "", "off")
    return CoordinatorStatus(parts.session.link.connected, url, parts.session.why, parts.site.site, parts.site.p2p)


def _peers(parts: StatusParts) -> tuple[PeerStatus, ...]:
    if parts.links is None:
        return ()
    return tuple(
        PeerStatus(
            id=device,
            address=link.address,
            kind=link.kind,
            rtt_ms=round(link.rtt_ms, 2),
            bytes_in=link.bytes_in,
            bytes_out=link.bytes_out,
            why="; ".join(it for it in (parts.node.why_known(device), link.why) if it),
            version=link.version,
            passed_over=link.passed_over,
        )
        for device, link in parts.links.stats().items()
    )
