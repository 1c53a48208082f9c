"""A `LinkConsumer` that has no use for links; a benchmark answers to what it measures."""

from ecdn_proxy.io.link_connection import ConnectionKind
from ecdn_proxy.wire.peer import Contact, PeerMessage


class Idle:
    """Hears everything and does nothing."""

    def link_opened(
        self, contact: Contact, kind: ConnectionKind, streams: tuple[str, ...], serves: bool, rtt_ms: float, /
    ) -> None:
        pass

    def link_closed(self, device: str, why: str, misbehaved: bool, /) -> None:
        pass

    def link_received(self, device: str, message: PeerMessage, /) -> None:
        pass

    def link_ready(self, device: str, /) -> None:
        pass

    def link_passed_over(self, device: str, version: str, tag: int, /) -> None:
        pass

    def connection_refused(self, address: str, why: str, /) -> None:
        pass

    def offer_forged(self, device: str, why: str, /) -> None:
        pass

    def out_of_reach(self, device: str, why: str, /) -> None:
        pass
