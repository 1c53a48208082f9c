import ssl
from ipaddress import ip_network

import pytest

from ecdn_proxy.io.tls_links.sockets import allowed, towards, why

NETWORKS = [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]


@pytest.mark.parametrize("address", ["10.1.2.3", "fe80::1", "fe80::1%eth0"])
def test_allowed(address: str) -> None:
    assert allowed(address, NETWORKS)


@pytest.mark.parametrize("address", ["11.1.2.3", "::1", "office", "", "10.0.0.0/8"])
def test_not_allowed(address: str) -> None:
    assert not allowed(address, NETWORKS)


def test_a_dial_leaves_from_the_listening_address() -> None:
    made = towards("127.0.0.3", "127.0.0.2")
    assert made is not None
    with made:
        assert made.getsockname()[0] == "127.0.0.2"


def test_a_dial_leaves_from_anywhere_when_listening_anywhere() -> None:
    made = towards("127.0.0.3", "0.0.0.0")
    assert made is not None
    made.close()


def test_addresses_that_cannot_be_reached_from_there() -> None:
    assert towards("::1", "127.0.0.2") is None
    assert towards("127.0.0.3", "192.0.2.222") is None


def test_errors_are_sentences() -> None:
    assert why(ConnectionRefusedError(111, "x")) == "Connection refused"
    assert why(TimeoutError()) == "no TLS handshake in time"
    assert why(ConnectionResetError()) == "ConnectionResetError"
    error = ssl.SSLCertVerificationError("no")
    error.verify_message = "unable to get issuer"
    assert why(error) == "its certificate is not one of this tenant: unable to get issuer"
