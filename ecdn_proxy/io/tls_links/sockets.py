"""Sockets between agents: where they may lead, how they are made, and what their errors mean.

allowed(address, networks)      whether an address lies in one of the networks
listening(host, port)           a socket that listens
towards(address, own)           a socket that will dial `address` from `own`
why(error)                      what an error means, in a sentence for the helpdesk
"""

import os
import socket
import ssl
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from ecdn_proxy.wire.faults import Unavailable

Networks = Sequence[IPv4Network | IPv6Network]

_BACKLOG = 64
"""Connections that the system keeps until they are accepted."""


def allowed(address: str, networks: Networks) -> bool:
    """Whether `address` lies in one of the networks; a text that is no literal address lies in none."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(known in network for network in networks if network.version == known.version)


def listening(host: str, port: int) -> socket.socket:
    """A non-blocking socket that listens.

    Raises:
        Unavailable: the port is taken, or the address is not one of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere the option lets two programs share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise Unavailable(f"cannot listen for other agents on {host}:{port}: {error.strerror}") from error
    return made


def towards(address: str, own: str) -> socket.socket | None:
    """A non-blocking socket for dialling `address`.

    It is bound to `own`, so that several agents on one machine can be told apart, unless `own` is "any address".
    None when nothing can be dialled from `own`: it is of the other IP version, or no longer this machine's.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    here = ip_address(own)
    if not here.is_unspecified and (here.version == 6) != (family == socket.AF_INET6):
        return None
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not here.is_unspecified:
            made.bind((own, 0))
    except OSError:
        made.close()
        return None
    return made


def why(error: OSError) -> str:
    """Why a connection, or its TLS handshake, came to nothing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not one of this tenant: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason}"
    if isinstance(error, TimeoutError):
        return "no TLS handshake in time"
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
