"""Makes aiortc's data channels cheaper, without a change to a byte on the wire that a standard peer could not take.

    apply()     once per process; True when the patches are in place
    TESTED      the versions whose inside they were written for; with any other, aiortc stays as it is

aiortc handles every packet of 1,160 bytes by a dozen coroutines, tries each as STUN first, scans all fragments that
wait for each new one, all chunks in flight for each acknowledgement, and acknowledges each packet by itself. Each
function below replaces one of its functions for the common case (established, in order, nothing lost) and hands
anything else to the original:

    _datagram     what is DTLS by its first byte (RFC 7983) is not tried as STUN
    _recv_next    after the handshake: no look for outgoing bytes after each incoming packet; takes what waits at once,
                  by OpenSSL's functions themselves (pyOpenSSL's allocate a buffer and look for errors, each time)
    _handle_data  a packet with the next DATA chunk: fragments are joined when the last one has come
    _send_sack    every eighth packet (second, while the window opens), or after 5 ms; at once when something is
                  missing or came twice (RFC 9260 section 6.2 says every second; it costs a quarter of everything)
    _transmit     looks for chunks to send again only when some were marked; bursts of 16 packets; at most 96 KiB
                  in flight, since each acknowledgement walks through it
    _send         cuts a message into chunks that share their constant parts
    _send_chunk   from chunk to socket in one step; a transport that has gone is no error (its end is told elsewhere)

What `_transmit` sends in one go is encrypted packet by packet into one buffer, and leaves by one system call
(io/webrtc/udp_batch).
"""

import asyncio
import time
from collections.abc import Sequence
from importlib import metadata
from struct import Struct
from typing import Any

import aioice.ice
import aiortc.rtcdtlstransport as dtls
import aiortc.rtcsctptransport as sctp
from google_crc32c import value as crc32c
from OpenSSL import SSL

from ecdn_proxy.io.webrtc import udp_batch

TESTED = {"aiortc": "1.16.0", "aioice": "0.13.0", "pyOpenSSL": "26.2.0"}
SACK_EVERY = 8
SACK_EVERY_AT_FIRST = 2
SACKS_AT_FIRST = 48
SACK_WITHIN_S = 0.005
BURST_PACKETS = 16
FLIGHT_BYTES_MAX = 98_304
DRAIN_MAX = 64
"""Packets handled in one go before the loop's other work has its turn."""

_Sctp: Any = sctp.RTCSctpTransport
_Dtls: Any = dtls.RTCDtlsTransport
_Stun: Any = aioice.ice.StunProtocol
_openssl: Any = SSL._lib  # type: ignore[attr-defined]  # inside of pyOpenSSL, whose version is checked
_ffi: Any = SSL._ffi  # type: ignore[attr-defined]  # as above

_datagram_received = _Stun.datagram_received
_original_recv_next = _Dtls._recv_next
_original_handle_data = _Sctp._handle_data
_original_send_sack = _Sctp._send_sack
_original_transmit = _Sctp._transmit
_original_send = _Sctp._send
_original_t3_expired = _Sctp._t3_expired
_original_receive_sack = _Sctp._receive_sack_chunk

_COMMON = Struct("!HHL")
_DATA = Struct("!BBHLHHL")
_PACKET = Struct("!HHLLBBHLHHL")
"""Common header with no checksum yet, and one DATA chunk's."""
_CHECKSUM = Struct("<L")
_CHECKSUM_AT = 8
_DATA_AT = 12
_USER_DATA_AT = 28
_NO_CHECKSUM = b"\x00\x00\x00\x00"
_PADDING = (b"", b"\x00\x00\x00", b"\x00\x00", b"\x00")
_MODULO = 2**32

_PACKET_MAX = 1_500
_plain = _ffi.new("char[]", _PACKET_MAX)
_plain_bytes = _ffi.buffer(_plain)
"""One packet on its way to or from OpenSSL; all of this is of one thread, and nothing waits in between."""
_records = _ffi.new("char[]", udp_batch.SEGMENTS_MAX * _PACKET_MAX)
_records_bytes = memoryview(_ffi.buffer(_records))
_RECORDS_FULL = len(_records_bytes) - _PACKET_MAX

_applied = False


def apply() -> bool:
    """Put the patches in place, once; says whether they are."""
    global _applied  # noqa: PLW0603 - classes of a library are changed for the whole process
    if _applied or any(metadata.version(name) != version for name, version in TESTED.items()):
        return _applied
    _Stun.datagram_received = _datagram
    _Dtls._recv_next = _recv_next
    _Sctp._handle_data = _handle_data
    _Sctp._send_sack = _send_sack
    _Sctp._transmit = _transmit
    _Sctp._t3_expired = _t3_expired
    _Sctp._receive_sack_chunk = _receive_sack_chunk
    _Sctp._send = _send
    _Sctp._send_chunk = _send_chunk
    for name, value in _FRESH.items():
        setattr(sctp.DataChunk, name, value)
    _applied = True
    return True


