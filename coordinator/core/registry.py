"""Who belongs to the tenant: tokens, devices, their certificates, and who is refused.

    judge_token(token, remote, utc)     may this token enrol a device now?
    Registry.admit / may_renew          may this device connect, or renew? The Device as it is now, or a Refusal
    Registry.add / renewed              a device has been enrolled, or has a new certificate
    Registry.deny / allow               a decision of IT; `denied(utc)` is the set of devices that agents are told

Certificates are told apart by their SHA-256 (`fingerprint`). A device has one live certificate. Renewal replaces it,
and the one before may be used only until the new one has been seen, so that a renewal whose answer was lost can be
asked for again. The old one seen *after* the new one means that two machines carry one identity (a cloned image); both
are suspended until they enrol anew.
"""

import hashlib
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Literal

import msgspec

from coordinator.core import limits
from coordinator.core.sites import Address

TOKEN_BYTES = 16
"""128 bits: a token cannot be guessed within any rate limit."""

CLONED = "suspended-two-keys"
"""Code of the refusal of a device of which two copies exist."""


class Token(msgspec.Struct, frozen=True):
    """What is stored of an enrolment token: its hash and its limits, not the token itself."""

    digest: str
    expires_utc: float
    uses_max: int
    uses: int
    networks: str = ""
    """Networks (CIDR, with spaces between) that the machines must come from; empty: anywhere."""


class Device(msgspec.Struct, frozen=True):
    """One enrolled machine. The fields are the columns of its row in the database."""

    device: str
    enrolled_utc: float
    version: str
    key: str
    """Fingerprint of its live certificate."""
    key_seen: bool
    """Has the machine used that certificate, so that it surely holds it?"""
    former: str
    """Fingerprint of the certificate before it; "" at first."""
    ends_utc: float
    state: Literal["live", "denied", "suspended"] = "live"
    why: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why a device or a token is refused, in a sentence that the helpdesk reads."""

    code: str
    why: str
    suspended: Device | None = None
    """The device, when this very request has shown that two copies of it exist; the caller must store it."""


def digest_of(token: str) -> str:
    """The SHA-256 under which a token is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def judge_token(token: Token | None, remote: Address, utc: float) -> Refusal | None:
    """Why `token` may not enrol a device that comes from `remote`; None when it may."""
    if token is None:
        return Refusal("token-unknown", "this token is unknown; ask IT for a new one")
    if utc >= token.expires_utc:
        return Refusal("token-expired", "this token has expired; ask IT for a new one")
    if token.uses >= token.uses_max:
        return Refusal(
            "token-used-up", f"this token has been used {token.uses} times, as often as it may; ask IT for another"
        )
    networks = token.networks.split()
    if networks and not any(remote in ip_network(network) for network in networks):
        return Refusal("token-elsewhere", f"this token is for {token.networks}; this machine comes from {remote}")
    return None


class Registry:
    """All devices of one tenant, in memory; the caller stores what has changed."""

    def __init__(self, devices: Iterable[Device], grace_s: float) -> None:
        self._devices = {device.device: device for device in devices}
        self._grace_s = grace_s

    def __len__(self) -> int:
        return len(self._devices)

    def get(self, device: str) -> Device | None:
        """The device of that UUID."""
        return self._devices.get(device)

    def add(self, device: Device) -> None:
        """A new device has been enrolled; its token was judged and counted before."""
        self._put(device)

    def admit(self, device: str, fingerprint: str, ends_utc: float, utc: float) -> Device | Refusal:
        """May a device connect with this certificate? TLS has verified it, but not when it ends."""
        found = self._judge(device, fingerprint)
        if isinstance(found, Refusal):
            return found
        if utc >= ends_utc:
            return Refusal("certificate-ended", "this certificate has ended; the agent must renew it first")
        return self._note_use(found, fingerprint)

    def may_renew(self, device: str, fingerprint: str, ends_utc: float, utc: float) -> Device | Refusal:
        """May a device that shows this certificate have a new one?"""
        found = self._judge(device, fingerprint)
        if isinstance(found, Refusal):
            return found
        if utc >= ends_utc + self._grace_s:
            days = self._grace_s / 86_400
            return Refusal(
                "grace-over", f"this certificate ended more than {days:g} days ago; enrol again with a token"
            )
        return self._note_use(found, fingerprint)

    def renewed(self, device: str, old: str, new: str, ends_utc: float, version: str) -> Device:
        """A new certificate has been made for `device`: fingerprints of the one it showed and of the new one."""
        found = self._devices[device]
        return self._put(
            msgspec.structs.replace(found, key=new, key_seen=False, former=old, ends_utc=ends_utc, version=version)
        )

    def deny(self, device: str, why: str) -> Device | None:
        """Refuse a device from now on; None when there is no such device."""
        found = self._devices.get(device)
        return None if found is None else self._put(msgspec.structs.replace(found, state="denied", why=why))

    def allow(self, device: str) -> Device | None:
        """Take a device back, with the certificate that it has; None when there is no such device."""
        found = self._devices.get(device)
        if found is None:
            return None
        return self._put(msgspec.structs.replace(found, state="live", why=""))

    def denied(self, utc: float) -> tuple[str, ...]:
        """The devices that no agent may speak to: those refused whose certificates other agents might still accept."""
        refused = [d for d in self._devices.values() if d.state != "live" and utc < d.ends_utc + self._grace_s]
        refused.sort(key=lambda d: -d.ends_utc)
        return tuple(sorted(d.device for d in refused[: limits.DENIED_MAX]))

    def suspended(self) -> list[Device]:
        """Devices of which two copies exist."""
        return [d for d in self._devices.values() if d.state == "suspended"]

    def _judge(self, device: str, fingerprint: str) -> Device | Refusal:
        """The device, if it is known, live, and shows the certificate that it should have."""
        found = self._devices.get(device)
        if found is None:
            return Refusal("unknown-device", "this device is not in the register; enrol it again with a token")
        if found.state == "denied":
            return Refusal("denied", found.why or "IT has denied this device")
        if found.state == "suspended":
            return Refusal(CLONED, found.why)
        if fingerprint == found.key or (fingerprint == found.former and not found.key_seen):
            return found
        why = "two machines carry this identity (a cloned image?); delete the state of both and enrol each with a token"
        return Refusal(CLONED, why, self._put(msgspec.structs.replace(found, state="suspended", why=why)))

    def _note_use(self, found: Device, fingerprint: str) -> Device:
        """The device holds its newest certificate once it has shown it."""
        if fingerprint == found.key and not found.key_seen:
            return self._put(msgspec.structs.replace(found, key_seen=True))
        return found

    def _put(self, device: Device) -> Device:
        self._devices[device.device] = device
        return device
