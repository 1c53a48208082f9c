"""The conversation with the coordinator: who and where we are, what we watch, what we used; what it tells us.

CoordinatorSession.announce(streams, serves, isolated)  Watch, now and again every minute
CoordinatorSession.run()                         beats, renewal of the certificate
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from ecdn_proxy.core import events
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io.coordinator_client import CoordinatorLink, CoordinatorRefused, renew, renewal_due
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.wire import signalling
from ecdn_proxy.wire.faults import PeerMisbehaved, Unavailable
from ecdn_proxy.wire.signalling import Relayed
from ecdn_proxy.wire.tracker import (
    Alive,
    Beat,
    Denied,
    FromAgent,
    FromCoordinator,
    Here,
    Neighbours,
    Network,
    Settings,
    Turned,
    Watch,
    Welcome,
)
from ecdn_proxy.wire.version import PROTOCOL

BEAT_S = 15.0
WATCH_EVERY_BEATS = 4
"""What is watched is said again every minute: a coordinator that lost it has it back."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SessionEvents:
    """What the reporter tells its owner."""

    feed: Callable[[events.Event], None]
    raise_condition: Callable[[str, str], None]
    clear_condition: Callable[[str], None]
    conditions: Callable[[], tuple[str, ...]]
    uploaded_bytes: Callable[[], tuple[int, int]]
    """All, and of these by WebRTC."""
    links: Callable[[], tuple[int, int]]
    """Standing now: TLS, WebRTC."""
    site_changed: Callable[[Welcome], None]
    settings_changed: Callable[[Settings], None]
    renewed: Callable[[Identity], None]
    switchboard: Callable[[bool], None]
    """Whether WebRTC links can be arranged now."""
    signalled: Callable[[Relayed | signalling.Undeliverable], None]
    utc: Callable[[], float]


class CoordinatorSession:
    """One agent's side of the coordinator's socket."""

    def __init__(
        self,
        identity: Identity,
        *,
        version: str,
        networks: tuple[Network, ...],
        peer_port: int,
        meter: Meter,
        told: SessionEvents,
        chance: random.Random,
    ) -> None:
        self._identity = identity
        self._version = version
        self._networks = networks
        self._peer_port = peer_port
        self._meter = meter
        self._told = told
        self._streams: tuple[str, ...] = ()
        self._serves = True
        self._isolated = False
        self._sequence = 0
        self._uploaded = (0, 0)
        self.why = "not tried yet"
        self.link = CoordinatorLink(
            identity,
            begin=self._begin,
            on_message=self._heard,
            on_state=self._state,
            chance=chance,
            on_unknown=lambda tag: log.info("a message of a later coordinator is passed over", tag=tag),
        )

    def announce(self, streams: tuple[str, ...], serves: bool, isolated: bool) -> None:
        """What is watched has changed, or what this machine is good for."""
        self._streams, self._serves, self._isolated = streams, serves, isolated
        self.link.send(self._watch())

    def _watch(self) -> Watch:
        return Watch(self._streams, self._serves, self._isolated)

    def moved(self, networks: tuple[Network, ...]) -> None:
        """This machine has other addresses: the coordinator places it anew."""
        self._networks = networks
        for message in self._begin():
            self.link.send(message)

    async def run(self) -> None:
        """Connect, and report until cancelled."""
        self.link.start()
        beats = 0
        try:
            while True:
                await asyncio.sleep(BEAT_S)
                beats += 1
                self._beat()
                if beats % WATCH_EVERY_BEATS == 0:
                    self.link.send(self._watch())
                await self._renew_if_due()
        finally:
            await self.link.close()

    def _begin(self) -> tuple[FromAgent, ...]:
        here = Here(PROTOCOL, self._version, self._networks, self._peer_port, self._serves)
        return (here, self._watch())

    def _state(self, connected: bool, why: str) -> None:
        self.why = why
        self._told.feed(events.TrackerChanged(connected))
        self._told.switchboard(connected)
        if connected:
            log.info("connected to the coordinator")
            self._told.clear_condition("coordinator-away")
        else:
            log.warning("the coordinator is away", why=why)
            self._told.raise_condition("coordinator-away", why)

    def _heard(self, message: FromCoordinator) -> None:
        match message:
            case Neighbours(stream, committee, near):
                contacts = tuple((it.contact, it.why) for it in near if it.contact.device != self._identity.device)
                self._told.feed(events.TrackerSaid(stream, committee, contacts))
            case Welcome():
                log.info("the coordinator placed this machine", site=message.site, p2p=message.p2p, why=message.why)
                self._told.site_changed(message)
            case Settings():
                self._told.settings_changed(message)
            case Denied(devices):
                self._told.feed(events.DevicesDenied(frozenset(devices)))
            case Turned(code, why, _):
                log.warning("the coordinator turned this machine away", code=code, why=why)
            case Alive():
                pass
            case (
                signalling.Call()
                | signalling.Offer()
                | signalling.Answer()
                | signalling.Bye()
                | signalling.Undeliverable()
            ):
                self._told.signalled(message)

    def _beat(self) -> None:
        news = self._meter.since()
        self._sequence += 1
        uploaded = self._told.uploaded_bytes()
        up, up_webrtc = (max(0, now - before) for now, before in zip(uploaded, self._uploaded, strict=True))
        links_tls, links_webrtc = self._told.links()
        self.link.send(
            Beat(
                sequence=self._sequence,
                bytes_cache=news.received["cache"],
                bytes_lan=news.received["lan"] + news.received["webrtc"],
                bytes_origin=news.received["origin"],
                bytes_up=up,
                segments=sum(news.segments.values()),
                conditions=self._told.conditions()[:32],
                links_tls=links_tls,
                links_webrtc=links_webrtc,
                bytes_webrtc=news.received["webrtc"],
                bytes_up_webrtc=up_webrtc,
            )
        )
        self._uploaded = uploaded

    async def _renew_if_due(self) -> None:
        utc = self._told.utc()
        if utc > self._identity.ends_utc:
            self._told.raise_condition("certificate-ended", "it will be renewed when the coordinator answers")
        if not renewal_due(self._identity, utc):
            return
        try:
            self._identity = await renew(self._identity, self._version)
        except (CoordinatorRefused, Unavailable, PeerMisbehaved, OSError) as error:
            log.warning("the certificate could not be renewed yet", why=str(error))
            return
        log.info("the certificate was renewed")
        self._told.clear_condition("certificate-ended")
        self.link.use(self._identity)
        self._told.renewed(self._identity)
