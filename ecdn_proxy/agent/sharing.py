"""Sharing with other agents, on an enrolled machine: links, mDNS and the coordinator, and how they work together.

    Sharing.open_links()            listens for other agents; `links.port` is known afterwards
    Sharing.open_discovery()        mDNS and the coordinator: from now on others are found
    Sharing.apply_policy()          whether this machine shares and serves, by its settings and its site
    announce · node_restarted       what the node says (`performer.StreamAnnouncer`)
    placed · renewed · …            what the coordinator says, and is told (`coordinator_session.SessionOwner`)

Where one part alone needs another, it holds it: links tell the node's runner, mDNS tells it who is seen. What one part
says and several must hear comes here, and is given to each of them.
"""

import hmac
import random
from collections.abc import Callable
from typing import Any, Final

from ecdn_proxy.agent.addresses import Place, look
from ecdn_proxy.agent.condition_log import ConditionLog
from ecdn_proxy.agent.coordinator_session import CoordinatorSession
from ecdn_proxy.agent.links import Links, Webrtc
from ecdn_proxy.agent.network_monitor import NetworkMonitor
from ecdn_proxy.agent.node_runner import NodeRunner
from ecdn_proxy.agent.signer import DeviceSeal
from ecdn_proxy.core import events
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.core.report.usage import Usage
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.io import clock
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.tls_links.contexts import contexts
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.signalling import Relayed, Undeliverable
from ecdn_proxy.wire.tracker import Welcome

NOT_PLACED: Final = Welcome("", "", "on", "", {})
"""Until the coordinator has placed a machine, nothing is forbidden to it."""


class Sharing:
    """One enrolled machine among others; belongs to one event loop."""

    def __init__(
        self,
        seal: DeviceSeal,
        settings: Settings,
        place: Place,
        settings_said: Callable[[Identity], None],
        *,
        version: str,
        runner: NodeRunner,
        meter: Meter,
        condition_log: ConditionLog,
        tasks: Tasks,
    ) -> None:
        identity = self.identity = seal.identity
        self.site = NOT_PLACED
        """Where the coordinator has placed this machine."""
        self.session: CoordinatorSession | None = None
        self._seal = seal
        self._settings = settings
        self._place = place
        self._settings_said = settings_said
        self._version = version
        self._runner = runner
        self._meter = meter
        self._conditions = condition_log
        self._tasks = tasks
        self._monitor: NetworkMonitor | None = None
        webrtc = Webrtc(
            identity,
            say=self._signal,
            utc=clock.utc,
            stun_servers=settings.stun_servers,
            engine=settings.webrtc_engine,
        )
        self.links = Links(
            Ourselves(identity.device, identity.tenant, version, place.addresses, place.link),
            place.listen,
            contexts(*identity.chain),
            place.allowed,
            runner,
            webrtc if settings.webrtc and settings.sharing else None,
        )

    async def open_links(self) -> None:
        """Listen for other agents.

        Raises:
            Unavailable: the address cannot be listened on.
        """
        await self.links.start()

    async def open_discovery(self) -> None:
        """Find others, and be found.

        Raises:
            Unavailable: the system does not tell its addresses.
        """
        settings, identity = self._settings, self.identity
        salt = bytes.fromhex(identity.salt)
        self.session = CoordinatorSession(
            identity,
            version=self._version,
            networks=self._place.networks,
            peer_port=self.links.port,
            owner=self,
            utc=clock.utc,
            chance=random.Random(),  # noqa: S311 - jitter, not a secret
        )
        self._monitor = NetworkMonitor(
            self._place,
            lambda: look(settings),
            self.links,
            identity.device,
            hmac.new(salt, b"mdns", "sha256").hexdigest()[:16] if settings.lan_discovery else None,
            node=self._runner,
            follower=self.session,
            conditions=self._conditions,
        )
        await self._monitor.open()
        self._tasks.start(self.session.run(), "coordinator")

    async def close_discovery(self) -> None:
        """Neither announce nor look for others any longer."""
        if self._monitor is not None:
            await self._monitor.close()

    # ---- the policy

    def apply_policy(self) -> None:
        """Tell the node whether it may share, and serve others."""
        sharing = self._settings.sharing and self.site.p2p != "off"
        uploads = sharing and self._settings.uploads and self.site.p2p == "on"
        why = self.site.why or "settings"
        if sharing:
            self._conditions.clear_condition("sharing-off")
        else:
            self._conditions.raise_condition("sharing-off", why)
        self._runner.feed(events.PolicyChanged(sharing, uploads, why))

    # ---- what the node says

    def announce(self, streams: tuple[str, ...], serves: bool, isolated: bool) -> None:
        """Tell neighbours, the LAN and the coordinator what is watched here."""
        self.links.set_streams(streams, serves)
        if self._monitor is not None:
            self._monitor.announce(streams, serves)
        if self.session is not None:
            self.session.announce(streams, serves, isolated)

    def node_restarted(self) -> None:
        """Begin a new socket with the coordinator, on which it says everything again."""
        if self.session is not None:
            self.session.link.use(self.identity)

    # ---- what the coordinator says

    def placed(self, site: Welcome) -> None:
        """The coordinator has said at which site this machine is, and what is allowed there."""
        self.site = site
        if self._monitor is not None and not self._settings.peer_networks:
            self._monitor.allow_site_networks(site.networks)
        self.apply_policy()

    def settings_changed(self, settings: dict[str, Any]) -> None:
        """The coordinator has other settings for this machine; they are kept with its identity."""
        self.identity = self.identity.with_settings(settings)
        self._settings_said(self.identity)

    def renewed(self, identity: Identity) -> None:
        """This machine has a new certificate and new keys: sign and connect with them from now on."""
        self.identity = identity
        self._seal.renewed(identity)
        self.links.set_contexts(contexts(*identity.chain))
        self.links.set_identity(identity)

    def signalling_possible(self, possible: bool) -> None:
        """WebRTC links can be arranged now, or can no longer."""
        self.links.switchboard(possible)

    def signalled(self, message: Relayed | Undeliverable) -> None:
        """Another agent has sent a message through the coordinator, or one of ours could not be delivered."""
        self.links.heard(message)

    def feed(self, event: events.Event) -> None:
        """Hand the node what the coordinator says of others."""
        self._runner.feed(event)

    # ---- what the coordinator is told

    def raise_condition(self, code: str, text: str) -> None:
        """A condition holds from now on."""
        self._conditions.raise_condition(code, text)

    def clear_condition(self, code: str) -> None:
        """A condition holds no longer."""
        self._conditions.clear_condition(code)

    def conditions(self) -> tuple[str, ...]:
        """Codes of the conditions that hold now."""
        return self._conditions.codes()

    def usage(self) -> Usage:
        """Everything counted since this agent was started."""
        return self._meter.usage(self._runner.uploads())

    def standing_links(self) -> tuple[int, int]:
        """How many links to other agents stand now: by TLS, by WebRTC."""
        return self.links.standing()

    # ---- WebRTC

    def _signal(self, message: Relayed) -> bool:
        return self.session is not None and self.session.link.send(message)
