"""mDNS packets that anybody on the link could send.

with Forger(address) as forger: forger.announce(info, ttl)
"""

import socket
from typing import Self

from zeroconf import DNSOutgoing, ServiceInfo  # type: ignore[attr-defined]  # there, but not listed

_RESPONSE = 0x8400


class Forger:
    """A socket that sends multicast from `address`."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        self._socket.bind((address, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def announce(self, info: ServiceInfo, ttl: int = 1_200, identity: int = 0) -> None:
        out = DNSOutgoing(_RESPONSE)
        out.id = identity
        for record in (info.dns_pointer(ttl), info.dns_service(ttl), info.dns_text(ttl), *info.dns_addresses(ttl)):
            out.add_answer_at_time(record, 0)
        for packet in out.packets():
            self._socket.sendto(packet, ("224.0.0.251", 5353))
