"""The conversation with the coordinator: who and where we are, what we watch, what we used; what it tells us.

    CoordinatorSession.run()                                connects; a beat every 15 s; renews the certificate
    CoordinatorSession.announce(streams, serves, isolated)  sends Watch, now and again every minute
    CoordinatorSession.moved(networks)                      this machine has other addresses
    SessionOwner                                            whom the session tells and asks

A beat is followed by `Alive`, which the coordinator answers after it has taken the beat. Until that answer comes the
usage in the beat counts as untold, and is told again (`core.report.usage_reports`).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from ecdn_proxy.core import events
from ecdn_proxy.core.report.usage import Usage
from ecdn_proxy.core.report.usage_reports import UsageReports
from ecdn_proxy.io.coordinator_client import CoordinatorLink, CoordinatorRefused, renew, renewal_due
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.wire import signalling
from ecdn_proxy.wire.faults import PeerMisbehaved, Unavailable
from ecdn_proxy.wire.signalling import Relayed
from ecdn_proxy.wire.tracker import (
    Alive,
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
CONDITIONS_MAX = 32
"""As many as a `Beat` may carry."""

log = structlog.get_logger(__name__)


class SessionOwner(Protocol):
    """Whom the session tells what the coordinator said, and asks what to report. No method waits."""

    def feed(self, event: events.Event) -> None:
        """Something happened that the node must know."""
        ...

    def raise_condition(self, code: str, text: str) -> None:
        """A registered condition (`core.report.conditions`) holds from now on; `text` says what exactly."""
        ...

    def clear_condition(self, code: str) -> None:
        """A condition holds no longer."""
        ...

    def conditions(self) -> tuple[str, ...]:
        """Codes of the conditions that hold now."""
        ...

    def usage(self) -> Usage:
        """Everything counted since the agent was started."""
        ...

    def standing_links(self) -> tuple[int, int]:
        """How many links to other agents stand now: by TLS, by WebRTC."""
        ...

    def placed(self, site: Welcome) -> None:
        """The coordinator has said at which site this machine is."""
        ...

    def settings_changed(self, settings: dict[str, Any]) -> None:
        """The coordinator has other settings for this machine than before; names as in agent.toml."""
        ...

    def renewed(self, identity: Identity) -> None:
        """This machine has a new certificate and new keys."""
        ...

    def signalling_possible(self, possible: bool) -> None:
        """Whether WebRTC links can be arranged now: only while the coordinator is connected."""
        ...

    def signalled(self, message: Relayed | signalling.Undeliverable) -> None:
        """Another agent has sent a message through the coordinator, or one of ours could not be delivered."""
        ...


class CoordinatorSession:
    """One agent's side of the coordinator's socket."""

    def __init__(
        self,
        identity: Identity,
        *,
        version: str,
        networks: tuple[Network, ...],
        peer_port: int,
        owner: SessionOwner,
        utc: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._identity = identity
        self._version = version
        self._networks = networks
        self._peer_port = peer_port
        self._owner = owner
        self._utc = utc
        self._streams: tuple[str, ...] = ()
        self._serves = True
        self._isolated = False
        self._settings = identity.settings
        self._reports = UsageReports(int(utc()))
        self.why = "not tried yet"
        """Why the coordinator is connected, or is not: a sentence for the status page."""
        self.link = CoordinatorLink(
            identity,
            owner=self,
            chance=chance,
        )

    def announce(self, streams: tuple[str, ...], serves: bool, isolated: bool) -> None:
        """Other streams are watched, or this machine begins or ceases to serve others or to be isolated."""
        self._streams, self._serves, self._isolated = streams, serves, isolated
        self.link.send(self._watch())

    def _watch(self) -> Watch:
        return Watch(self._streams, self._serves, self._isolated)

    def moved(self, networks: tuple[Network, ...]) -> None:
        """This machine has other addresses: the coordinator places it anew."""
        self._networks = networks
        for message in self.first_messages():
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

    # ---- what the socket asks and tells (`coordinator_client.CoordinatorLinkOwner`)

    def first_messages(self) -> tuple[FromAgent, ...]:
        """Where this machine is, and what is watched here: the coordinator forgets both when a socket ends."""
        here = Here(PROTOCOL, self._version, self._networks, self._peer_port, self._serves)
        return (here, self._watch())

    def coordinator_changed(self, connected: bool, why: str) -> None:
        """The socket stands, or has ended or could not be made."""
        self.why = why
        self._reports.no_answer()
        self._owner.feed(events.TrackerChanged(connected))
        self._owner.signalling_possible(connected)
        if connected:
            log.info("connected to the coordinator")
            self._owner.clear_condition("coordinator-away")
        else:
            log.warning("the coordinator is away", why=why)
            self._owner.raise_condition("coordinator-away", why)

    def coordinator_passed_over(self, tag: int) -> None:
        """A message came that only a later coordinator knows."""
        log.info("a message of a later coordinator is passed over", tag=tag)

    def coordinator_said(self, message: FromCoordinator) -> None:
        """A message has come: hand its content to whom it is for."""
        match message:
            case Neighbours(stream, committee, near):
                contacts = tuple((it.contact, it.why) for it in near if it.contact.device != self._identity.device)
                self._owner.feed(events.TrackerSaid(stream, committee, contacts))
            case Welcome():
                log.info("the coordinator placed this machine", site=message.site, p2p=message.p2p, why=message.why)
                self._owner.placed(message)
                self._take_settings(message.settings)
            case Settings():
                self._take_settings(message.settings)
            case Denied(devices):
                self._owner.feed(events.DevicesDenied(frozenset(devices)))
            case Turned(code, why, _):
                log.warning("the coordinator turned this machine away", code=code, why=why)
            case Alive():
                self._reports.taken()
            case (
                signalling.Call()
                | signalling.Offer()
                | signalling.Answer()
                | signalling.Bye()
                | signalling.Undeliverable()
            ):
                self._owner.signalled(message)

    def _take_settings(self, settings: dict[str, Any]) -> None:
        if settings != self._settings:
            self._settings = settings
            self._owner.settings_changed(settings)

    def _beat(self) -> None:
        """Tell what is new; without a socket, or while the last beat is unanswered, it waits for the next time."""
        report = self._reports.next(self._owner.usage().reported())
        if report is None:
            return
        tls, webrtc = self._owner.standing_links()
        conditions = self._owner.conditions()[:CONDITIONS_MAX]
        if self.link.send(report.usage.beat(report.sequence, conditions, links_tls=tls, links_webrtc=webrtc)):
            self._reports.sent(report)
            if not self.link.send(Alive()):
                self._reports.no_answer()

    async def _renew_if_due(self) -> None:
        utc = self._utc()
        if utc > self._identity.ends_utc:
            self._owner.raise_condition("certificate-ended", "it will be renewed when the coordinator answers")
        if not renewal_due(self._identity, utc):
            return
        try:
            self._identity = await renew(self._identity, self._version)
        except (CoordinatorRefused, Unavailable, PeerMisbehaved, OSError) as error:
            log.warning("the certificate could not be renewed yet", why=str(error))
            return
        log.info("the certificate was renewed")
        self._owner.clear_condition("certificate-ended")
        self.link.use(self._identity)
        self._owner.renewed(self._identity)
