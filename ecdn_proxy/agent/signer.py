"""This device's signatures, and its judgement of the others': two `core.seal.Seal`s.

DeviceSeal(identity, utc)      of an enrolled device: its key, and the tenant's root for those of others
LonelySeal()                   of a machine that is not enrolled: nobody else will see what it signs
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ecdn_proxy.io.identity import Identity, signing_key_of
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import PartVoucher, Voucher

VOUCHER_GRACE_S = 7 * 86_400.0
"""A certificate lasts a day; a segment may be watched again later, and its vouchers must still count."""


class DeviceSeal:
    """Signs with the enrolled device's key, and checks those of others against the tenant's root."""

    def __init__(self, identity: Identity, utc: Callable[[], float]) -> None:
        self.device = identity.device
        self.tenant = identity.tenant
        self.identity = identity
        self._utc = utc

    def renewed(self, identity: Identity) -> None:
        """Sign with the keys of a renewed identity from now on."""
        self.identity = identity

    def sign(self, data: bytes) -> bytes:
        """Sign with Ed25519 (RFC 8032); the signature has 64 bytes."""
        return self.identity.sign(data)

    def certificate(self) -> bytes:
        """This device's certificate, as DER."""
        return self.identity.certificate_der

    def check(self, voucher: Voucher | PartVoucher) -> None:
        """Check who signed a voucher, and that the signature is right.

        Raises:
            PeerMisbehaved: the signature is wrong, or the certificate is not of the signer or of this tenant.
        """
        signer = self._signer(voucher)
        try:
            signer.verify(voucher.signature, voucher.signed_bytes(self.tenant))
        except InvalidSignature:
            raise PeerMisbehaved(f"a voucher with a wrong signature of {voucher.signer[:8]}") from None

    def _signer(self, voucher: Voucher | PartVoucher) -> Ed25519PublicKey:
        device, key = signing_key_of(
            voucher.certificate, self.identity.tenant_root_der, self._utc(), grace_s=VOUCHER_GRACE_S
        )
        if device != voucher.signer:
            raise PeerMisbehaved(f"a voucher of {voucher.signer[:8]} with the certificate of {device[:8]}")
        return key


class LonelySeal:
    """For a machine that is not enrolled: its own cache needs vouchers, but nobody else will ever see them."""

    device = "not-enrolled"
    tenant = "none"

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign(self, data: bytes) -> bytes:
        """Sign with an Ed25519 key that this process has made."""
        return self._key.sign(data)

    def certificate(self) -> bytes:
        """No bytes: there is no certificate."""
        return b""

    def check(self, voucher: Voucher | PartVoucher) -> None:
        """Refuse it: nobody else's voucher counts here.

        Raises:
            PeerMisbehaved: always.
        """
        raise PeerMisbehaved(f"a voucher of {voucher.signer[:8]} on a machine that is not enrolled")
