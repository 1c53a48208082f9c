"""Sockets in another network namespace, from one process: a socket stays where it was made.

Map:
    Inside(namespace)    .socket_factory for aiohttp; .entered() for code that makes its sockets at once
    session              an aiohttp session whose connections all start in a namespace
"""

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator, Mapping

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver

from tests.demo.viewer import FixedResolver

_WHERE = "/run/netns/{}"


class Inside:
    """A door into a namespace. Threads have their own namespace, so nothing else of this process moves."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Never await in here: another task of the loop would make its sockets there too."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(_WHERE.format(self.namespace), os.O_RDONLY)
            try:
                os.setns(there, os.CLONE_NEWNET)
            finally:
                os.close(there)
            try:
                yield
            finally:
                os.setns(home, os.CLONE_NEWNET)
        finally:
            os.close(home)

    def socket_factory(self, address: AddrInfoType) -> socket.socket:
        with self.entered():
            made = socket.socket(address[0], address[1], address[2])
        made.setblocking(False)
        return made


def session(
    namespace: str, *, addresses: Mapping[str, str], context: ssl.SSLContext | None = None, total: float = 20
) -> aiohttp.ClientSession:
    """Names by a list: the hosts file of the namespace is not this process's."""
    resolver: AbstractResolver = FixedResolver(dict(addresses))
    connector = aiohttp.TCPConnector(
        resolver=resolver, ssl=context or True, socket_factory=Inside(namespace).socket_factory
    )
    timeout = aiohttp.ClientTimeout(total=total, sock_connect=5)
    return aiohttp.ClientSession(connector=connector, timeout=timeout)
