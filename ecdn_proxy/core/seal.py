"""A device's signature and its knowledge of others', injected into the core: real keys, or a test's."""

from typing import Protocol

from ecdn_proxy.wire.integrity import Voucher


class Seal(Protocol):
    """Who this device is and whose signatures it can check."""

    device: str
    tenant: str

    def sign(self, data: bytes) -> bytes:
        """Ed25519 signature by this device."""
        ...

    def certificate(self) -> bytes:
        """This device's certificate, DER."""
        ...

    def check(self, voucher: Voucher) -> None:
        """Check certificate and signature of a voucher.

        Raises:
            PeerMisbehaved: either is wrong.
        """
        ...
