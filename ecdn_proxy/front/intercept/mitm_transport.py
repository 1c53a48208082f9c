"""mitmproxy's side of a connection that was opened before it: a transport without a socket.

    the front ──feed──► mitmproxy's reader          mitmproxy's writer ──► OuterTransport.came_out, OuterTransport.gone

Map: `OuterTransport` (whom it writes to) · `InnerTransport` (the transport) · `OpenedTls` (what mitmproxy should know
of the TLS outside).

mitmproxy is shown the CONNECT request that the client sent, decides as always whether a tunnel is allowed, and its 200
is swallowed, for the client has had one. What follows are the bytes of the tunnel: decrypted ones when `opened` is
given. Both directions hold back: a slow mitmproxy pauses the client, a slow client pauses mitmproxy.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

OPENED: Final = "ecdn-opened"
"""The name of the extra information by which mitmproxy's handler finds `OpenedTls`."""
_HEAD_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class OpenedTls:
    """The client's TLS, which ends at the front."""

    sni: str | None
    alpn_offers: tuple[bytes, ...]


class OuterTransport(Protocol):
    """The client's side."""

    def came_out(self, data: bytes) -> None:
        """What mitmproxy wrote."""
        ...

    def gone(self) -> None:
        """The connection was closed by mitmproxy, or the tunnel refused."""
        ...

    def hold(self) -> None:
        """Enough for now."""
        ...

    def go_on(self) -> None:
        """More, please."""
        ...


class InnerTransport(asyncio.Transport):
    """What mitmproxy takes for its client's connection."""

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
        self._answered = bytearray()
        self._waiting: list[bytes] | None = []
        """What the client sent before mitmproxy allowed the tunnel; None once it has."""
        self._paused = False
        self.reader.feed_data(connect)

    # ---- the front's side

    def feed(self, data: bytes) -> None:
        """From the client."""
        if self._waiting is not None:
            self._waiting.append(data)
        elif self._outer is not None and data:
            self.reader.feed_data(data)

    def slow(self, paused: bool) -> None:
        """Whether the client takes nothing more for now."""
        if paused is not self._paused and self._outer is not None:
            self._paused = paused
            (self._protocol.pause_writing if paused else self._protocol.resume_writing)()

    def leave(self) -> None:
        """The client has gone."""
        self._outer = None
        self._end()

    # ---- mitmproxy's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """To the client; the answer to CONNECT goes no further."""
        if self._outer is None:
            return
        if self._waiting is None:
            self._outer.came_out(bytes(data))
            return
        self._answered += data
        head, end, rest = self._answered.partition(b"\r\n\r\n")
        if end and head.startswith(b"HTTP/1.1 200 "):
            waiting, self._waiting = self._waiting, None
            for part in waiting:
                self.feed(part)
            if rest:
                self._outer.came_out(bytes(rest))
        elif end or len(self._answered) > _HEAD_BYTES_MAX:
            self.close()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """The same in parts."""
        for data in list_of_data:
            self.write(data)

    def is_closing(self) -> bool:
        """Whether either side has ended it."""
        return self._outer is None

    def close(self) -> None:
        """The handler has done with it."""
        outer, self._outer = self._outer, None
        if outer is not None:
            self._end()
            outer.gone()

    def abort(self) -> None:
        """The same: nothing waits here."""
        self.close()

    def can_write_eof(self) -> bool:
        """As of a socket."""
        return True

    def write_eof(self) -> None:
        """Half-closed is closed: HTTP has no use for the other half."""
        self.close()

    def pause_reading(self) -> None:
        """The reader is full."""
        if self._outer is not None:
            self._outer.hold()

    def resume_reading(self) -> None:
        """The reader has room."""
        if self._outer is not None:
            self._outer.go_on()

    def is_reading(self) -> bool:
        """As of a socket."""
        return self._outer is not None

    def get_write_buffer_size(self) -> int:
        """Nothing waits here; see `slow`."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are the client's transport's."""

    def _end(self) -> None:
        self._loop.call_soon(self._protocol.connection_lost, None)
