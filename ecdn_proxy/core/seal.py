"""The door to signing keys, which the core is given: those of an enrolled device, or a test's.

The core asks it for this device's signature and certificate, and whether another device's signature holds.
"""

from typing import Protocol

from ecdn_proxy.wire.integrity import PartVoucher, Voucher


class Seal(Protocol):
    """Signs for this device and checks what other devices have signed. `device` and `tenant` are this device's ids."""

    device: str
    tenant: str

    def sign(self, data: bytes) -> bytes:
        """This device's Ed25519 signature of `data` (RFC 8032), 64 bytes."""
        ...

    def certificate(self) -> bytes:
        """This device's X.509 certificate, DER; it holds the public key that checks what `sign` returns."""
        ...

    def check(self, voucher: Voucher | PartVoucher) -> None:
        """Check the certificate and the signature of a voucher, whoever signed it.

        Raises:
            PeerMisbehaved: the certificate or the signature is wrong.
        """
        ...
