"""The messages by which two agents arrange a WebRTC link where TCP does not connect them.

    Call      the device with the higher id asks the lower one to dial: only the lower dials, so two offers never cross
    Offer     from the lower id: its session description (RFC 8866), signed
    Answer    from the higher id: its own description, signed and bound to the offer's nonce
    Bye       from either: this attempt is over, and why
    Undeliverable   from the switchboard to a sender: the other agent did not get the message, and why

The coordinator's switchboard passes them on inside the agents' WebSockets (`wire/tracker`). It looks at `sender`, `to`
and the size only and stores nothing. The device's signing key signs `signed_bytes`: whoever passes a message on can
drop it but cannot change it. docs/protocol/signalling.md is made from the tables `STEPS` and `CODES`.
"""

from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids
from ecdn_proxy.wire.peer import Contact

SDP_CHARACTERS_MAX = 16_384
"""The most characters of a session description. One for a data channel with eight host candidates has 1.5 KB; a
browser's with everything that browsers write has 5 KB."""
NONCE_BYTES = 16

Attempt = Annotated[str, Meta(min_length=16, max_length=32, pattern="^[0-9a-f]+$")]
"""The name of one attempt to make a link, chosen by whoever begins; all messages of the attempt carry it."""
Sdp = Annotated[str, Meta(min_length=1, max_length=SDP_CHARACTERS_MAX)]
Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Certificate = Annotated[bytes, Meta(min_length=1, max_length=4_096)]
Code = Literal["unknown-device", "other-site", "no-common-stream", "sharing-off", "too-many", "not-you"]


class Signal(msgspec.Struct, frozen=True, array_like=True):
    """Base of the messages that two agents exchange through the switchboard."""

    to: ids.Device
    sender: ids.Device
    """The device at whose socket the message comes in; the switchboard refuses a message with another sender."""
    attempt: Attempt


class Call(Signal, frozen=True, tag=40):
    """The device with the higher id asks the lower one to dial. At `contact` TCP may be tried first."""

    contact: Contact


class Offer(Signal, frozen=True, tag=41):
    """From the lower id: its session description, signed."""

    sdp: Sdp
    nonce: Nonce
    expires_utc: float
    signature: Signature
    certificate: Certificate

    def signed_bytes(self, tenant: str, fingerprint: str, ufrag: str) -> bytes:
        """The bytes that are signed. `fingerprint` (DTLS) and `ufrag` (ICE) are those that stand in `sdp`."""
        return _claim("offer", tenant, self, fingerprint, ufrag)


class Answer(Signal, frozen=True, tag=42):
    """From the higher id: its session description, signed. `nonce` is the offer's, so it answers no other offer."""

    sdp: Sdp
    nonce: Nonce
    expires_utc: float
    signature: Signature
    certificate: Certificate

    def signed_bytes(self, tenant: str, fingerprint: str, ufrag: str) -> bytes:
        """The bytes that are signed. `fingerprint` (DTLS) and `ufrag` (ICE) are those that stand in `sdp`."""
        return _claim("answer", tenant, self, fingerprint, ufrag)


class Bye(Signal, frozen=True, tag=43):
    """This attempt is over. Links that are open stay open."""

    why: ids.Sentence


class Undeliverable(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """From the switchboard, to the sender of a message that the switchboard does not pass on."""

    to: ids.Device
    attempt: Attempt
    code: Code
    why: ids.Sentence


Description = Offer | Answer
Relayed = Call | Offer | Answer | Bye


def _claim(kind: str, tenant: str, message: Description, fingerprint: str, ufrag: str) -> bytes:
    claim = (
        f"ecdn webrtc {kind} 1",
        tenant,
        message.sender,
        message.to,
        message.attempt,
        message.nonce,
        message.expires_utc,
        fingerprint,
        ufrag,
        sha256(message.sdp.encode()).digest(),
    )
    return msgspec.msgpack.encode(claim)


STEPS: tuple[tuple[str, str, str, str], ...] = (
    (
        "higher",
        "lower",
        "Call",
        "only when the higher id wants the link; the lower one tries TCP once more, then dials",
    ),
    (
        "lower",
        "higher",
        "Offer",
        "host candidates of the chosen interfaces, DTLS fingerprint, ufrag, nonce, expiry; signed",
    ),
    ("higher", "higher", "check", "certificate of this tenant, signature, expiry, nonce not seen before; else Bye"),
    ("higher", "lower", "Answer", "the same for the other half, with the offer's nonce; signed"),
    ("lower", "lower", "check", "the same checks; only then is the remote description set"),
    (
        "lower",
        "higher",
        "ICE, DTLS",
        "straight between the two; each compares the certificate with the signed fingerprint",
    ),
    ("lower", "higher", "Hello", "on the data channel; before it nothing that arrives there is believed"),
    ("higher", "lower", "Hello", "the link counts now, on both sides"),
)
"""An attempt that succeeds, step by step: from, to, what, how. `Bye` or `Undeliverable` may end it at any step."""

CODES: dict[Code, str] = {
    "unknown-device": "no such device is connected to the coordinator",
    "other-site": "the two are not of one site; no rule lets them meet",
    "no-common-stream": "they watch no stream in common",
    "sharing-off": "sharing is off for one of them (site map, VPN, metered)",
    "too-many": "the sender has said more than any agent needs",
    "not-you": "the message names another sender than the device that sent it; an audit line is written",
}
"""The meaning of each `Undeliverable.code`."""
