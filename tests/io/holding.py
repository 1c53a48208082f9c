"""Whoever has a hub's connections in a test: the newest to each device is its link, and all that is told is recorded.

Which of several connections carries a link is decided in core/connect/handover, and performed by agent/links alone.

Holder(record)    send · is_full · stats · hang_up      links      messages(kind)
"""

from collections.abc import Callable

from ecdn_proxy.io.handshake import LinkEnd
from ecdn_proxy.io.link_connection import ConnectionKind, LinkConnection, LinkStats
from ecdn_proxy.wire.peer import Contact, Hello, PeerMessage
from tests.io.waiting import Record


class Holder:
    """Satisfies `TlsLinkOwner`, `WebrtcLinkOwner` and `MessageConsumer`; `dial` answers a call."""

    def __init__(self, record: Record, dial: Callable[[Contact], None] = lambda _: None) -> None:
        self.record = record
        self.links: dict[str, LinkConnection] = {}
        self._dial = dial

    # ---- what a test wants

    def send(self, device: str, message: PeerMessage) -> None:
        if (connection := self.links.get(device)) is not None:
            connection.send(message)

    def is_full(self, device: str) -> bool:
        connection = self.links.get(device)
        return connection is not None and connection.full

    def stats(self) -> dict[str, LinkStats]:
        return {device: connection.statistics() for device, connection in self.links.items()}

    def hang_up(self, device: str, why: str) -> None:
        if (connection := self.links.get(device)) is not None:
            connection.close(why)

    def messages(self, kind: type[PeerMessage]) -> list[PeerMessage]:
        return [message for _, message in self.record.all("received") if isinstance(message, kind)]

    # ---- what the hubs tell

    def began(self, connection: LinkConnection) -> None:
        pass

    def greeted(self, connection: LinkConnection, contact: Contact, hello: Hello) -> None:
        self.links[connection.device] = connection
        rtt_ms = connection.handshake.rtt_ms
        self.record.tell("opened")(contact, connection.kind, hello.streams, hello.serves, rtt_ms)

    def drained(self, connection: LinkConnection) -> None:
        self.record.tell("ready")(connection.device)

    def ended(self, connection: LinkConnection, end: LinkEnd) -> None:
        linked = self.links.get(connection.device) is connection
        if linked:
            del self.links[connection.device]
        if linked or (end.misbehaved and not connection.dialled and not connection.open):
            self.record.tell("closed")(connection.device, end.why, end.misbehaved)

    def dial_failed(self, kind: ConnectionKind, device: str, why: str, misbehaved: bool) -> None:
        self.record.tell("closed")(device, why, misbehaved)

    def refused(self, address: str, why: str) -> None:
        self.record.tell("refused")(address, why)

    def called(self, contact: Contact) -> None:
        self.record.tell("called")(contact)
        self._dial(contact)

    def offer_forged(self, device: str, why: str) -> None:
        self.record.tell("forged")(device, why)

    # ---- what connections bring

    def link_received(self, device: str, message: PeerMessage) -> None:
        self.record.tell("received")(device, message)

    def link_passed_over(self, device: str, version: str, tag: int) -> None:
        self.record.tell("passed_over")(device, version, tag)
