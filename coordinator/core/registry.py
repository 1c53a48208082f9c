"""Who belongs to the tenant: tokens, devices, their keys, and who is refused.

    judge_token(token, remote, utc)     may this token enrol a device now?
    Registry.add / admit / may_renew    what happens to a device; answers with the Device as it is now, or a No
    Registry.deny / allow               by IT;  `denied(utc)` is the set that agents are told

A device has one live key. Renewal replaces it, and the old one may be used only until the new one has been seen:
an answer that was lost is asked for again. The old key seen *after* the new one means that two machines carry one
identity (a cloned image); both are suspended until they enrol anew.
"""

import hashlib
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Literal

import msgspec

from coordinator.core import limits
from coordinator.core.sites import Address

TOKEN_BYTES = 16
"""128 bits: cannot be guessed within any rate limit."""

CLONED = "suspended-two-keys"


class Token(msgspec.Struct, frozen=True):
    """What is stored of an enrolment token; the token itself is not."""

    digest: str
    expires_utc: float
    uses_max: int
    uses: int
    networks: str = ""
    """Where its machines must come from, CIDR with spaces between; empty: anywhere."""


class Device(msgspec.Struct, frozen=True):
    """One enrolled machine."""

    device: str
    enrolled_utc: float
    version: str
    key: str
    """SHA-256 of its live certificate."""
    key_seen: bool
    """The machine has used that certificate, so it holds it."""
    former: str
    """The certificate before it."""
    ends_utc: float
    state: Literal["live", "denied", "suspended"] = "live"
    why: str = ""


class No(msgspec.Struct, frozen=True):
    """A refusal, with the sentence that the helpdesk reads; `suspended` when this very question caused it."""

    code: str
    why: str
    suspended: Device | None = None


def digest_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def judge_token(token: Token | None, remote: Address, utc: float) -> No | None:
    """Why `token` may not enrol a device that comes from `remote`, or None."""
    if token is None:
        return No("token-unknown", "this token is unknown; ask IT for a new one")
    if utc >= token.expires_utc:
        return No("token-expired", "this token has expired; ask IT for a new one")
    if token.uses >= token.uses_max:
        return No(
            "token-used-up", f"this token has been used {token.uses} times, as often as it may; ask IT for another"
        )
    networks = token.networks.split()
    if networks and not any(remote in ip_network(network) for network in networks):
        return No("token-elsewhere", f"this token is for {token.networks}; this machine comes from {remote}")
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
        """A new device; its token has been judged and counted."""
        self._put(device)

    def admit(self, device: str, key: str, certificate_ends_utc: float, utc: float) -> Device | No:
        """A device shows the certificate `key` (already verified) to be let in."""
        found = self._known(device, key)
        if isinstance(found, No):
            return found
        if utc >= certificate_ends_utc:
            return No("certificate-ended", "this certificate has ended; the agent must renew it first")
        return self._saw(found, key)

    def may_renew(self, device: str, key: str, certificate_ends_utc: float, utc: float) -> Device | No:
        """May the holder of `key` have a new certificate?"""
        found = self._known(device, key)
        if isinstance(found, No):
            return found
        if utc >= certificate_ends_utc + self._grace_s:
            days = self._grace_s / 86_400
            return No("grace-over", f"this certificate ended more than {days:g} days ago; enrol again with a token")
        return self._saw(found, key)

    def renewed(self, device: str, old: str, new: str, ends_utc: float, version: str) -> Device:
        """A new certificate has been made for `device`."""
        found = self._devices[device]
        return self._put(
            msgspec.structs.replace(found, key=new, key_seen=False, former=old, ends_utc=ends_utc, version=version)
        )

    def deny(self, device: str, why: str) -> Device | None:
        """Refuse a device from now on; None when there is no such device."""
        found = self._devices.get(device)
        return None if found is None else self._put(msgspec.structs.replace(found, state="denied", why=why))

    def allow(self, device: str) -> Device | None:
        """Take a device back with the key that it has."""
        found = self._devices.get(device)
        if found is None:
            return None
        return self._put(msgspec.structs.replace(found, state="live", why=""))

    def denied(self, utc: float) -> tuple[str, ...]:
        """The devices that no agent may speak to: refused, and with a certificate that other agents would accept."""
        refused = [d for d in self._devices.values() if d.state != "live" and utc < d.ends_utc + self._grace_s]
        refused.sort(key=lambda d: -d.ends_utc)
        return tuple(sorted(d.device for d in refused[: limits.DENIED_MAX]))

    def suspended(self) -> list[Device]:
        """Devices of which two copies exist."""
        return [d for d in self._devices.values() if d.state == "suspended"]

    def _known(self, device: str, key: str) -> Device | No:
        found = self._devices.get(device)
        if found is None:
            return No("unknown-device", "this device is not in the register; enrol it again with a token")
        if found.state == "denied":
            return No("denied", found.why or "IT has denied this device")
        if found.state == "suspended":
            return No(CLONED, found.why)
        if key == found.key or (key == found.former and not found.key_seen):
            return found
        why = "two machines carry this identity (a cloned image?); delete the state of both and enrol each with a token"
        return No(CLONED, why, self._put(msgspec.structs.replace(found, state="suspended", why=why)))

    def _saw(self, found: Device, key: str) -> Device:
        if key == found.key and not found.key_seen:
            return self._put(msgspec.structs.replace(found, key_seen=True))
        return found

    def _put(self, device: Device) -> Device:
        self._devices[device.device] = device
        return device
