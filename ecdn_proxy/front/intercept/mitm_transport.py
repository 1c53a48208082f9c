"""mitmproxy's side of a connection that was opened before it: a transport without a socket.

    client ──client_sent──► InnerTransport.reader ──► mitmproxy ──► InnerTransport.writer ──mitmproxy_wrote──► client

Map: `OuterTransport` (the client's side, which mitmproxy writes to) · `InnerTransport` (what mitmproxy takes for its
client's connection) · `OpenedTls` (what mitmproxy must know of the TLS that has ended outside).

mitmproxy is shown the CONNECT request that the client sent, and decides as always whether a tunnel is allowed. Its
answer of 200 is swallowed, for the client has had one. What follows are the bytes of the tunnel: decrypted ones when
`opened` is given, else as they came. Both directions hold back: a slow mitmproxy pauses the client, a slow client
pauses mitmproxy.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

OPENED: Final = "ecdn-opened"
"""The name of the extra information by which mitmproxy's handler finds `OpenedTls`."""
_CONNECT_ANSWER_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class OpenedTls:
    """What the client's ClientHello says; its TLS ends at the front."""

    sni: str | None
    alpn_offers: tuple[bytes, ...]


class OuterTransport(Protocol):
    """The client's side of the connection."""

    def mitmproxy_wrote(self, data: bytes) -> None:
        """Bytes for the client."""
        ...

    def mitmproxy_closed(self) -> None:
        """Mitmproxy has closed the connection, or refused the tunnel."""
        ...

    def pause_client(self) -> None:
        """Read no more from the client for now."""
        ...

    def resume_client(self) -> None:
        """Read from the client again."""
        ...


class InnerTransport(asyncio.Transport):
    """What mitmproxy takes for its client's connection; `connect` is the client's CONNECT request as it came."""

    def __init__(
        self, outer: OuterTransport, connect: bytes, around: asyncio.Transport, opened: OpenedTls | None
    ) -> None:
        extra = {name: around.get_extra_info(name) for name in ("peername", "sockname")}
        super().__init__({**extra, OPENED: opened})
        loop = asyncio.get_running_loop()
        self._outer: OuterTransport | None = outer
        self._loop = loop
        self.reader = asyncio.StreamReader(loop=loop)
        self._protocol = asyncio.StreamReaderProtocol(self.reader, loop=loop)
        self._protocol.connection_made(self)
        self.writer = asyncio.StreamWriter(self, self._protocol, self.reader, loop)
        self._connect_answer = bytearray()
        self._waiting: list[bytes] | None = []
        """What the client sent before mitmproxy allowed the tunnel; None once it has."""
        self._client_is_slow = False
        self.reader.feed_data(connect)

    # ---- the front's side

    def client_sent(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._waiting is not None:
            self._waiting.append(data)
        elif self._outer is not None and data:
            self.reader.feed_data(data)

    def hold_back(self, slow: bool) -> None:
        """Whether the client takes nothing more for now."""
        if slow is not self._client_is_slow and self._outer is not None:
            self._client_is_slow = slow
            (self._protocol.pause_writing if slow else self._protocol.resume_writing)()

    def client_left(self) -> None:
        """The client has gone; mitmproxy's handler ends."""
        self._outer = None
        self._end()

    # ---- mitmproxy's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write to the client; the answer to CONNECT goes no further."""
        if self._outer is None:
            return
        if self._waiting is None:
            self._outer.mitmproxy_wrote(bytes(data))
            return
        self._connect_answer += data
        head, end, rest = self._connect_answer.partition(b"\r\n\r\n")
        if end and head.startswith(b"HTTP/1.1 200 "):
            waiting, self._waiting = self._waiting, None
            for part in waiting:
                self.client_sent(part)
            if rest:
                self._outer.mitmproxy_wrote(bytes(rest))
        elif end or len(self._connect_answer) > _CONNECT_ANSWER_BYTES_MAX:
            self.close()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write several parts to the client."""
        for data in list_of_data:
            self.write(data)

    def is_closing(self) -> bool:
        """Whether either side has ended the connection."""
        return self._outer is None

    def close(self) -> None:
        """Mitmproxy's handler has done with the connection."""
        outer, self._outer = self._outer, None
        if outer is not None:
            self._end()
            outer.mitmproxy_closed()

    def abort(self) -> None:
        """As `close`: nothing waits here."""
        self.close()

    def can_write_eof(self) -> bool:
        """As of a socket."""
        return True

    def write_eof(self) -> None:
        """As `close`: HTTP has no use for a connection that is half closed."""
        self.close()

    def pause_reading(self) -> None:
        """Mitmproxy's reader is full."""
        if self._outer is not None:
            self._outer.pause_client()

    def resume_reading(self) -> None:
        """Mitmproxy's reader has room."""
        if self._outer is not None:
            self._outer.resume_client()

    def is_reading(self) -> bool:
        """As of a socket."""
        return self._outer is not None

    def get_write_buffer_size(self) -> int:
        """Nothing waits here; a slow client is told by `hold_back`."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing: the limits are those of the client's own transport."""

    def _end(self) -> None:
        self._loop.call_soon(self._protocol.connection_lost, None)
