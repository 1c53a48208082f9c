"""A cheap seal: a keyed hash of 64 bytes where the product signs with Ed25519.

Every host could forge every other's signature, and no simulated host does: a polluter sends bytes that do not match
the vouchers which it passes on.
"""

from functools import lru_cache
from hashlib import blake2b

from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PartVoucher, Voucher

TENANT = "simulated"


@lru_cache(maxsize=4_096)
def _expected(signer: str, data: bytes) -> bytes:
    return blake2b(data, key=signer.encode(), digest_size=64).digest()


class QuickSeal:
    """One device's seal, as `ecdn_proxy.core.seal.Seal` has it."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.tenant = TENANT
        self._certificate = device.encode() + bytes(600)

    def sign(self, data: bytes) -> bytes:
        """The tag of the data under the device's name, 64 bytes."""
        return _expected(self.device, data)

    def certificate(self) -> bytes:
        """The device's name, padded to the length of a real certificate."""
        return self._certificate

    def check(self, voucher: Voucher | PartVoucher) -> None:
        """Check the tag of a voucher.

        Raises:
            PeerMisbehaved: the tag is not the signer's.
        """
        if _expected(voucher.signer, voucher.signed_bytes(TENANT)) != voucher.signature:
            raise PeerMisbehaved("a voucher with a wrong signature")