# ---- receiving


def _datagram(self: Any, data: bytes, addr: tuple[Any, ...]) -> None:
    if 19 < data[0] < 64 if data else False:
        self.receiver._queue.put_nowait((data, self.local_candidate.component))
    else:
        _datagram_received(self, data, addr)


async def _recv_next(self: Any) -> None:
    if not self._RTCDtlsTransport__handshake_done:
        await _original_recv_next(self)
        return
    queue = self.transport._connection._queue
    item = await queue.get()
    left = DRAIN_MAX
    while item is not None:
        await _take(self, item[0])
        left -= 1
        if queue.empty():
            return
        if not left:
            await asyncio.sleep(0)
            return
        item = queue.get_nowait()
    raise ConnectionError("Connection lost while receiving data")


async def _take(self: Any, data: bytes) -> None:
    """One datagram of an encrypted connection."""
    self._RTCDtlsTransport__rx_bytes += len(data)
    self._RTCDtlsTransport__rx_packets += 1
    if not 19 < data[0] < 64:
        return  # RTP: this agent opens no media
    below = self._ssl
    _openssl.BIO_write(below._into_ssl, data, len(data))
    size = _openssl.SSL_read(below._ssl, _plain, _PACKET_MAX)
    if size > 0:
        if self._data_receiver is not None:
            await self._data_receiver._handle_data(_plain_bytes[:size])
        return
    try:
        below._raise_ssl_error(below._ssl, size)
    except SSL.ZeroReturnError:
        await self._write_ssl()
        raise ConnectionError("DTLS shutdown by remote party") from None
    except SSL.Error:
        await self._write_ssl()


async def _handle_data(self: Any, data: bytes) -> None:
    """The next DATA chunk of an established association, alone in its packet."""
    if len(data) <= _USER_DATA_AT or data[_DATA_AT] or self._sack_misordered or self._sack_duplicates:
        await _original_handle_data(self, data)
        return
    _, flags, length, tsn, stream_id, stream_seq, protocol = _DATA.unpack_from(data, _DATA_AT)
    last = self._last_received_tsn
    stream = self._inbound_streams.get(stream_id)
    if (
        last is None
        or stream is None
        or tsn != (last + 1) % _MODULO
        or _DATA_AT + length + (-length) % 4 != len(data)
        or _COMMON.unpack_from(data)[2] != self._local_verification_tag
        or _CHECKSUM.unpack_from(data, 8)[0] != crc32c(data[:8] + _NO_CHECKSUM + data[12:])
    ):
        await _original_handle_data(self, data)
        return
    chunk = sctp.DataChunk(flags)
    chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol = tsn, stream_id, stream_seq, protocol
    chunk.user_data = data[_USER_DATA_AT : _DATA_AT + length]
    self._last_received_tsn = tsn
    self._advertised_rwnd -= len(chunk.user_data)
    stream.add_chunk(chunk)
    if flags & sctp.SCTP_DATA_LAST_FRAG:
        for message in stream.pop_messages():
            self._advertised_rwnd += len(message[2])
            await self._receive(*message)
        if self._reconfig_deferred is not None:
            await self._reset_deferred_streams()
    await self._send_sack()


async def _send_sack(self: Any) -> None:
    skipped = getattr(self, "_skipped_sacks", 0) + 1
    count = getattr(self, "_sacks", 0)
    every = SACK_EVERY if count >= SACKS_AT_FIRST else SACK_EVERY_AT_FIRST
    if skipped < every and not self._sack_misordered and not self._sack_duplicates:
        self._skipped_sacks = skipped
        self._sack_needed = False
        if getattr(self, "_sack_timer", None) is None:
            self._sack_timer = self._loop.call_later(SACK_WITHIN_S, _sack_late, self)
        return
    self._skipped_sacks = 0
    self._sacks = count + 1
    await _original_send_sack(self)


def _sack_late(self: Any) -> None:
    self._sack_timer = None
    if self._skipped_sacks and self._association_state is not self.State.CLOSED:
        self._skipped_sacks = 0
        _at_once(_original_send_sack(self))


