"""The origin where the laboratory has it: in a namespace that lets a socket hold little unsent (`net`)."""

import asyncio
import contextlib
import random
import socket
import ssl
import time
from pathlib import Path

import pytest

from tests.demo import pki
from tests.lab.inside import Inside
from tests.lab.net import ORIGIN, NetPlan, SitePlan
from tests.lab.office import Office, OfficePlan

pytestmark = pytest.mark.office

LEAVING = 40
ANSWER_WITHIN_SECONDS = 30.0
"""A connection that was taken along is never answered."""


class Visitor:
    """One TLS connection from a host; blocking, so to be used in a thread."""

    def __init__(self, namespace: str, ca: Path, receive_bytes: int = 65_536) -> None:
        with Inside(namespace).entered():
            made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        made.settimeout(ANSWER_WITHIN_SECONDS)
        made.connect((ORIGIN, 443))
        self._tls = ssl.create_default_context(cafile=ca).wrap_socket(made, server_hostname=pki.ORIGIN)

    def ask(self, path: str) -> bytes:
        """The beginning of the answer."""
        self._tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {pki.ORIGIN}\r\n\r\n".encode())
        return self._tls.recv(100)

    def say_goodbye(self) -> None:
        """TLS's close_notify, and no word to TCP: so an HTTP client lets go of a body that it no longer wants."""
        self._tls.settimeout(0)
        with contextlib.suppress(OSError):
            self._tls.unwrap()

    def take(self, dice: random.Random) -> None:
        """Read on for a little, in bites of every size."""
        with socket.socket(fileno=self._tls.detach()) as bare, contextlib.suppress(OSError):
            bare.settimeout(0.05)
            for _ in range(dice.choice([3, 30, 400])):
                if not bare.recv(dice.choice([1_000, 3_000, 9_000, 20_000])):
                    return

    def close(self) -> None:
        self._tls.close()


def leave_in_the_middle(namespace: str, ca: Path, dice: random.Random) -> None:
    visitor = Visitor(namespace, ca, dice.choice([16_384, 32_768, 65_536, 262_144]))
    visitor.ask(f"/files/big.bin?bytes={dice.choice([120_000, 200_000, 400_000, 800_000, 1_500_000])}")
    time.sleep(0.05)  # until the origin has as much on its way as it may
    visitor.say_goodbye()
    visitor.take(dice)


def ask_for_the_time(namespace: str, ca: Path) -> bytes:
    visitor = Visitor(namespace, ca)
    try:
        return visitor.ask("/time")
    finally:
        visitor.close()


@pytest.mark.asyncio
async def test_whoever_leaves_in_the_middle_of_a_body_takes_nobodys_connection_along() -> None:
    """The loop of CPython 3.13.0 never reads a connection that got the file descriptor of such a one."""
    plan = OfficePlan(NetPlan((SitePlan("a", 1),)), agents=False)
    async with Office(plan) as office:
        namespace, ca = office.net.host("a1").namespace, office.directory / "pki" / "origin-ca.pem"
        dice = random.Random(1)
        for _ in range(LEAVING):
            await asyncio.to_thread(leave_in_the_middle, namespace, ca, dice)
            assert (await asyncio.to_thread(ask_for_the_time, namespace, ca)).startswith(b"HTTP/1.1 200 ")
        log = (office.directory / "origin.log").read_text()
    assert "Exception in callback" not in log
