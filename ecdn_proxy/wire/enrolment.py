"""How a device gets its identity: one HTTPS exchange, before any other.

    GET  /v1/root     -> tenant root, PEM; the device compares its SHA-256 (of the DER) with the one IT gave it
    POST /v1/enrol    EnrolRequest -> Enrolled          (server verified against that root)
    POST /v1/renew    RenewRequest -> Enrolled          (mutual TLS with the certificate that is about to end)

Bodies are JSON. Errors are `Rejected` with an HTTP status of 4xx.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids

Pem = Annotated[str, Meta(max_length=16_384)]

SIGNING_KEY_OID = "1.3.6.1.4.1.58888.7688.1"
"""Extension in a device certificate that holds its raw Ed25519 public key (32 bytes) for vouchers and offers."""


class EnrolRequest(msgspec.Struct, frozen=True):
    """What a new device asks; every name in the CSR is ignored by the coordinator."""

    token: Annotated[str, Meta(min_length=8, max_length=128)]
    csr: Pem
    signing_key: Annotated[str, Meta(max_length=64)]
    """Ed25519 public key, 32 bytes, base64."""
    version: Annotated[str, Meta(max_length=40)]


class RenewRequest(msgspec.Struct, frozen=True):
    """A new pair of keys for a device that proves the old one by mutual TLS."""

    csr: Pem
    signing_key: Annotated[str, Meta(max_length=64)]
    version: Annotated[str, Meta(max_length=40)]


class Enrolled(msgspec.Struct, frozen=True):
    """The device's identity and what it needs to share."""

    device: ids.Device
    tenant: ids.Device
    certificate: Pem
    """The device's certificate, PEM; issued directly by the tenant root."""
    tenant_root: Pem
    salt: Annotated[str, Meta(min_length=64, max_length=64)]
    """The tenant's salt for stream ids and segment keys, 32 bytes in hex."""
    settings: dict[str, Any]
    """Settings by name as in agent.toml; weaker than policy, environment and flags on the machine."""


class Rejected(msgspec.Struct, frozen=True):
    """Why not, for a log and a helpdesk."""

    code: Annotated[str, Meta(max_length=60)]
    why: ids.Sentence


def device_uri(tenant: str, device: str) -> str:
    """The one name in a device certificate (subjectAltName URI)."""
    return f"ecdn://{tenant}/device/{device}"


def parse_device_uri(uri: str) -> tuple[str, str] | None:
    """Tenant and device of `device_uri`, or None."""
    scheme, _, rest = uri.partition("://")
    tenant, _, tail = rest.partition("/device/")
    if scheme != "ecdn" or not tenant or not tail or "/" in tail or "/" in tenant:
        return None
    return tenant, tail
