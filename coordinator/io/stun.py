"""Tells an agent behind NAT its outer address: STUN binding requests and nothing else (RFC 8489; library: aioice).

    StunResponder(host, port)     start() close()     port, answered, ignored

A request gets one answer of about its own size (XOR-MAPPED-ADDRESS, FINGERPRINT), so that nobody gains by forging its
source. A datagram that is no binding request of at most `REQUEST_BYTES_MAX` is not answered. Who asked is neither
logged nor kept.
"""

import asyncio
from typing import Any

from aioice import stun

REQUEST_BYTES_MAX = 576
"""What certainly passes unfragmented (RFC 8489 section 6.1); a binding request takes 20 to 100 bytes."""
_HEADER_BYTES = 20


class StunResponder(asyncio.DatagramProtocol):
    """One UDP socket that answers binding requests; `answered` and `ignored` count datagrams."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self.port = port
        self.answered = 0
        self.ignored = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._gone: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Answer from now on; `port` is afterwards the one that is really listened on.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._gone = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self._host, self.port))
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    async def close(self) -> None:
        """Close the socket and wait until it is gone."""
        if self._transport is not None and self._gone is not None:
            self._transport.close()
            await self._gone

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        """Answer a datagram if it is a binding request."""
        answer = answer_to(data, (address[0], address[1]))
        if answer is None or self._transport is None:
            self.ignored += 1
            return
        self.answered += 1
        self._transport.sendto(answer, address)

    def error_received(self, error: Exception) -> None:
        """An answer could not be delivered: whoever asked has gone, and nothing is to be done."""


def answer_to(data: bytes, address: tuple[str, int]) -> bytes | None:
    """The answer to a datagram from `address`; None when it gets none."""
    if not _HEADER_BYTES <= len(data) <= REQUEST_BYTES_MAX or data[0] > 3:
        return None
    try:
        request = stun.parse_message(data)
    except Exception:  # a parser of strangers' bytes raises many kinds
        return None
    if request.message_method != stun.Method.BINDING or request.message_class != stun.Class.REQUEST:
        return None
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
    answer.attributes["XOR-MAPPED-ADDRESS"] = address
    answer.add_fingerprint()
    return bytes(answer)
