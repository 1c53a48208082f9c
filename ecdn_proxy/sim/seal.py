"""A cheap seal: a keyed hash of 64 bytes where the product signs with Ed25519.

Everybody could forge everybody's; no simulated host does. A polluter sends bytes that do not match its vouchers.
"""

from functools import lru_cache
from hashlib import blake2b

from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import Voucher

TENANT = "simulated"


@lru_cache(maxsize=4_096)
def _expected(signer: str, data: bytes) -> bytes:
    return blake2b(data, key=signer.encode(), digest_size=64).digest()


class QuickSeal:
    """One device's."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.tenant = TENANT
        self._certificate = device.encode() + bytes(600)

    def sign(self, data: bytes) -> bytes:
        """A tag of the data."""
        return _expected(self.device, data)

    def certificate(self) -> bytes:
        """As long as a real one."""
        return self._certificate

    def check(self, voucher: Voucher) -> None:
        """See `ecdn_proxy.core.download.assembly.Seal`."""
        if _expected(voucher.signer, voucher.signed_bytes(TENANT)) != voucher.signature:
            raise PeerMisbehaved("a voucher with a wrong signature")