def _at_once(work: Any) -> None:
    """Run a coroutine that cannot wait: below it stands `_send_chunk`, which waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()


# ---- sending


async def _receive_sack_chunk(self: Any, chunk: Any) -> None:
    self._cwnd = min(self._cwnd, FLIGHT_BYTES_MAX)
    if chunk.gaps:
        self._some_marked = True
    await _original_receive_sack(self, chunk)


def _t3_expired(self: Any) -> None:
    self._some_marked = True
    _original_t3_expired(self)


async def _transmit(self: Any) -> None:
    if (
        self._forward_tsn_chunk is not None
        or self._fast_recovery_exit is not None
        or getattr(self, "_some_marked", False)
    ):
        await _original_transmit(self)
        self._some_marked = any(chunk._retransmit for chunk in self._sent_queue)
        return
    outbound, sent = self._outbound_queue, self._sent_queue
    window = min(self._flight_size + BURST_PACKETS * sctp.USERDATA_MAX_LENGTH, self._cwnd)
    now = time.time()  # noqa: TID251 - what aiortc compares it with is of the same clock
    burst = []
    while outbound and self._flight_size < window:
        chunk = outbound.popleft()
        sent.append(chunk)
        chunk._in_flight = True
        self._flight_size += chunk._book_size
        chunk._sent_count += 1
        chunk._sent_time = now
        burst.append(chunk)
    if not burst:
        return
    _send_data(self, burst)
    if not self._t3_handle:
        self._t3_start()


async def _send(
    self: Any,
    stream_id: int,
    pp_id: int,
    user_data: bytes,
    expiry: float | None = None,
    max_retransmits: int | None = None,
    ordered: bool = True,
) -> None:
    if expiry is not None or max_retransmits is not None or not ordered:
        await _original_send(self, stream_id, pp_id, user_data, expiry, max_retransmits, ordered)
        return
    sequence, size, tsn = self._outbound_stream_seq.get(stream_id, 0), sctp.USERDATA_MAX_LENGTH, self._local_tsn
    queue = self._outbound_queue
    for at in range(0, len(user_data), size):
        chunk = sctp.DataChunk(sctp.SCTP_DATA_FIRST_FRAG if at == 0 else 0)
        chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol = tsn, stream_id, sequence, pp_id
        chunk.user_data = user_data[at : at + size]
        chunk._book_size = len(chunk.user_data)
        queue.append(chunk)
        tsn = (tsn + 1) % _MODULO
    chunk.flags |= sctp.SCTP_DATA_LAST_FRAG
    self._local_tsn = tsn
    self._outbound_stream_seq[stream_id] = (sequence + 1) % 2**16
    await self._transmit()


_FRESH = {
    "_abandoned": False,
    "_acked": False,
    "_expiry": None,
    "_in_flight": False,
    "_max_retransmits": None,
    "_misses": 0,
    "_retransmit": False,
    "_sent_count": 0,
    "_sent_time": None,
}
"""What aiortc notes of each chunk before it is sent; here the class has it."""


async def _send_chunk(self: Any, chunk: Any) -> None:
    if type(chunk) is sctp.DataChunk:
        _send_data(self, (chunk,))
        return
    pair = _pair(self)
    if pair is not None:
        packet = _COMMON.pack(self._local_port, self._remote_port, self._remote_verification_tag)
        size = _encrypt(self.transport, packet + _NO_CHECKSUM + bytes(chunk), 0)
        pair.protocol.transport.sendto(bytes(_records_bytes[:size]), pair.remote_addr)


def _send_data(self: Any, chunks: Sequence[Any]) -> None:
    """Each chunk in a packet; packets of one size, and a shorter one behind them, leave together."""
    pair = _pair(self)
    if pair is None:
        return
    below, carrier, address = self.transport, pair.protocol.transport, pair.remote_addr
    local, remote, tag = self._local_port, self._remote_port, self._remote_verification_tag
    start = end = size = 0
    for chunk in chunks:
        data = chunk.user_data
        length = 16 + len(data)
        head = _PACKET.pack(
            local, remote, tag, 0, 0, chunk.flags, length, chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol
        )
        more = _encrypt(below, head + data + _PADDING[length % 4], end)
        if more > size and end > start:
            udp_batch.send(carrier, _records_bytes[start:end], size, address)
            start = end
        if end == start:
            size = more
        end += more
        if more < size or end - start >= size * udp_batch.SEGMENTS_MAX or end > _RECORDS_FULL:
            udp_batch.send(carrier, _records_bytes[start:end], size, address)
            start = end = 0
    if end > start:
        udp_batch.send(carrier, _records_bytes[start:end], size, address)


def _pair(self: Any) -> Any:
    """Where packets go; None when the transport has gone."""
    below = self.transport
    return below.transport._connection._nominated.get(1) if below._state is dtls.State.CONNECTED else None


def _encrypt(below: Any, packet: bytes, at: int) -> int:
    """Put one packet, with its checksum (RFC 9260 section 6.8), as a record into `_records`; its size, 0 for none."""
    size = len(packet)
    _plain_bytes[:size] = packet
    _CHECKSUM.pack_into(_plain_bytes, _CHECKSUM_AT, crc32c(packet))
    connection = below._ssl
    if _openssl.SSL_write(connection._ssl, _plain, size) <= 0:
        _openssl.ERR_clear_error()
        return 0
    made: int = max(0, _openssl.BIO_read(connection._from_ssl, _records + at, _PACKET_MAX))
    below._RTCDtlsTransport__tx_bytes += made
    below._RTCDtlsTransport__tx_packets += 1
    return made
