"""Session descriptions that two agents send each other through the coordinator: signed, and checked before any use.

    SignedDescriptions(tenant, device, identity, utc)
        sign(kind, to, attempt, sdp, nonce)    an Offer or Answer
        check(message)                         raises unless it is what its sender has said
        identity                               whose key signs from now on

A device signs fingerprint, ufrag, both device ids, nonce and expiry of its description. A description is good if it
carries a certificate of this tenant and a signature by that certificate's key, if its time is not over, and, for an
offer, if it was not seen before.
"""

from collections import OrderedDict
from collections.abc import Callable

import msgspec
from cryptography.exceptions import InvalidSignature

from ecdn_proxy.io.identity import Identity, signing_key_of
from ecdn_proxy.io.webrtc import ice
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.signalling import Answer, Description, Offer

EXPIRY_S = 60.0
"""A description is good for this long; clocks of two machines may differ by as much, either way."""
NONCES_MAX = 4_096
"""Offers that are remembered, so that none is taken twice."""


class SignedDescriptions:
    """What this device says, and what it takes from others."""

    def __init__(self, tenant: str, device: str, identity: Identity, utc: Callable[[], float]) -> None:
        self._tenant = tenant
        self._device = device
        self._utc = utc
        self._nonces: OrderedDict[bytes, float] = OrderedDict()
        self.identity = identity
        """Signs from now on."""

    def sign[D: (Offer, Answer)](self, kind: type[D], to: str, attempt: str, sdp: str, nonce: bytes) -> D:
        """The message that says `sdp` to the device `to`."""
        identity = self.identity
        expires = self._utc() + EXPIRY_S
        blank = kind(to, self._device, attempt, sdp, nonce, expires, bytes(64), identity.certificate_der)
        said = ice.read_sdp(sdp)
        signature = identity.sign(blank.signed_bytes(self._tenant, said.fingerprint, said.ufrag))
        return msgspec.structs.replace(blank, signature=signature)

    def check(self, message: Description) -> None:
        """Raise unless the sender has said this, to this device, lately and (an offer) for the first time.

        Raises:
            PeerMisbehaved: the description was changed, is too old or too new, or was used before.
        """
        utc = self._utc()
        device, key = signing_key_of(message.certificate, self.identity.tenant_root_der, utc)
        if device != message.sender:
            raise PeerMisbehaved(f"a description with the certificate of {device[:8]}")
        said = ice.read_sdp(message.sdp)
        try:
            key.verify(message.signature, message.signed_bytes(self._tenant, said.fingerprint, said.ufrag))
        except InvalidSignature:
            raise PeerMisbehaved("a description that its device has not signed; it was changed on its way") from None
        if message.expires_utc <= utc:
            raise PeerMisbehaved(f"a description that expired {utc - message.expires_utc:.0f} s ago; is a clock wrong?")
        if message.expires_utc > utc + 2 * EXPIRY_S:
            raise PeerMisbehaved("a description from the future; is a clock wrong?")
        if isinstance(message, Offer):
            self._only_once(message.nonce, utc)

    def _only_once(self, nonce: bytes, utc: float) -> None:
        if nonce in self._nonces:
            raise PeerMisbehaved("an offer that has been made before")
        while self._nonces and next(iter(self._nonces.values())) < utc - 3 * EXPIRY_S:
            self._nonces.popitem(last=False)
        if len(self._nonces) >= NONCES_MAX:
            raise PeerMisbehaved("more offers than an office makes")
        self._nonces[nonce] = utc
