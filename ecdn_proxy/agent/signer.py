"""This device's signature, and its knowledge of the others': the core's `Seal` out of the identity on disk."""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ecdn_proxy.io.identity import Identity, signing_key_of
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.integrity import Voucher

VOUCHER_GRACE_S = 7 * 86_400.0
"""A replay serves what was vouched for while the signer's day-long certificate was valid."""


class DeviceSeal:
    """Signs with the enrolled device's key and checks certificates against the tenant root."""

    def __init__(self, identity: Identity, utc: Callable[[], float]) -> None:
        self.device = identity.device
        self.tenant = identity.tenant
        self.identity = identity
        self._utc = utc

    def renewed(self, identity: Identity) -> None:
        """Go on with new keys."""
        self.identity = identity

    def sign(self, data: bytes) -> bytes:
        """Ed25519 (RFC 8032), 64 bytes."""
        return self.identity.sign(data)

    def certificate(self) -> bytes:
        """This device's certificate, DER."""
        return self.identity.certificate_der

    def check(self, voucher: Voucher) -> None:
        """See `ecdn_proxy.core.download.assembly.Seal`."""
        signer = self._signer(voucher)
        try:
            signer.verify(voucher.signature, voucher.signed_bytes(self.tenant))
        except InvalidSignature:
            raise PeerMisbehaved(f"a voucher with a wrong signature of {voucher.signer[:8]}") from None

    def _signer(self, voucher: Voucher) -> Ed25519PublicKey:
        device, key = signing_key_of(
            voucher.certificate, self.identity.tenant_root_der, self._utc(), grace_s=VOUCHER_GRACE_S
        )
        if device != voucher.signer:
            raise PeerMisbehaved(f"a voucher of {voucher.signer[:8]} with the certificate of {device[:8]}")
        return key


class LonelySeal:
    """For a machine that is not enrolled: its cache needs vouchers, but nobody will ever see them."""

    device = "not-enrolled"
    tenant = "none"

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign(self, data: bytes) -> bytes:
        """Ed25519 with a key of this process."""
        return self._key.sign(data)

    def certificate(self) -> bytes:
        """There is none."""
        return b""

    def check(self, voucher: Voucher) -> None:
        """Nobody's voucher counts here."""
        raise PeerMisbehaved(f"a voucher of {voucher.signer[:8]} on a machine that is not enrolled")
