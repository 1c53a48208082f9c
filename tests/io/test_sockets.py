import ssl
import subprocess
import sys
from ipaddress import ip_network

import pytest

from ecdn_proxy.io.sockets import DESCRIPTORS, allowed, towards, why

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


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are not counted there")
@pytest.mark.parametrize(
    ("soft", "hard", "then"), [(64, 4_096, 4_096), (64, 1_000_000, DESCRIPTORS), (9_000, 9_000, 9_000)]
)
def test_the_limit_of_open_files_is_lifted_as_far_as_it_may(soft: int, hard: int, then: int) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    if hard > resource.getrlimit(resource.RLIMIT_NOFILE)[1]:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        then = min(then, hard)
    program = (
        "import resource; from ecdn_proxy.io.sockets import raise_descriptor_limit as lift; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); lift(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert int(out) == then
